package aws

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/services/deploy"
)

// goesOn ends what is said of a command that failed.
const goesOn = " What served before goes on serving."

// Run runs the release's command in a task of its own. The token of the call
// makes that ECS starts it once, whoever asks again after a worker that died
// (https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html).
func (t *target) Run(ctx context.Context, r deploy.Release, say func(string)) error {
	c := t.as(r.Subject())
	defer t.changed()
	definition, err := t.base(ctx, c, deploy.StageCommand, r)
	if err != nil {
		return err
	}
	arn, err := t.runOnce(ctx, c, r, definition)
	if err != nil {
		return err
	}
	for line, err := range t.lines(ctx, c, streamOf(logGroup(r), r.ID, arn), 1, deploy.LogOptions{Follow: true}) { // until it has ended
		if err != nil {
			break // how it ended counts, not what was heard of it
		}
		say(line.Text)
	}
	return t.outcome(ctx, c, r, arn)
}

// runOnce returns the command's task, which it starts where there is none.
func (t *target) runOnce(ctx context.Context, c *clients, r deploy.Release, definition string) (string, error) {
	have, err := t.tasksOf(ctx, c, nameOf(r))
	if err != nil {
		return "", t.explain(ctx, deploy.StageCommand, err, "look for the command's task")
	}
	for _, k := range have {
		if deref(k.StartedBy) == startedBy {
			return deref(k.TaskArn), nil
		}
	}
	out, err := c.ecs.RunTask(ctx, &ecs.RunTaskInput{
		Cluster: ptr(t.clusterName()), TaskDefinition: &definition, Count: ptr(int32(1)), LaunchType: t.settings.launch, NetworkConfiguration: t.network(),
		ClientToken: ptr(r.ID), StartedBy: ptr(startedBy), EnableECSManagedTags: true, Tags: ecsTags(t.tagsOf(r)),
		Overrides: &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: ptr(containerName), Command: r.Command}}},
	})
	if err != nil {
		return "", t.explain(ctx, deploy.StageCommand, err, "run the command before the switch")
	}
	for _, f := range out.Failures {
		return "", deploy.Failf(deploy.StageCommand, errors.New(deref(f.Reason)), "ECS can't place the task of the command before the switch: %s Add room to the cluster, or lower the app's scale.", deploy.Sentence(deploy.Plain(deref(f.Reason)+" "+deref(f.Detail))))
	}
	if len(out.Tasks) == 0 {
		return "", deploy.Failf(deploy.StageCommand, nil, "ECS started no task for the command before the switch. Deploy again.")
	}
	return deref(out.Tasks[0].TaskArn), nil
}

// outcome waits until the task has ended, and says how.
func (t *target) outcome(ctx context.Context, c *clients, r deploy.Release, arn string) error {
	for p, began := new(pace), time.Now(); ; {
		out, err := c.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: ptr(t.clusterName()), Tasks: []string{arn}, Include: []types.TaskField{types.TaskFieldTags}})
		switch {
		case ctx.Err() != nil:
			return t.commandTooLate(ctx, c, r, arn)
		case err != nil && !passing(err):
			return t.explain(ctx, deploy.StageCommand, err, "look at the command's task")
		case err == nil && len(out.Tasks) == 0 && time.Since(began) < seenTime: // made just now
		case err == nil && len(out.Tasks) == 0:
			return deploy.Failf(deploy.StageCommand, nil, "ECS has forgotten how the command before the switch ended. Deploy again.")
		case err == nil && deref(out.Tasks[0].LastStatus) == stopped:
			return t.commandEnded(ctx, c, r, out.Tasks[0])
		}
		if p.wait(ctx) != nil {
			return t.commandTooLate(ctx, c, r, arn)
		}
	}
}

func (t *target) commandEnded(ctx context.Context, c *clients, r deploy.Release, k types.Task) error {
	for _, app := range k.Containers {
		if deref(app.Name) == containerName && app.ExitCode != nil && *app.ExitCode == 0 {
			return nil
		}
	}
	f, _ := t.ended(k)
	if f.Stage == deploy.StageImage {
		return f
	}
	f.Stage, f.Logs = deploy.StageCommand, t.lastLines(ctx, c, logGroup(r), k)
	switch {
	case f.OOM:
		f.Message = "The command before the switch used more memory than it may, and the system ended it." + goesOn
	case f.ExitCode != nil:
		f.Message = fmt.Sprintf("The command before the switch ended with exit code %d.", *f.ExitCode) + goesOn
	default:
		f.Message = "The command before the switch did not run: " + f.Message
	}
	return f
}

func (t *target) commandTooLate(ctx context.Context, c *clients, r deploy.Release, arn string) error {
	if ctx.Err() != context.DeadlineExceeded {
		return context.Cause(ctx)
	}
	f := deploy.Failf(deploy.StageTimeout, ctx.Err(), "The command before the switch did not end in time."+goesOn)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	f.Logs = t.lastLines(ctx, c, logGroup(r), types.Task{TaskArn: &arn, Tags: ecsTags(t.tagsOf(r))})
	return f
}
