package awstest

import (
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// architecture is that of the machine, as ECS calls it.
func architecture() string {
	if runtime.GOARCH == "arm64" {
		return "ARM64"
	}
	return "X86_64"
}

// answerSTS answers who one is, and gives credentials of the role. Mu is held, as in all that follow.
func (c *Cloud) answerSTS(action string, form url.Values, key string) ([]byte, error) {
	switch action {
	case "GetCallerIdentity":
		who := "arn:aws:iam::" + Account + ":user/slipway"
		if c.credentials[key].SessionToken != "" {
			who = "arn:aws:sts::" + Account + ":assumed-role/slipway/session"
		}
		return fmt.Appendf(nil, "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>%s</Arn><UserId>AIDA</UserId><Account>%s</Account></GetCallerIdentityResult></GetCallerIdentityResponse>", who, Account), nil
	case "AssumeRoleWithWebIdentity":
		if err := c.trust(form.Get("WebIdentityToken")); err != nil {
			return nil, refuse("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
		}
		return c.session(action, form)
	case "AssumeRole":
		return c.session(action, form)
	}
	return nil, refuse("InvalidAction", "%s", action)
}

func (c *Cloud) session(action string, form url.Values) ([]byte, error) {
	if form.Get("RoleArn") != Role {
		return nil, refuse("AccessDenied", "Not authorized to perform sts:%s", action)
	}
	n := c.id()
	is := aws.Credentials{AccessKeyID: "ASIA" + strings.ToUpper(n[len(n)-16:]), SecretAccessKey: "secret " + n, SessionToken: "token " + n}
	c.credentials[is.AccessKeyID] = is
	return fmt.Appendf(nil, "<%[1]sResponse><%[1]sResult><Credentials><AccessKeyId>%[2]s</AccessKeyId><SecretAccessKey>%[3]s</SecretAccessKey><SessionToken>%[4]s</SessionToken><Expiration>%[5]s</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::%[6]s:assumed-role/slipway/%[7]s</Arn><AssumedRoleId>A:b</AssumedRoleId></AssumedRoleUser></%[1]sResult></%[1]sResponse>",
		action, is.AccessKeyID, is.SecretAccessKey, is.SessionToken, time.Now().Add(time.Hour).UTC().Format(time.RFC3339), Account, escape(form.Get("RoleSessionName"))), nil
}

// list reads Name.1, Name.2, ….
func list(form url.Values, name string) (all []string) {
	for n := 1; form.Get(fmt.Sprintf("%s.%d", name, n)) != ""; n++ {
		all = append(all, form.Get(fmt.Sprintf("%s.%d", name, n)))
	}
	return all
}

func (c *Cloud) answerEC2(action string, form url.Values) ([]byte, error) {
	items := ""
	switch action {
	case "DescribeSubnets":
		for _, id := range list(form, "SubnetId") {
			if id != Subnet {
				return nil, refuse("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
			}
			items += "<item><subnetId>" + id + "</subnetId><vpcId>" + VPC + "</vpcId><availabilityZone>eu-central-1a</availabilityZone><availableIpAddressCount>250</availableIpAddressCount></item>"
		}
		return fmt.Appendf(nil, "<DescribeSubnetsResponse><subnetSet>%s</subnetSet></DescribeSubnetsResponse>", items), nil
	case "DescribeNetworkInterfaces":
		for _, id := range list(form, "NetworkInterfaceId") {
			for _, k := range c.tasks {
				if k.card == id {
					items += "<item><networkInterfaceId>" + id + "</networkInterfaceId><association><publicIp>" + k.ip + "</publicIp></association></item>"
				}
			}
		}
		return fmt.Appendf(nil, "<DescribeNetworkInterfacesResponse><networkInterfaceSet>%s</networkInterfaceSet></DescribeNetworkInterfacesResponse>", items), nil
	}
	return nil, refuse("InvalidAction", "%s", action)
}

func (c *Cloud) answerIAM(action string, form url.Values) ([]byte, error) {
	switch action {
	case "GetRole":
		if name := form.Get("RoleName"); name != last(ExecutionRole) {
			return nil, refuse("NoSuchEntity", "The role with name %s cannot be found.", name)
		}
		trust := url.QueryEscape(`{"Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)
		return fmt.Appendf(nil, "<GetRoleResponse><GetRoleResult><Role><AssumeRolePolicyDocument>%s</AssumeRolePolicyDocument></Role></GetRoleResult></GetRoleResponse>", trust), nil
	case "SimulatePrincipalPolicy":
		items := ""
		for _, a := range list(form, "ActionNames.member") {
			decision := "allowed"
			if c.denied[a] {
				decision = "implicitDeny"
			}
			items += "<member><EvalActionName>" + a + "</EvalActionName><EvalDecision>" + decision + "</EvalDecision></member>"
		}
		return fmt.Appendf(nil, "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><EvaluationResults>%s</EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>", items), nil
	}
	return nil, refuse("InvalidAction", "%s", action)
}
