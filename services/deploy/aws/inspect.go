package aws

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// looking collects what Inspect finds.
type looking struct {
	*target
	c      *clients
	r      deploy.Release
	found  *types.Cluster // nil: none yet
	checks []deploy.Check
}

func (l *looking) pass(name, format string, args ...any) {
	l.checks = append(l.checks, deploy.Check{Name: name, OK: true, Message: fmt.Sprintf(format, args...)})
}

func (l *looking) fail(name, format string, args ...any) {
	l.checks = append(l.checks, deploy.Check{Name: name, Message: fmt.Sprintf(format, args...)})
}

// Inspect looks whether the release could be rolled out, and changes nothing.
func (t *target) Inspect(ctx context.Context, r deploy.Release) ([]deploy.Check, error) {
	l := &looking{target: t, c: t.as(r.Subject()), r: r}
	me, err := t.caller(ctx, l.c)
	if f := new(deploy.Failure); errors.As(err, &f) {
		l.fail("Credential", "%s", f.Message)
		return l.checks, nil
	}
	if err != nil {
		return nil, err
	}
	l.pass("Credential", "AWS knows it as %s.", me.arn)
	for _, look := range []func(context.Context, caller) error{l.permissions, l.place, l.metrics, l.subnets, l.executionRole, l.way, l.size, l.registry} {
		if err := look(ctx, me); err != nil {
			return nil, err
		}
	}
	return l.checks, nil
}

// unknown says that a thing could not be looked at, which harms nothing. Any other error goes on.
func (l *looking) unknown(ctx context.Context, name string, err error, permission string) error {
	if awslogin.Denied(err) {
		l.pass(name, "Not looked at: the credential lacks the permission %s, which only this check needs.", permission)
		return nil
	}
	err = l.explain(ctx, deploy.StageTarget, err, "look at it")
	if f := new(deploy.Failure); errors.As(err, &f) {
		l.fail(name, "%s", f.Message)
		return nil
	}
	return err
}

// place looks at the cluster.
func (l *looking) place(ctx context.Context, _ caller) error {
	found, err := l.cluster(ctx, l.c)
	l.found = found
	switch {
	case errors.Is(err, errGone) && l.settings.cluster != "":
		l.fail("Cluster", "%s", l.noCluster())
	case errors.Is(err, errGone):
		l.pass("Cluster", "Slipway makes the cluster %s.", l.clusterName())
	case err != nil:
		return l.unknown(ctx, "Cluster", err, "ecs:DescribeClusters")
	case deref(found.Status) != active:
		l.fail("Cluster", "The cluster %s is %s. Wait until it is active, or name another one.", l.clusterName(), strings.ToLower(deref(found.Status)))
	case l.settings.launch == types.LaunchTypeEc2 && found.RegisteredContainerInstancesCount == 0:
		l.fail("Cluster", "The cluster %s has no container instances. Add some to it, or use Fargate.", l.clusterName())
	case l.settings.launch == types.LaunchTypeEc2:
		l.pass("Cluster", "%s has %d container instances.", l.clusterName(), found.RegisteredContainerInstancesCount)
	default:
		l.pass("Cluster", "%s is active.", l.clusterName())
	}
	return nil
}

// subnetSet is EC2's answer to DescribeSubnets.
type subnetSet struct {
	XMLName xml.Name `xml:"DescribeSubnetsResponse"`
	All     []struct {
		ID   string `xml:"subnetId"`
		VPC  string `xml:"vpcId"`
		Zone string `xml:"availabilityZone"`
		Free int    `xml:"availableIpAddressCount"`
	} `xml:"subnetSet>item"`
}

