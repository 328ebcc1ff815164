package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/services/deploy"
)

// Drift compares the release's service, and the rule by which visitors come, with what was deployed.
func (t *target) Drift(ctx context.Context, r deploy.Release) ([]deploy.Drift, error) {
	c := t.as(r.Subject())
	out := []deploy.Drift{}
	definition, err := t.definition(ctx, c, r)
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "look for the task definition "+nameOf(r))
	}
	if definition == "" {
		out = append(out, deploy.Drift{Object: "Task definition " + nameOf(r), Want: "there", Have: "gone"})
	}
	s, err := t.service(ctx, c, nameOf(r))
	switch {
	case errors.Is(err, errGone):
		out = append(out, deploy.Drift{Object: "Service " + nameOf(r), Want: "there", Have: "gone"})
	case err != nil:
		return nil, t.explain(ctx, deploy.StageTarget, err, "look at the service "+nameOf(r))
	default:
		out = append(out, serviceDrift(s, r, definition)...)
	}
	if t.settings.listener == "" {
		return out, nil
	}
	way, err := t.wayDrift(ctx, c, r)
	return append(out, way...), t.explain(ctx, deploy.StageTarget, err, "read the listener's rules")
}

func serviceDrift(s *types.Service, r deploy.Release, definition string) (out []deploy.Drift) {
	object := "Service " + deref(s.ServiceName)
	if want := r.Scale.OrOne().Replicas; int(s.DesiredCount) != want {
		out = append(out, deploy.Drift{Object: object, Field: "desiredCount", Want: fmt.Sprint(want), Have: fmt.Sprint(s.DesiredCount)})
	}
	if main := primaryOf(s); main != nil && definition != "" && deref(main.TaskDefinition) != definition {
		out = append(out, deploy.Drift{Object: object, Field: "taskDefinition", Want: last(definition), Have: last(deref(main.TaskDefinition))})
	}
	return out
}

// wayDrift looks whether all visitors of the app's rule come to the release, but
// for those that a newer one has while they move to it in steps.
func (t *target) wayDrift(ctx context.Context, c *clients, r deploy.Release) ([]deploy.Drift, error) {
	group, err := t.group(ctx, c, deploy.StageTarget, r.ID)
	if err != nil {
		return nil, err
	}
	if group == "" {
		return []deploy.Drift{{Object: "Target group " + mark(r.ID), Want: "there", Have: "gone"}}, nil
	}
	out := []deploy.Drift{}
	has, err := t.appRule(ctx, c, r)
	if errors.Is(err, errGone) {
		return []deploy.Drift{{Object: "Listener rule of " + r.Hosts(t.settings.domain)[0], Want: "there", Have: "gone"}}, nil
	}
	if err != nil {
		return nil, err
	}
	serving := has.serving()
	steps := []string{}
	if slices.Contains(serving, group) {
		if steps, err = t.newer(ctx, c, serving, r); err != nil {
			return nil, err
		}
	} else {
		out = append(out, deploy.Drift{Object: "Listener rule of " + has.host, Field: "visitors", Want: "all to this release", Have: "none"})
	}
	for _, arn := range serving {
		if arn != group && !slices.Contains(steps, arn) {
			out = append(out, deploy.Drift{Object: "Listener rule of " + has.host, Field: "visitors", Want: "all to this release", Have: "some to " + groupName(arn)})
		}
	}
	return out, nil
}

// newer are those of the target groups that are of this target's releases which
// began after the one: ids of releases are in the order of their beginnings.
func (t *target) newer(ctx context.Context, c *clients, groups []string, than deploy.Release) (arns []string, err error) {
	tags, err := t.elbTagsOf(ctx, c, groups)
	if err != nil {
		return nil, err
	}
	for _, arn := range groups {
		if tags[arn][tagTarget] == t.id && tags[arn][tagRelease] > than.ID {
			arns = append(arns, arn)
		}
	}
	return arns, nil
}

// groupName is in the middle of a target group's ARN.
func groupName(arn string) string {
	before, _, _ := cutLast(arn, "/")
	return last(before)
}

// Restore makes the service as it was deployed, and sends the visitors to it
// where no newer release of the app has them.
func (t *target) Restore(ctx context.Context, r deploy.Release) error {
	if err := t.Start(ctx, r); err != nil {
		return err
	}
	if t.settings.listener == "" {
		return nil
	}
	c := t.as(r.Subject())
	newer, err := t.newerServes(ctx, c, r)
	if err != nil || newer {
		return t.explain(ctx, deploy.StageTarget, err, "read the listener's rules")
	}
	_, err = t.Route(ctx, r)
	return err
}

// newerServes tells whether a release that began after this one has visitors of the app.
func (t *target) newerServes(ctx context.Context, c *clients, r deploy.Release) (bool, error) {
	has, err := t.appRule(ctx, c, r)
	if err != nil || len(has.serving()) == 0 {
		return false, err
	}
	newer, err := t.newer(ctx, c, has.serving(), r)
	return len(newer) > 0, err
}

// appRule returns the app's rule of the listener, or errGone.
func (t *target) appRule(ctx context.Context, c *clients, r deploy.Release) (rule, error) {
	all, err := t.rules(ctx, c)
	if err != nil {
		return rule{}, err
	}
	own, tags, err := t.ownRules(ctx, c, all)
	if err != nil {
		return rule{}, err
	}
	if has, ok := ofApp(own, tags, r); ok {
		return has, nil
	}
	return rule{}, errGone
}
