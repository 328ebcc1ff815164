package vm

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// errSlow says that a provider took its time with removing something.
var errSlow = deploy.Failf(deploy.StageTarget, nil, "The provider has not removed everything in time. It is tried again.")

// ec2Group is a part of a security group's description.
type ec2Group struct {
	ID    string    `xml:"groupId"`
	VPC   string    `xml:"vpcId"`
	Rules []ec2Rule `xml:"ipPermissions>item"`
}

type ec2Rule struct {
	Protocol string   `xml:"ipProtocol"`
	From     string   `xml:"fromPort"`
	To       string   `xml:"toPort"`
	Ranges   []string `xml:"ipRanges>item>cidrIp"`
}

func joined(all []string) string { return strings.Join(all, ", ") }

// groups returns the target's security groups.
func (e *ec2) groups(ctx context.Context) ([]ec2Group, error) {
	var out struct {
		Items []ec2Group `xml:"securityGroupInfo>item"`
	}
	err := e.api.ec2(ctx, "DescribeSecurityGroups", e.ours(), &out)
	return out.Items, e.explain(err)
}

// group returns the target's security group in the VPC, made where it is missing, and lets in SSH from where it is to.
func (e *ec2) group(ctx context.Context, vpc string) (string, error) {
	found, err := e.inVPC(ctx, vpc)
	if err != nil {
		return "", err
	}
	if found == nil {
		var made struct {
			ID string `xml:"groupId"`
		}
		err := e.api.ec2(ctx, "CreateSecurityGroup", e.groupForm(vpc), &made)
		switch {
		case awslogin.Code(err) == "InvalidGroup.Duplicate": // another process was first
			if found, err = e.inVPC(ctx, vpc); err != nil {
				return "", err
			}
			if found == nil {
				return "", deploy.Failf(deploy.StageTarget, nil, "There is a security group %s in %s that does not carry this target's tag, so it is not touched. Rename or remove it, and deploy again.", e.groupName(), vpc)
			}
		case err != nil:
			return "", e.explain(err)
		default:
			found = &ec2Group{ID: made.ID}
		}
	}
	return found.ID, e.letIn(ctx, *found)
}

func (e *ec2) inVPC(ctx context.Context, vpc string) (*ec2Group, error) {
	all, err := e.groups(ctx)
	if i := slices.IndexFunc(all, func(g ec2Group) bool { return g.VPC == vpc }); i >= 0 {
		return &all[i], err
	}
	return nil, err
}

func (e *ec2) groupName() string { return "slipway-" + e.id }

func (e *ec2) groupForm(vpc string) url.Values {
	in := url.Values{"GroupName": {e.groupName()}, "GroupDescription": {"SSH for Slipway, and nothing else"}, "VpcId": {vpc}}
	e.tag(in, 1, "security-group")
	return in
}

// Adjust makes the rules of the target's security groups those of the settings.
func (e *ec2) Adjust(ctx context.Context) error {
	all, err := e.groups(ctx)
	for _, g := range all {
		if err == nil {
			err = e.letIn(ctx, g)
		}
	}
	return err
}

// letIn makes the group's rules those of the settings.
func (e *ec2) letIn(ctx context.Context, g ec2Group) error {
	have := map[string]bool{}
	for _, rule := range g.Rules {
		for _, from := range rule.Ranges {
			wanted := rule.Protocol == "tcp" && rule.From == sshPort && rule.To == sshPort && slices.Contains(e.from, from)
			if wanted {
				have[from] = true
				continue
			}
			if err := e.api.ec2(ctx, "RevokeSecurityGroupIngress", ruleForm(g.ID, rule, from), &nothingXML{}); err != nil && awslogin.Code(err) != "InvalidPermission.NotFound" {
				return e.explain(err)
			}
		}
	}
	for _, from := range e.from {
		if have[from] {
			continue
		}
		in := ruleForm(g.ID, ec2Rule{Protocol: "tcp", From: sshPort, To: sshPort}, from)
		if err := e.api.ec2(ctx, "AuthorizeSecurityGroupIngress", in, &nothingXML{}); err != nil && awslogin.Code(err) != "InvalidPermission.Duplicate" {
			return e.explain(err)
		}
	}
	return nil
}

const sshPort = "22"

func ruleForm(group string, rule ec2Rule, from string) url.Values {
	return url.Values{
		"GroupId": {group}, "IpPermissions.1.IpProtocol": {rule.Protocol}, "IpPermissions.1.FromPort": {rule.From}, "IpPermissions.1.ToPort": {rule.To},
		"IpPermissions.1.IpRanges.1.CidrIp": {from},
	}
}

// removeGroups deletes the target's security groups. For a while after an instance has ended its interface still holds one.
func (e *ec2) removeGroups(ctx context.Context) error {
	for {
		all, err := e.groups(ctx)
		if err != nil || len(all) == 0 {
			return err
		}
		for _, g := range all {
			err := e.api.ec2(ctx, "DeleteSecurityGroup", url.Values{"GroupId": {g.ID}}, &nothingXML{})
			if code := awslogin.Code(err); err != nil && code != "InvalidGroup.NotFound" && code != "DependencyViolation" {
				return e.explain(err)
			}
		}
		if err := deploy.WaitFor(ctx, e.o.Every); err != nil {
			return err
		}
	}
}
