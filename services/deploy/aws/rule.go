package aws

import (
	"context"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

const (
	firstPriority = 1000  // of Slipway's rules: what others put in front stays in front
	lastPriority  = 50000 // that a rule may have
	ruleTries     = 10    // where others make rules at the same moment
)

// ruleFor returns the app's rule, which leads to the target group already or does
// so from now on, without a visitor: its weight is 0 until Route. A group has
// to be behind a rule before ECS takes it, and so that it is asked for its health.
func (t *target) ruleFor(ctx context.Context, c *clients, r deploy.Release, group string) (rule, error) {
	for try := 1; ; try++ {
		all, err := t.rules(ctx, c)
		if err != nil {
			return rule{}, t.explain(ctx, deploy.StageStart, err, "read the listener's rules")
		}
		own, tags, err := t.ownRules(ctx, c, all)
		if err != nil {
			return rule{}, t.explain(ctx, deploy.StageStart, err, "read the listener's rules")
		}
		if has, ok := ofApp(own, tags, r); ok {
			return t.join(ctx, c, has, group)
		}
		made, err := t.makeRule(ctx, c, all, r, group)
		if awslogin.Code(err) != "PriorityInUse" || try == ruleTries {
			return made, t.explain(ctx, deploy.StageStart, err, "make the listener's rule of the app")
		}
	}
}

// ofApp is the app's of the target's rules.
func ofApp(own []rule, tags map[string]map[string]string, r deploy.Release) (rule, bool) {
	for _, has := range own {
		if tags[has.arn][tagEnvironment] == r.EnvironmentID && tags[has.arn][tagApp] == r.App {
			return has, true
		}
	}
	return rule{}, false
}

// join adds the target group to the rule.
func (t *target) join(ctx context.Context, c *clients, has rule, group string) (rule, error) {
	if has.has(group) {
		return has, nil
	}
	if len(has.groups) >= maxGroups {
		return rule{}, deploy.Failf(deploy.StageStart, nil, "The listener's rule of %s leads to %d releases already, and a load balancer takes no more. Those that ended are being removed: deploy again in a minute.", has.host, len(has.groups))
	}
	has.groups = append(slices.Clone(has.groups), types.TargetGroupTuple{TargetGroupArn: &group, Weight: ptr(int32(0))})
	_, err := c.elb.ModifyRule(ctx, &elasticloadbalancingv2.ModifyRuleInput{RuleArn: &has.arn, Actions: forward(has.groups)})
	return has, t.explain(ctx, deploy.StageStart, err, "add the release to the listener's rule of "+has.host)
}

// makeRule makes the app's rule with the first host name that nobody has.
func (t *target) makeRule(ctx context.Context, c *clients, all []types.Rule, r deploy.Release, group string) (rule, error) {
	taken, priorities := map[string]bool{}, map[int]bool{}
	for _, one := range all {
		taken[ruleOf(one).host] = true
		if n, err := strconv.Atoi(deref(one.Priority)); err == nil {
			priorities[n] = true
		}
	}
	hosts := r.Hosts(t.settings.domain)
	free := slices.IndexFunc(hosts, func(h string) bool { return !taken[h] })
	if free < 0 {
		return rule{}, deploy.Failf(deploy.StageStart, nil, "Every host name for %s in %s is taken by other rules of the listener. Rename the app, or remove the rule of %s.", r.App, r.Environment, hosts[0])
	}
	priority := firstPriority
	for priorities[priority] && priority < lastPriority {
		priority++
	}
	groups := []types.TargetGroupTuple{{TargetGroupArn: &group, Weight: ptr(int32(0))}}
	made, err := c.elb.CreateRule(ctx, &elasticloadbalancingv2.CreateRuleInput{
		ListenerArn: &t.settings.listener, Priority: ptr(int32(priority)), Actions: forward(groups), Tags: elbTags(t.placeTags(r)),
		Conditions: []types.RuleCondition{{Field: ptr("host-header"), HostHeaderConfig: &types.HostHeaderConditionConfig{Values: []string{hosts[free]}}}},
	})
	if err != nil {
		return rule{}, err
	}
	return rule{arn: deref(made.Rules[0].RuleArn), host: hosts[free], groups: groups}, nil
}

// Route sends all visitors of the app's host name to the release. Without a
// listener the first task's public address is where they come.
func (t *target) Route(ctx context.Context, r deploy.Release) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	defer t.changed()
	c := t.as(r.Subject())
	if t.settings.listener == "" {
		return t.publicURL(ctx, c, r)
	}
	b, err := t.balancer(ctx, c)
	if err != nil {
		return "", t.explain(ctx, deploy.StageTarget, err, "look for the listener")
	}
	group, err := t.group(ctx, c, deploy.StageTarget, r.ID)
	if err != nil {
		return "", t.explain(ctx, deploy.StageTarget, err, "look for the release's target group")
	}
	if group == "" {
		return "", t.groupGone(r)
	}
	has, err := t.ruleFor(ctx, c, r, group)
	if err != nil {
		return "", err
	}
	_, err = c.elb.ModifyRule(ctx, &elasticloadbalancingv2.ModifyRuleInput{RuleArn: &has.arn, Actions: forward(has.only(group))})
	if err != nil {
		return "", t.explain(ctx, deploy.StageTarget, err, "send the visitors of "+has.host+" to the release")
	}
	return b.address(has.host), nil
}

// publicURL is the address of the release's first task.
func (t *target) publicURL(ctx context.Context, c *clients, r deploy.Release) (string, error) {
	all, err := t.instancesOf(ctx, c, nameOf(r))
	if err != nil {
		return "", t.explain(ctx, deploy.StageTarget, err, "look for the release's tasks")
	}
	for _, i := range all {
		if i.Address != "" {
			return "http://" + i.Address, nil
		}
	}
	return "", deploy.Failf(deploy.StageTarget, nil, "No task of the release has a public address. Check Public addresses in the target's settings, and that its subnets lead to an internet gateway.")
}

// unroute takes the target group out of the rules; a rule that leads nowhere any more goes with it.
func (t *target) unroute(ctx context.Context, c *clients, group string) error {
	all, err := t.rules(ctx, c)
	if missing(err) {
		return nil // the listener is gone, and its rules with it
	}
	var own []rule
	if err == nil {
		own, _, err = t.ownRules(ctx, c, all)
	}
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, "read the listener's rules")
	}
	for _, has := range own {
		if !has.has(group) {
			continue
		}
		if left := has.without(group); len(left) > 0 {
			_, err = c.elb.ModifyRule(ctx, &elasticloadbalancingv2.ModifyRuleInput{RuleArn: &has.arn, Actions: forward(left)})
		} else {
			_, err = c.elb.DeleteRule(ctx, &elasticloadbalancingv2.DeleteRuleInput{RuleArn: &has.arn})
		}
		if err != nil && !missing(err) {
			return t.explain(ctx, deploy.StageTarget, err, "take the release out of the listener's rule of "+has.host)
		}
	}
	return nil
}
