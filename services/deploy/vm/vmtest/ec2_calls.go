package vmtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"slipway.dev/models"
)

// taken reads parameters and knows which nobody asked for.
type taken struct {
	form url.Values
	used map[string]bool
}

func (t *taken) get(name string) string {
	t.used[name] = true
	return t.form.Get(name)
}

// list reads the parameters name.1, name.2, …; with an empty after.
func (t *taken) list(name, after string) (out []string) {
	for n := 1; t.form.Has(name + "." + strconv.Itoa(n) + after); n++ {
		out = append(out, t.get(name+"."+strconv.Itoa(n)+after))
	}
	return out
}

// tags reads the tags for a thing of the kind.
func (t *taken) tags(kind string) map[string]string {
	out := map[string]string{}
	for n := range 5 {
		at := "TagSpecification." + strconv.Itoa(n+1) + "."
		found := t.get(at+"ResourceType") == kind
		for i := range 5 {
			key, value := t.get(at+"Tag."+strconv.Itoa(i+1)+".Key"), t.get(at+"Tag."+strconv.Itoa(i+1)+".Value")
			if found && key != "" {
				out[key] = value
			}
		}
	}
	return out
}

// answer does the call.
func (e *EC2) answer(call string, form url.Values, body []byte) ([]byte, *Fault) {
	t := &taken{form, map[string]bool{"Action": true, "Version": true}}
	do, ok := map[string]func(*taken) (string, *Fault){
		"AssumeRoleWithWebIdentity": e.assume, "DescribeImages": e.images, "DescribeSubnets": e.subnets,
		"DescribeInstances": e.describe, "RunInstances": e.run, "TerminateInstances": e.terminate,
		"DescribeSecurityGroups": e.describeGroups, "CreateSecurityGroup": e.createGroup, "DeleteSecurityGroup": e.deleteGroup,
		"AuthorizeSecurityGroupIngress": e.authorize, "RevokeSecurityGroupIngress": e.revoke,
	}[call]
	switch {
	case call == "GetParameter":
		return e.parameter(body)
	case !ok:
		return nil, &Fault{Status: 400, Code: "InvalidAction", Message: call}
	}
	out, f := do(t)
	if f == nil {
		for name := range form {
			if !t.used[name] {
				return nil, &Fault{Status: 400, Code: "UnknownParameter", Message: "The parameter " + name + " is not recognized"}
			}
		}
	}
	return []byte("<" + call + "Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>1</requestId>" + out + "</" + call + "Response>"), f
}

func (e *EC2) parameter(body []byte) ([]byte, *Fault) {
	var in struct{ Name string }
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if d.Decode(&in) != nil || !strings.HasPrefix(in.Name, "/aws/service/canonical/ubuntu/server/24.04/") {
		return nil, &Fault{Status: 400, Code: "ParameterNotFound"}
	}
	return []byte(`{"Parameter":{"Name":"` + in.Name + `","Type":"String","Value":"` + AMI + `","Version":1}}`), nil
}