// subnets looks whether they are there, have addresses left, and are the load balancer's neighbours.
func (l *looking) subnets(ctx context.Context, _ caller) error {
	var got subnetSet
	err := l.c.EC2(ctx, "DescribeSubnets", numbered(url.Values{}, "SubnetId", l.settings.subnets), &got)
	if awslogin.Code(err) == "InvalidSubnetID.NotFound" {
		l.fail("Network", "A subnet of the target's settings is not there: %s Correct it in the settings.", deploy.Sentence(awslogin.Text(err)))
		return nil
	}
	if err != nil {
		return l.unknown(ctx, "Network", err, "ec2:DescribeSubnets")
	}
	free, zones, networks := 0, map[string]bool{}, map[string]bool{}
	for _, s := range got.All {
		free += s.Free
		zones[s.Zone], networks[s.VPC] = true, true
	}
	needs := l.r.Scale.OrOne().Replicas
	switch {
	case len(networks) > 1:
		l.fail("Network", "The subnets of the target's settings are of several VPCs. Enter those of one.")
	case free < needs:
		l.fail("Network", "The subnets have %d addresses left, and the release needs %d. Add a subnet to the target's settings, or lower the scale.", free, needs)
	default:
		l.pass("Network", "%d subnets in %d zones have %d addresses left.", len(got.All), len(zones), free)
	}
	return l.sameNetwork(ctx, networks)
}

// sameNetwork looks whether the load balancer reaches the subnets.
func (l *looking) sameNetwork(ctx context.Context, networks map[string]bool) error {
	if l.settings.listener == "" || len(networks) != 1 {
		return nil
	}
	b, err := l.balancer(ctx, l.c)
	if err != nil {
		return nil // way tells what is the matter
	}
	if !networks[deref(b.itself.VpcId)] {
		l.fail("Load balancer's network", "The load balancer is in %s, and the subnets are not. Enter subnets of its VPC.", deref(b.itself.VpcId))
	}
	return nil
}

// roleAnswer is IAM's answer to GetRole.
type roleAnswer struct {
	XMLName xml.Name `xml:"GetRoleResponse"`
	Trust   string   `xml:"GetRoleResult>Role>AssumeRolePolicyDocument"`
}

// executionRole looks whether ECS may take it.
func (l *looking) executionRole(ctx context.Context, _ caller) error {
	name := last(l.settings.executionRole)
	var got roleAnswer
	err := l.c.IAM(ctx, "GetRole", url.Values{"RoleName": {name}}, &got)
	if awslogin.Code(err) == "NoSuchEntity" {
		l.fail("Execution role", "There is no role %s. Make it as docs/aws.md shows, or correct the target's settings.", l.settings.executionRole)
		return nil
	}
	if err != nil {
		return l.unknown(ctx, "Execution role", err, "iam:GetRole")
	}
	trust, err := url.QueryUnescape(got.Trust)
	if err != nil {
		trust = got.Trust
	}
	if !strings.Contains(trust, "ecs-tasks.amazonaws.com") {
		l.fail("Execution role", "ECS can't take the role %s: its trust policy has to name ecs-tasks.amazonaws.com.", name)
		return nil
	}
	l.pass("Execution role", "ECS may take %s.", name)
	return nil
}

// way looks at the load balancer, and tells where the apps' names have to lead.
func (l *looking) way(ctx context.Context, _ caller) error {
	if l.settings.listener == "" {
		l.pass("Visitors", "They come to the public address of a task, which changes with each release, so that a new one gets all of them at once: in steps they move with a load balancer alone.")
		return nil
	}
	b, err := l.balancer(ctx, l.c)
	if err != nil {
		return l.unknown(ctx, "Load balancer", err, "elasticloadbalancing:DescribeListeners")
	}
	l.pass("Load balancer", "*.%s has to lead to %s.", l.settings.domain, deref(b.itself.DNSName))
	if l.r.Health == models.HealthTCP {
		l.pass("Health check", "A load balancer can't check a bare port: it asks GET / and takes any answer below 500.")
	}
	return nil
}

// size tells what an instance gets on Fargate.
func (l *looking) size(context.Context, caller) error {
	if l.settings.launch != types.LaunchTypeFargate {
		return nil
	}
	s, ok := sizeFor(l.r.Scale)
	switch {
	case !ok:
		l.fail("Size", "%s", tooLarge)
	case s.exact(l.r.Scale):
		l.pass("Size", "Each instance gets %s.", s)
	default:
		l.pass("Size", "Each instance gets %s, the next size up that Fargate has.", s)
	}
	return nil
}

