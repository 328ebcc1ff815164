package aws

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const (
	// drainSeconds is how long a task that goes still gets what came to it
	// before: visitors went elsewhere long ago, when Route moved them.
	drainSeconds = 10
	healthEvery  = 5 // seconds
	healthTime   = 3 // seconds that one check may take
	healthCount  = 2 // checks that decide
	maxGroups    = 5 // of one rule
)

// balancer is the load balancer in front of the apps, and the listener that is theirs.
type balancer struct {
	listener types.Listener
	itself   types.LoadBalancer
}

// balancer looks for the listener of the settings.
func (t *target) balancer(ctx context.Context, c *clients) (*balancer, error) {
	found, err := c.elb.DescribeListeners(ctx, &elasticloadbalancingv2.DescribeListenersInput{ListenerArns: []string{t.settings.listener}})
	if missing(err) || err == nil && len(found.Listeners) == 0 {
		return nil, deploy.Failf(deploy.StageTarget, err, "There is no listener %s. Look it up in the EC2 console under Load balancers, and enter its ARN in the target's settings.", t.settings.listener)
	}
	if err != nil {
		return nil, err
	}
	b := &balancer{listener: found.Listeners[0]}
	itself, err := c.elb.DescribeLoadBalancers(ctx, &elasticloadbalancingv2.DescribeLoadBalancersInput{LoadBalancerArns: []string{deref(b.listener.LoadBalancerArn)}})
	if err != nil {
		return nil, err
	}
	if len(itself.LoadBalancers) == 0 || itself.LoadBalancers[0].Type != types.LoadBalancerTypeEnumApplication {
		return nil, deploy.Failf(deploy.StageTarget, nil, "The listener is not of an Application Load Balancer, so it has no rules by host name. Enter the ARN of one that is.")
	}
	b.itself = itself.LoadBalancers[0]
	return b, nil
}

// address is how visitors of the host come through the listener.
func (b *balancer) address(host string) string {
	scheme, standard := "http", int32(80)
	if b.listener.Protocol == types.ProtocolEnumHttps {
		scheme, standard = "https", 443
	}
	if port := b.listener.Port; port != nil && *port != standard {
		return fmt.Sprintf("%s://%s:%d", scheme, host, *port)
	}
	return scheme + "://" + host
}

// group returns the ARN of the release's target group, or "". One of the name that is not this target's is a *Failure.
func (t *target) group(ctx context.Context, c *clients, stage, release string) (string, error) {
	found, err := c.elb.DescribeTargetGroups(ctx, &elasticloadbalancingv2.DescribeTargetGroupsInput{Names: []string{mark(release)}})
	if missing(err) || err == nil && len(found.TargetGroups) == 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	arn := deref(found.TargetGroups[0].TargetGroupArn)
	tags, err := t.elbTagsOf(ctx, c, []string{arn})
	if err != nil {
		return "", err
	}
	if tags[arn][tagTarget] != t.id {
		return "", deploy.Failf(stage, errTheirs, "There is a target group %s that is not this target's, so it is not touched. Remove it, and deploy again.", mark(release))
	}
	return arn, nil
}

// elbTagsOf are the tags of each.
func (t *target) elbTagsOf(ctx context.Context, c *clients, arns []string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for chunk := range slices.Chunk(arns, 20) { // as many as one call takes
		found, err := c.elb.DescribeTags(ctx, &elasticloadbalancingv2.DescribeTagsInput{ResourceArns: chunk})
		if err != nil {
			return nil, err
		}
		for _, d := range found.TagDescriptions {
			tags := map[string]string{}
			for _, one := range d.Tags {
				tags[deref(one.Key)] = deref(one.Value)
			}
			out[deref(d.ResourceArn)] = tags
		}
	}
	return out, nil
}

// ensureGroup makes the release's target group, which asks the app for its health.
func (t *target) ensureGroup(ctx context.Context, c *clients, b *balancer, r deploy.Release) (string, error) {
	arn, err := t.group(ctx, c, deploy.StageStart, r.ID)
	if err == nil && arn == "" {
		arn, err = t.makeGroup(ctx, c, b, r)
	}
	if err == nil { // again where a worker died in between
		_, err = c.elb.ModifyTargetGroupAttributes(ctx, &elasticloadbalancingv2.ModifyTargetGroupAttributesInput{TargetGroupArn: &arn,
			Attributes: []types.TargetGroupAttribute{{Key: ptr("deregistration_delay.timeout_seconds"), Value: ptr(strconv.Itoa(drainSeconds))}}})
	}
	return arn, t.explain(ctx, deploy.StageStart, err, "make the target group "+mark(r.ID))
}