func (e *EC2) assume(t *taken) (string, *Fault) {
	if t.get("RoleArn") != Role || t.get("WebIdentityToken") != Token || t.get("RoleSessionName") == "" || t.get("DurationSeconds") == "" {
		return "", &Fault{Status: 400, Code: "InvalidIdentityToken"}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	k := aws.Credentials{AccessKeyID: fmt.Sprintf("ASIA%d", len(e.keys)), SecretAccessKey: "a secret of a session", SessionToken: models.NewID()}
	e.keys[k.AccessKeyID] = k
	return "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>" + k.AccessKeyID + "</AccessKeyId><SecretAccessKey>" + k.SecretAccessKey +
		"</SecretAccessKey><SessionToken>" + k.SessionToken + "</SessionToken><Expiration>" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + "</Expiration></Credentials></AssumeRoleWithWebIdentityResult>", nil
}

func (e *EC2) images(t *taken) (string, *Fault) {
	if got := t.list("ImageId", ""); len(got) != 1 || got[0] != AMI {
		return "", &Fault{Status: 400, Code: "InvalidAMIID.NotFound", Message: "The image id does not exist"}
	}
	return "<imagesSet><item><imageId>" + AMI + "</imageId><rootDeviceName>/dev/sda1</rootDeviceName><architecture>x86_64</architecture></item></imagesSet>", nil
}

func (e *EC2) subnets(t *taken) (string, *Fault) {
	if got := t.list("SubnetId", ""); len(got) > 0 && got[0] != Subnet {
		return "", &Fault{Status: 400, Code: "InvalidSubnetID.NotFound", Message: "The subnet ID does not exist"}
	} else if len(got) == 0 && (t.get("Filter.1.Name") != "default-for-az" || t.get("Filter.1.Value.1") != "true") {
		return "", &Fault{Status: 400, Code: "InvalidParameterValue"}
	}
	return "<subnetSet><item><subnetId>subnet-1123456789abcdef0</subnetId><vpcId>" + VPC + "</vpcId></item><item><subnetId>" + Subnet + "</subnetId><vpcId>" + VPC + "</vpcId></item></subnetSet>", nil
}

// wanted reads the filter for tags.
func wanted(t *taken) func(tags map[string]string) bool {
	key, value := strings.TrimPrefix(t.get("Filter.1.Name"), "tag:"), t.get("Filter.1.Value.1")
	return func(tags map[string]string) bool { return tags[key] == value }
}

func (e *EC2) describe(t *taken) (string, *Fault) {
	is, states := wanted(t), t.list("Filter.2.Value", "")
	if t.get("Filter.2.Name") != "instance-state-name" {
		return "", &Fault{Status: 400, Code: "InvalidParameterValue"}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out := "<reservationSet>"
	for _, id := range slices.Sorted(maps.Keys(e.instances)) {
		i := e.instances[id]
		if is(i.tags) && slices.Contains(states, i.state) {
			address := ""
			if i.state == "running" {
				address = "<ipAddress>" + i.address + "</ipAddress>"
			}
			out += "<item><instancesSet><item><instanceId>" + id + "</instanceId><instanceState><code>0</code><name>" + i.state + "</name></instanceState>" + address +
				"<privateIpAddress>" + i.address + "</privateIpAddress><launchTime>" + i.launched.Format("2006-01-02T15:04:05.000Z") + "</launchTime></item></instancesSet></item>"
		}
		switch i.state { // what goes on by itself shows the next time
		case "pending":
			i.state = "running"
		case "shutting-down":
			i.state = "terminated"
		}
	}
	return out + "</reservationSet>", nil
}

func (e *EC2) run(t *taken) (string, *Fault) {
	for name, want := range map[string]string{
		"ImageId": AMI, "MinCount": "1", "MaxCount": "1", "NetworkInterface.1.DeviceIndex": "0", "NetworkInterface.1.SubnetId": Subnet,
		"NetworkInterface.1.DeleteOnTermination": "true", "BlockDeviceMapping.1.DeviceName": "/dev/sda1", "BlockDeviceMapping.1.Ebs.VolumeType": "gp3",
		"BlockDeviceMapping.1.Ebs.Encrypted": "true", "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true",
		"MetadataOptions.HttpTokens": "required", "MetadataOptions.HttpPutResponseHopLimit": "1", "MetadataOptions.HttpEndpoint": "enabled",
	} {
		if got := t.get(name); got != want {
			return "", &Fault{Status: 400, Code: "InvalidParameterValue", Message: name + " is " + got}
		}
	}
	if size := t.get("InstanceType"); size != "t3.small" {
		return "", &Fault{Status: 400, Code: "InvalidInstanceType", Message: "The instance type " + size + " does not exist."}
	}
	tags, group, token := t.tags("instance"), t.get("NetworkInterface.1.SecurityGroupId.1"), t.get("ClientToken")
	userData, err := base64.StdEncoding.DecodeString(t.get("UserData"))
	t.get("NetworkInterface.1.AssociatePublicIpAddress")
	t.get("BlockDeviceMapping.1.Ebs.VolumeSize")
	if t.get("DryRun") == "true" {
		return "", &Fault{Status: 412, Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set."}
	}
	e.mu.Lock()
	known := e.tokens[token]
	if known != "" {
		defer e.mu.Unlock()
		switch {
		case e.instances[known].state == "terminated" || e.instances[known].state == "shutting-down":
			return "", &Fault{Status: 400, Code: "IdempotentInstanceTerminated"}
		case e.orders[token] != t.form.Encode():
			return "", &Fault{Status: 400, Code: "IdempotentParameterMismatch"}
		}
		return "<instancesSet><item><instanceId>" + known + "</instanceId></item></instancesSet>", nil
	}
	if err != nil || token == "" || tags["slipway:target"] == "" || e.groups[group] == nil {
		e.mu.Unlock()
		return "", &Fault{Status: 400, Code: "InvalidParameterValue", Message: "group " + group}
	}
	i := &instance{id: fmt.Sprintf("i-%017d", len(e.instances)+1), state: "pending", group: group, userData: string(userData), tags: tags, launched: time.Now().UTC()}
	e.instances[i.id], e.tokens[token], e.orders[token] = i, i.id, t.form.Encode()
	e.mu.Unlock()
	address := e.boot(i.userData)
	e.mu.Lock()
	defer e.mu.Unlock()
	i.address = address
	return "<instancesSet><item><instanceId>" + i.id + "</instanceId></item></instancesSet>", nil
}

func (e *EC2) terminate(t *taken) (string, *Fault) {
	var ended []string
	e.mu.Lock()
	for _, id := range t.list("InstanceId", "") {
		if i := e.instances[id]; i != nil && i.state != "terminated" {
			i.state = "shutting-down"
			ended = append(ended, i.address)
		}
	}
	e.mu.Unlock()
	for _, address := range ended {
		e.halt(address)
	}
	return "", nil
}

func (e *EC2) describeGroups(t *taken) (string, *Fault) {
	is := wanted(t)
	e.mu.Lock()
	defer e.mu.Unlock()
	out := "<securityGroupInfo>"
	for _, id := range slices.Sorted(maps.Keys(e.groups)) {
		g := e.groups[id]
		if !is(g.tags) {
			continue
		}
		out += "<item><groupId>" + id + "</groupId><groupName>" + g.name + "</groupName><vpcId>" + VPC + "</vpcId><ipPermissions>"
		if len(g.from) > 0 {
			out += "<item><ipProtocol>tcp</ipProtocol><fromPort>22</fromPort><toPort>22</toPort><ipRanges>"
			for _, from := range slices.Sorted(maps.Keys(g.from)) {
				out += "<item><cidrIp>" + from + "</cidrIp></item>"
			}
			out += "</ipRanges></item>"
		}
		out += "</ipPermissions></item>"
	}
	return out + "</securityGroupInfo>", nil
}

func (e *EC2) createGroup(t *taken) (string, *Fault) {
	name, tags := t.get("GroupName"), t.tags("security-group")
	if t.get("GroupDescription") == "" || t.get("VpcId") != VPC {
		return "", &Fault{Status: 400, Code: "MissingParameter"}
	}
	if t.get("DryRun") == "true" {
		return "", &Fault{Status: 412, Code: "DryRunOperation"}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, g := range e.groups {
		if g.name == name {
			return "", &Fault{Status: 400, Code: "InvalidGroup.Duplicate"}
		}
	}
	id := fmt.Sprintf("sg-%017d", len(e.groups)+1)
	e.groups[id] = &group{id: id, name: name, tags: tags, from: map[string]bool{}}
	return "<return>true</return><groupId>" + id + "</groupId>", nil
}

func (e *EC2) deleteGroup(t *taken) (string, *Fault) {
	id := t.get("GroupId")
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, i := range e.instances {
		if i.group == id && i.state != "terminated" {
			return "", &Fault{Status: 400, Code: "DependencyViolation"}
		}
	}
	if e.groups[id] == nil {
		return "", &Fault{Status: 400, Code: "InvalidGroup.NotFound"}
	}
	delete(e.groups, id)
	return "<return>true</return>", nil
}

func (e *EC2) authorize(t *taken) (string, *Fault) { return e.rule(t, true) }

func (e *EC2) revoke(t *taken) (string, *Fault) { return e.rule(t, false) }

func (e *EC2) rule(t *taken, in bool) (string, *Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	g, from := e.groups[t.get("GroupId")], t.get("IpPermissions.1.IpRanges.1.CidrIp")
	switch {
	case g == nil:
		return "", &Fault{Status: 400, Code: "InvalidGroup.NotFound"}
	case t.get("IpPermissions.1.IpProtocol") != "tcp" || t.get("IpPermissions.1.FromPort") != "22" || t.get("IpPermissions.1.ToPort") != "22":
		return "", &Fault{Status: 400, Code: "InvalidParameterValue"}
	case in && g.from[from]:
		return "", &Fault{Status: 400, Code: "InvalidPermission.Duplicate"}
	case !in && !g.from[from]:
		return "", &Fault{Status: 400, Code: "InvalidPermission.NotFound"}
	}
	if in {
		g.from[from] = true
	} else {
		delete(g.from, from)
	}
	return "<return>true</return>", nil
}