// registry looks whether ECS can pull from the image's registry.
func (l *looking) registry(ctx context.Context, me caller) error {
	host, _, _ := strings.Cut(l.r.Image.Repository, "/")
	switch {
	case isLocal(l.r.Image.Repository):
		l.fail("Registry", "ECS can't pull from %s: to each of its machines that name means itself. Set the target's registry to one in ECR, so that Slipway copies images there.", host)
		return nil
	case ecrHost.MatchString(host):
		if account, _, _ := strings.Cut(host, "."); account != me.account {
			l.pass("Registry", "%s is another account's: its repositories have to allow the role %s.", host, last(l.settings.executionRole))
			return nil
		}
		l.pass("Registry", "ECS pulls from %s by the execution role.", host)
		return nil
	case l.r.From.Credential == nil:
		return nil
	}
	user, _, err := l.r.From.Credential(ctx)
	if err != nil {
		if told, ok := errors.AsType[*models.Error](err); ok {
			l.fail("Registry", "%s", told.Message)
			return nil
		}
		return err
	}
	if user != "" {
		l.fail("Registry", "The registry %s asks for a login, which ECS can't have for long. Set the target's registry to one in ECR, so that Slipway copies images there first.", host)
		return nil
	}
	l.pass("Registry", "ECS pulls from %s, where anybody may.", host)
	return nil
}

// rightsFor is how long permissions that were all there are not asked for again.
const rightsFor = 5 * time.Minute

// permissions asks IAM whether the credential may do all that a rollout does.
func (l *looking) permissions(ctx context.Context, me caller) error {
	l.mu.Lock()
	known := time.Since(l.allowed) < rightsFor
	l.mu.Unlock()
	if known {
		l.pass("Permissions", "The credential has all that a rollout needs.")
		return nil
	}
	var lacks []string
	for _, need := range l.needs(me) {
		found, err := l.simulate(ctx, me, need)
		if awslogin.Code(err) == "NoSuchEntity" || awslogin.Code(err) == "InvalidInput" {
			l.pass("Permissions", "Not looked at: IAM can't simulate for %s.", me.principal())
			return nil
		}
		if err != nil {
			return l.unknown(ctx, "Permissions", err, "iam:SimulatePrincipalPolicy")
		}
		lacks = append(lacks, found...)
	}
	if len(lacks) > 0 {
		slices.Sort(lacks)
		l.fail("Permissions", "The credential %s may not %s. Add to its policy what docs/aws.md lists.", me.principal(), strings.Join(lacks, ", "))
		return nil
	}
	l.mu.Lock()
	l.allowed = time.Now()
	l.mu.Unlock()
	l.pass("Permissions", "The credential has all that a rollout needs.")
	return nil
}

// simulation is IAM's answer to SimulatePrincipalPolicy
// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html).
type simulation struct {
	XMLName xml.Name `xml:"SimulatePrincipalPolicyResponse"`
	All     []struct {
		Action   string   `xml:"EvalActionName"`
		Decision string   `xml:"EvalDecision"`
		Missing  []string `xml:"MissingContextValues>member"`
	} `xml:"SimulatePrincipalPolicyResult>EvaluationResults>member"`
}

// simulate returns which of the actions the credential may not do on the resource.
// Where that hangs on what only the real call would tell, it is taken for allowed.
func (l *looking) simulate(ctx context.Context, me caller, n need) (lacks []string, err error) {
	form := numbered(url.Values{"PolicySourceArn": {me.principal()}, "MaxItems": {"1000"}}, "ActionNames.member", n.actions)
	numbered(form, "ResourceArns.member", []string{n.resource})
	var got simulation
	if err := l.c.IAM(ctx, "SimulatePrincipalPolicy", form, &got); err != nil {
		return nil, err
	}
	for _, one := range got.All {
		if one.Decision != "allowed" && len(one.Missing) == 0 {
			lacks = append(lacks, one.Action)
		}
	}
	return lacks, nil
}

// numbered adds a list to a form: Name.1, Name.2, …
func numbered(form url.Values, name string, values []string) url.Values {
	for i, v := range values {
		form.Set(fmt.Sprintf("%s.%d", name, i+1), v)
	}
	return form
}
