package vm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// tagTarget is the key of the tag that all that is made carries.
const tagTarget = "slipway:target"

// ec2Instance is a part of an instance's description
// (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html).
type ec2Instance struct {
	ID       string    `xml:"instanceId"`
	State    string    `xml:"instanceState>name"`
	Public   string    `xml:"ipAddress"`
	Private  string    `xml:"privateIpAddress"`
	Launched time.Time `xml:"launchTime"`
}

type ec2Instances struct {
	Items []ec2Instance `xml:"reservationSet>item>instancesSet>item"`
}

// living are the states of instances that are there.
var living = []string{"pending", "running", "stopping", "stopped"}

// instances returns the target's instances in the states, the oldest first.
func (e *ec2) instances(ctx context.Context, states ...string) ([]ec2Instance, error) {
	in := e.ours()
	in.Set("Filter.2.Name", "instance-state-name")
	for i, state := range states {
		in.Set("Filter.2.Value."+strconv.Itoa(i+1), state)
	}
	var out ec2Instances
	if err := e.api.ec2(ctx, "DescribeInstances", in, &out); err != nil {
		return nil, e.explain(err)
	}
	slices.SortFunc(out.Items, func(a, b ec2Instance) int {
		return cmp.Or(a.Launched.Compare(b.Launched), cmp.Compare(a.ID, b.ID))
	})
	return out.Items, nil
}

// ours is the filter for what carries the target's id.
func (e *ec2) ours() url.Values {
	return url.Values{"Filter.1.Name": {"tag:" + tagTarget}, "Filter.1.Value.1": {e.id}}
}

// Find returns the machine that carries the target's id.
func (e *ec2) Find(ctx context.Context) (machine, error) {
	all, err := e.instances(ctx, living...)
	if err != nil {
		return machine{}, err
	}
	if len(all) == 0 {
		return machine{}, errNoMachine
	}
	i := all[0]
	m := machine{Name: i.ID, State: stateStarting, Address: i.Public, Link: e.link("InstanceDetails:instanceId=" + i.ID),
		Output: fmt.Sprintf("aws ec2 get-console-output --latest --region %s --instance-id %s", e.region, i.ID)}
	if e.private {
		m.Address = i.Private
	}
	switch i.State {
	case "running":
		m.State = stateRunning
	case "stopping", "stopped":
		m.State = stateStopped
	}
	return m, nil
}

func (e *ec2) link(page string) string {
	return "https://" + e.region + ".console.aws.amazon.com/ec2/home?region=" + e.region + "#" + page
}

// order is what a machine is made of.
type order struct {
	image, root string // AMI, and the name of its first disk
	subnet, vpc string
}

// order looks the image and the network up.
func (e *ec2) order(ctx context.Context) (o order, err error) {
	o.image = e.image
	if !amis.MatchString(e.image) {
		if o.image, err = e.api.parameter(ctx, e.image); err != nil {
			return o, e.explain(err)
		}
	}
	var images struct {
		Items []struct {
			Root string `xml:"rootDeviceName"`
			Arch string `xml:"architecture"`
		} `xml:"imagesSet>item"`
	}
	if err := e.api.ec2(ctx, "DescribeImages", url.Values{"ImageId.1": {o.image}}, &images); err != nil {
		return o, e.explain(err)
	}
	if len(images.Items) == 0 {
		return o, deploy.Failf(deploy.StageTarget, nil, "There is no image %s in %s. Check the target's setting.", o.image, e.region)
	}
	o.root = images.Items[0].Root
	if want := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[e.arch]; images.Items[0].Arch != want {
		return o, deploy.Failf(deploy.StageTarget, nil, "The image %s is for %s, and the target's architecture is %s. Change one of the settings.", o.image, images.Items[0].Arch, e.arch)
	}
	in := url.Values{"SubnetId.1": {e.subnet}}
	if e.subnet == "" {
		in = url.Values{"Filter.1.Name": {"default-for-az"}, "Filter.1.Value.1": {"true"}}
	}
	var found struct {
		Items []struct {
			ID  string `xml:"subnetId"`
			VPC string `xml:"vpcId"`
		} `xml:"subnetSet>item"`
	}
	if err := e.api.ec2(ctx, "DescribeSubnets", in, &found); err != nil {
		return o, e.explain(err)
	}
	if len(found.Items) == 0 {
		return o, deploy.Failf(deploy.StageTarget, nil, "The region %s has no default VPC. Name a subnet in the target's settings.", e.region)
	}
	first := found.Items[0]
	for _, s := range found.Items { // the same one whoever asks
		if s.ID < first.ID {
			first = s
		}
	}
	o.subnet, o.vpc = first.ID, first.VPC
	return o, nil
}

// Make makes the security group and orders the machine.
func (e *ec2) Make(ctx context.Context, userData string, say func(string)) error {
	o, err := e.order(ctx)
	if err != nil {
		return err
	}
	group, err := e.group(ctx, o.vpc)
	if err != nil {
		return err
	}
	say(fmt.Sprintf("The security group %s lets nothing in but SSH from %s.", group, joined(e.from)))
	for n := 0; n < maxMachines; n++ {
		var made struct {
			ID string `xml:"instancesSet>item>instanceId"`
		}
		err := e.api.ec2(ctx, "RunInstances", e.machineForm(o, group, userData, e.token(n)), &made)
		switch awslogin.Code(err) {
		case "IdempotentInstanceTerminated":
			continue // it was this target's n-th machine
		case "IdempotentParameterMismatch":
			if there, err := e.appears(ctx); there || err != nil {
				return err // another process has ordered one with other settings
			}
			continue
		}
		if err != nil {
			return e.explain(err)
		}
		if gone, err := e.gone(ctx, made.ID); err != nil || !gone {
			say(fmt.Sprintf("%s makes the machine %s: %s with %d GB in %s.", e, made.ID, e.size, e.disk, o.subnet))
			return err
		}
	}
	return deploy.Failf(deploy.StageTarget, nil, "%d machines of this target were ended within a day, so that Slipway makes no other one now. Look who ends them, and deploy again tomorrow.", maxMachines)
}

