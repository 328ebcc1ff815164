package aws

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"slipway.dev/services/deploy"
)

// goneTime is how long tasks may take to go beyond the time that they get to end.
const goneTime = 30 * time.Second

var errStays = errors.New("a task stays")

// Remove takes the visitors' way to the release away, ends its tasks, and removes
// all that was made for it. The service goes last: as long as anything of the
// release is left, it is there to be found by. How long a task gets to end is
// part of its definition.
func (t *target) Remove(ctx context.Context, release string, grace time.Duration) error {
	defer t.changed()
	c := t.as(deploy.Subject{})
	families, err := t.families(ctx, c, release)
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, "look for the release's service")
	}
	group, err := t.removable(ctx, c, release)
	if err != nil {
		return err
	}
	if group != "" {
		if err := t.unroute(ctx, c, group); err != nil {
			return err
		}
	}
	for _, name := range families {
		if err := t.stop(ctx, c, name, release, grace); err != nil {
			return err
		}
	}
	if group != "" {
		_, err := c.elb.DeleteTargetGroup(ctx, &elasticloadbalancingv2.DeleteTargetGroupInput{TargetGroupArn: &group})
		if err != nil && !missing(err) {
			return t.explain(ctx, deploy.StageTarget, err, "remove the target group "+mark(release))
		}
	}
	if err := t.removeDefinitions(ctx, c, release); err != nil {
		return err
	}
	if err := t.removeSecret(ctx, c, release); err != nil {
		return err
	}
	for _, name := range families {
		if err := t.removeService(ctx, c, name, release); err != nil {
			return err
		}
	}
	return nil
}

// removable is the release's target group, or "" where there is none of its own.
func (t *target) removable(ctx context.Context, c *clients, release string) (string, error) {
	if t.settings.listener == "" {
		return "", nil
	}
	group, err := t.group(ctx, c, deploy.StageTarget, release)
	if errors.Is(err, errTheirs) {
		return "", nil
	}
	return group, t.explain(ctx, deploy.StageTarget, err, "look for the release's target group")
}

// stop ends the family's tasks, and waits until none is left.
func (t *target) stop(ctx context.Context, c *clients, name, release string, grace time.Duration) error {
	s, err := t.service(ctx, c, name)
	if errors.Is(err, errTheirs) {
		return nil
	}
	if err == nil && s.DesiredCount > 0 {
		_, err = c.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: ptr(t.clusterName()), Service: &name, DesiredCount: ptr(int32(0))})
	}
	if err != nil && !errors.Is(err, errGone) && !missing(err) {
		return t.explain(ctx, deploy.StageTarget, err, "stop the service "+name)
	}
	patience, cancel := context.WithTimeoutCause(ctx, max(grace, stopSeconds*time.Second)+drainSeconds*time.Second+goneTime, errStays)
	defer cancel()
	asked := map[string]bool{}
	for p := new(pace); ; {
		left, err := t.livingTasks(patience, c, name, release)
		if err == nil && len(left) == 0 {
			return nil
		}
		for _, k := range left { // what the service does not end itself: its command's task
			if arn := deref(k.TaskArn); deref(k.StartedBy) == startedBy && !asked[arn] && err == nil {
				_, err = c.ecs.StopTask(patience, &ecs.StopTaskInput{Cluster: ptr(t.clusterName()), Task: &arn, Reason: ptr("Slipway removes the release")})
				asked[arn] = true
			}
		}
		if err == nil || passing(err) {
			err = p.wait(patience)
		}
		switch {
		case errors.Is(context.Cause(patience), errStays):
			return deploy.Failf(deploy.StageTarget, err, "A task of the release does not end. Slipway tries again.")
		case err != nil:
			return t.explain(ctx, deploy.StageTarget, err, "end the tasks of "+name)
		}
	}
}

// livingTasks are the release's tasks that have not ended, its command's included.
func (t *target) livingTasks(ctx context.Context, c *clients, name, release string) ([]types.Task, error) {
	all, err := t.tasksOf(ctx, c, name)
	return slices.DeleteFunc(all, func(k types.Task) bool {
		return deref(k.LastStatus) == stopped || read(k.Tags)[tagRelease] != release
	}), err
}

func (t *target) removeService(ctx context.Context, c *clients, name, release string) error {
	s, err := t.service(ctx, c, name)
	if err == nil && read(s.Tags)[tagRelease] == release {
		_, err = c.ecs.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: ptr(t.clusterName()), Service: &name, Force: ptr(true)})
	}
	if errors.Is(err, errGone) || errors.Is(err, errTheirs) || missing(err) {
		return nil
	}
	return t.explain(ctx, deploy.StageTarget, err, "remove the service "+name)
}
