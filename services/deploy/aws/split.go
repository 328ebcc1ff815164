package aws

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"slipway.dev/services/deploy"
)

// Split sends a share of the visitors of the app's host name to the release, and all others to the one
// that had them, by the weights of the listener's rule
// (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-action-types.html#forward-actions).
// A target without a load balancer can't.
func (t *target) Split(ctx context.Context, r deploy.Release, percent int) error {
	share := int32(deploy.Share(percent))
	if t.settings.listener == "" && share > 0 {
		return deploy.Failf(deploy.StageTarget, nil, "The target has no load balancer, so that all visitors come to a new release at once. Deploy without steps, or name a listener in the target's settings.")
	}
	if t.settings.listener == "" {
		return nil
	}
	c := t.as(r.Subject())
	group, err := t.group(ctx, c, deploy.StageTarget, r.ID)
	switch {
	case err != nil:
		return t.explain(ctx, deploy.StageTarget, err, "look for the release's target group")
	case group == "" && share == 0:
		return nil
	case group == "":
		return t.groupGone(r)
	}
	has, err := t.ruleFor(ctx, c, r, group)
	if err != nil {
		return err
	}
	former, err := t.former(ctx, c, has, group)
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, "look at the listener's rule of "+has.host)
	}
	if former == "" {
		return nil
	}
	next := has.shared(group, former, share)
	if slices.EqualFunc(has.groups, next, alike) {
		return nil
	}
	_, err = c.elb.ModifyRule(ctx, &elasticloadbalancingv2.ModifyRuleInput{RuleArn: &has.arn, Actions: forward(next)})
	return t.explain(ctx, deploy.StageTarget, err, "send some of the visitors of "+has.host+" to the release")
}

// groupGone says that the release has no target group any more.
func (t *target) groupGone(r deploy.Release) error {
	return deploy.Failf(deploy.StageTarget, nil, "Somebody removed the target group %s. Deploy again.", mark(r.ID))
}

// former is the target group that had the rule's visitors before the given one, or "".
func (t *target) former(ctx context.Context, c *clients, has rule, beside string) (string, error) {
	all := slices.DeleteFunc(has.serving(), func(arn string) bool { return arn == beside })
	if len(all) < 2 { // so that nobody has to be asked
		return deploy.Former(all, nil), nil
	}
	tags, err := t.elbTagsOf(ctx, c, all)
	if err != nil {
		return "", err
	}
	return deploy.Former(all, func(arn string) string {
		if tags[arn][tagTarget] != t.id {
			return ""
		}
		return tags[arn][tagRelease]
	}), nil
}

// serving are the rule's target groups that have visitors.
func (r rule) serving() (arns []string) {
	for _, g := range r.groups {
		if weightOf(g) > 0 {
			arns = append(arns, deref(g.TargetGroupArn))
		}
	}
	return arns
}

// shared are the rule's groups with a share of a hundred visitors at the one, and the others at the former one.
func (r rule) shared(group, former string, share int32) []types.TargetGroupTuple {
	var out []types.TargetGroupTuple
	for _, g := range r.groups {
		arn, weight := deref(g.TargetGroupArn), int32(0)
		switch arn {
		case group:
			weight = share
		case former:
			weight = 100 - share
		}
		out = append(out, types.TargetGroupTuple{TargetGroupArn: &arn, Weight: &weight})
	}
	return out
}

// weightOf is the group's weight; one that has none weighs 1.
func weightOf(g types.TargetGroupTuple) int32 {
	if g.Weight == nil {
		return 1
	}
	return *g.Weight
}

func alike(a, b types.TargetGroupTuple) bool {
	return deref(a.TargetGroupArn) == deref(b.TargetGroupArn) && weightOf(a) == weightOf(b)
}