// maxMachines bounds how many machines of the target are made while EC2 remembers those that ended.
const maxMachines = 20

// token is the same for the target's n-th machine whoever orders it: EC2 makes one for it at most
// (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Run_Instance_Idempotency.html).
func (e *ec2) token(n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", e.id, n))
	return "slipway-" + hex.EncodeToString(sum[:24])
}

// gone tells whether the instance that EC2 answered with, by its memory of the token, has ended.
func (e *ec2) gone(ctx context.Context, id string) (bool, error) {
	ended, err := e.instances(ctx, "shutting-down", "terminated")
	return slices.ContainsFunc(ended, func(i ec2Instance) bool { return i.ID == id }), err
}

// appears waits a moment for a machine that another process orders just now.
func (e *ec2) appears(ctx context.Context) (bool, error) {
	for range 6 {
		all, err := e.instances(ctx, living...)
		if err != nil || len(all) > 0 {
			return len(all) > 0, err
		}
		if err := deploy.WaitFor(ctx, e.o.Every); err != nil {
			return false, err
		}
	}
	return false, nil
}

// machineForm is the order of a machine. Nobody's key but Slipway's is on it, and containers, which are one hop
// further away, get no answer from its metadata.
func (e *ec2) machineForm(o order, group, userData, token string) url.Values {
	in := url.Values{
		"ImageId": {o.image}, "InstanceType": {e.size}, "MinCount": {"1"}, "MaxCount": {"1"},
		"NetworkInterface.1.DeviceIndex": {"0"}, "NetworkInterface.1.SubnetId": {o.subnet},
		"NetworkInterface.1.AssociatePublicIpAddress": {strconv.FormatBool(!e.private)},
		"NetworkInterface.1.DeleteOnTermination":      {"true"},
		"BlockDeviceMapping.1.DeviceName":             {o.root},
		"BlockDeviceMapping.1.Ebs.VolumeSize":         {strconv.Itoa(e.disk)}, "BlockDeviceMapping.1.Ebs.VolumeType": {"gp3"},
		"BlockDeviceMapping.1.Ebs.Encrypted": {"true"}, "BlockDeviceMapping.1.Ebs.DeleteOnTermination": {"true"},
		"MetadataOptions.HttpTokens": {"required"}, "MetadataOptions.HttpPutResponseHopLimit": {"1"}, "MetadataOptions.HttpEndpoint": {"enabled"},
	}
	if group != "" {
		in.Set("NetworkInterface.1.SecurityGroupId.1", group)
	}
	if userData != "" {
		in.Set("UserData", base64.StdEncoding.EncodeToString([]byte(userData)))
	}
	if token != "" {
		in.Set("ClientToken", token)
	}
	for i, kind := range []string{"instance", "volume", "network-interface"} {
		e.tag(in, i+1, kind)
	}
	return in
}

// tag has a thing of the kind made with the target's tag.
func (e *ec2) tag(in url.Values, n int, kind string) {
	at := "TagSpecification." + strconv.Itoa(n) + "."
	in.Set(at+"ResourceType", kind)
	for i, tag := range [][2]string{{tagTarget, e.id}, {"Name", e.name}} {
		in.Set(at+"Tag."+strconv.Itoa(i+1)+".Key", tag[0])
		in.Set(at+"Tag."+strconv.Itoa(i+1)+".Value", tag[1])
	}
}

// Keeps lists the target's machine and its security group.
func (e *ec2) Keeps(ctx context.Context) ([]deploy.Resource, error) {
	all, err := e.instances(ctx, living...)
	if err != nil {
		return nil, err
	}
	var out []deploy.Resource
	for _, i := range all {
		out = append(out, deploy.Resource{Kind: "Instance", Name: i.ID, Link: e.link("InstanceDetails:instanceId=" + i.ID)})
	}
	groups, err := e.groups(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		out = append(out, deploy.Resource{Kind: "Security group", Name: g.ID, Link: e.link("SecurityGroup:groupId=" + g.ID)})
	}
	return out, nil
}

// Destroy ends the target's instances, with their disks, waits until they have let go of the security group, and
// deletes that.
func (e *ec2) Destroy(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, e.o.Patience, errSlow)
	defer cancel()
	for {
		all, err := e.instances(ctx, append([]string{"shutting-down"}, living...)...)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			break
		}
		in := url.Values{}
		for n, i := range all {
			in.Set("InstanceId."+strconv.Itoa(n+1), i.ID)
		}
		if err := e.api.ec2(ctx, "TerminateInstances", in, &nothingXML{}); err != nil && awslogin.Code(err) != "InvalidInstanceID.NotFound" {
			return e.explain(err)
		}
		if err := deploy.WaitFor(ctx, e.o.Every); err != nil {
			return err
		}
	}
	return e.removeGroups(ctx)
}