func (t *target) makeGroup(ctx context.Context, c *clients, b *balancer, r deploy.Release) (string, error) {
	path, codes := asked(r)
	made, err := c.elb.CreateTargetGroup(ctx, &elasticloadbalancingv2.CreateTargetGroupInput{
		Name: ptr(mark(r.ID)), Protocol: types.ProtocolEnumHttp, Port: ptr(int32(r.Port)), VpcId: b.itself.VpcId, TargetType: types.TargetTypeEnumIp,
		HealthCheckPath: &path, HealthCheckIntervalSeconds: ptr(int32(healthEvery)), HealthCheckTimeoutSeconds: ptr(int32(healthTime)),
		HealthyThresholdCount: ptr(int32(healthCount)), UnhealthyThresholdCount: ptr(int32(healthCount)), Matcher: &types.Matcher{HttpCode: &codes},
		Tags: elbTags(t.tagsOf(r)),
	})
	if err != nil {
		return "", err
	}
	return deref(made.TargetGroups[0].TargetGroupArn), nil
}

// asked is what the load balancer asks for, and which answers are healthy. It
// can't ask a bare port: any answer but a fault of the server will do then.
func asked(r deploy.Release) (path, codes string) {
	if r.Health == models.HealthTCP {
		return "/", "200-499"
	}
	return r.HealthPath, "200-399"
}

// rule is the app's rule of the listener.
type rule struct {
	arn, host string
	groups    []types.TargetGroupTuple
}

func ruleOf(r types.Rule) rule {
	out := rule{arn: deref(r.RuleArn)}
	for _, c := range r.Conditions {
		if c.HostHeaderConfig != nil && len(c.HostHeaderConfig.Values) > 0 {
			out.host = c.HostHeaderConfig.Values[0]
		}
	}
	for _, a := range r.Actions {
		switch {
		case a.ForwardConfig != nil:
			out.groups = a.ForwardConfig.TargetGroups
		case a.TargetGroupArn != nil:
			out.groups = []types.TargetGroupTuple{{TargetGroupArn: a.TargetGroupArn, Weight: ptr(int32(1))}}
		}
	}
	return out
}

// rules are all of the listener.
func (t *target) rules(ctx context.Context, c *clients) (all []types.Rule, err error) {
	pages := elasticloadbalancingv2.NewDescribeRulesPaginator(c.elb, &elasticloadbalancingv2.DescribeRulesInput{ListenerArn: &t.settings.listener})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Rules...)
	}
	return all, nil
}

// ownRules are those of them that are this target's, with their tags.
func (t *target) ownRules(ctx context.Context, c *clients, all []types.Rule) (own []rule, tags map[string]map[string]string, err error) {
	var arns []string
	for _, r := range all {
		if ruleOf(r).host != "" {
			arns = append(arns, deref(r.RuleArn))
		}
	}
	if tags, err = t.elbTagsOf(ctx, c, arns); err != nil {
		return nil, nil, err
	}
	for _, r := range all {
		if tags[deref(r.RuleArn)][tagTarget] == t.id {
			own = append(own, ruleOf(r))
		}
	}
	return own, tags, nil
}

// has tells whether the rule leads to the target group, with whatever weight.
func (r rule) has(group string) bool {
	return slices.ContainsFunc(r.groups, func(g types.TargetGroupTuple) bool { return deref(g.TargetGroupArn) == group })
}

// only are the rule's groups with all visitors at the one.
func (r rule) only(group string) []types.TargetGroupTuple {
	var out []types.TargetGroupTuple
	for _, g := range r.groups {
		if arn := deref(g.TargetGroupArn); arn != group {
			out = append(out, types.TargetGroupTuple{TargetGroupArn: &arn, Weight: ptr(int32(0))})
		}
	}
	return append(out, types.TargetGroupTuple{TargetGroupArn: &group, Weight: ptr(int32(1))})
}

// without are the rule's groups but the one.
func (r rule) without(group string) []types.TargetGroupTuple {
	return slices.DeleteFunc(slices.Clone(r.groups), func(g types.TargetGroupTuple) bool { return deref(g.TargetGroupArn) == group })
}

func forward(groups []types.TargetGroupTuple) []types.Action {
	return []types.Action{{Type: types.ActionTypeEnumForward, Order: ptr(int32(1)), ForwardConfig: &types.ForwardActionConfig{TargetGroups: groups}}}
}
