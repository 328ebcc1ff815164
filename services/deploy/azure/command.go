package azure

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// commandTime is how long Azure lets a command run; the rollout's own time is shorter.
const commandTime = 30 * time.Minute

// Run runs the release's command as the one execution of a job, which stays until
// the release is removed: whoever comes after a worker that died finds how it
// ended, and it never runs twice.
func (t *target) Run(ctx context.Context, r deploy.Release, say func(string)) error {
	c := &command{target: t, r: r, name: jobName(r.ID), say: say}
	if err := c.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return c.tooLate(ctx)
		}
		return err
	}
	for {
		done, err := c.look(ctx)
		if ctx.Err() != nil {
			return c.tooLate(ctx)
		}
		if err != nil && !passing(err) || done {
			return err
		}
		if t.pause(ctx) != nil {
			return c.tooLate(ctx)
		}
	}
}

// command is one run of a release's command.
type command struct {
	*target
	r    deploy.Release
	name string
	say  func(string)
	last time.Time // of the last line that was said
	logs []string
	over int // looks since it failed, in which its exit code was not known yet
}

func (t *target) job(ctx context.Context, name string) (*aca.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	found, err := t.jobs.Get(ctx, t.settings.Group, name, nil)
	if err != nil {
		return nil, err
	}
	if found.Properties == nil {
		found.Properties = &aca.JobProperties{}
	}
	return &found.Job, nil
}

// begin makes the job and its execution where they are missing.
func (c *command) begin(ctx context.Context) error {
	job, err := c.job(ctx, c.name)
	if err == nil && (!c.owns(job.Tags) || value(job.Tags[tagRelease]) != c.r.ID) {
		return deploy.Failf(deploy.StageCommand, nil, "There is a job %s in the resource group %s that is not Slipway's, so it is not touched. Rename or remove it.", c.name, c.settings.Group)
	}
	if missing(err) {
		if err := c.make(ctx); err != nil {
			return err
		}
	} else if err != nil {
		return c.explain(ctx, deploy.StageCommand, err)
	}
	for {
		have, err := c.execution(ctx)
		if have != nil || err != nil {
			return err
		}
		poller, err := c.jobs.BeginStart(ctx, c.settings.Group, c.name, nil)
		if busy(err) { // it is still being made
			if err := c.pause(ctx); err != nil {
				return err
			}
			continue
		}
		if err == nil {
			err = ended(ctx, c.target, poller)
		}
		if err != nil {
			return c.explain(ctx, deploy.StageCommand, err)
		}
		return nil
	}
}

// make makes the job.
func (c *command) make(ctx context.Context) error {
	home, err := c.environment(ctx)
	if err != nil {
		return err
	}
	l, err := c.login(ctx, deploy.StageCommand, c.r)
	if err != nil {
		return err
	}
	run := container(c.r, c.r.Image.Ref())
	for _, arg := range c.r.Command {
		run.Args = append(run.Args, to.Ptr(arg))
	}
	config := &aca.JobConfiguration{
		TriggerType: to.Ptr(aca.TriggerTypeManual), ReplicaTimeout: to.Ptr(int32(commandTime.Seconds())), ReplicaRetryLimit: to.Ptr[int32](0),
		ManualTriggerConfig: &aca.JobConfigurationManualTriggerConfig{Parallelism: to.Ptr[int32](1), ReplicaCompletionCount: to.Ptr[int32](1)},
	}
	config.Registries, config.Secrets = l.into(nil, secrets(c.r))
	job := aca.Job{Location: home.Location, Tags: c.tags(c.r), Identity: c.identity(nil), Properties: &aca.JobProperties{
		EnvironmentID: to.Ptr(c.settings.environmentID()), Configuration: config, Template: &aca.JobTemplate{Containers: []*aca.Container{run}}}}
	if c.settings.profile != "" {
		job.Properties.WorkloadProfileName = to.Ptr(c.settings.profile)
	}
	return c.again(ctx, deploy.StageCommand, func(ctx context.Context) error {
		poller, err := c.jobs.BeginCreateOrUpdate(ctx, c.settings.Group, c.name, job, nil)
		if err == nil {
			err = ended(ctx, c.target, poller)
		}
		if _, text := azurelogin.Words(err); err != nil && imageTrouble(text) {
			return c.unpulled(c.r, deploy.Plain(text))
		}
		return err
	})
}

// execution returns the job's one execution; nil where it has not begun.
func (c *command) execution(ctx context.Context) (*aca.JobExecution, error) {
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for pager := c.executions.NewListPager(c.settings.Group, c.name, nil); pager.More(); {
		page, err := pager.NextPage(call)
		if missing(err) {
			return nil, deploy.Failf(deploy.StageCommand, err, "Somebody removed the job of the command before the switch. Deploy again.")
		}
		if err != nil {
			return nil, c.explain(ctx, deploy.StageCommand, err)
		}
		if len(page.Value) > 0 {
			return page.Value[0], nil
		}
	}
	return nil, nil
}

// look looks once whether the command has ended, and how.
func (c *command) look(ctx context.Context) (done bool, err error) {
	run, err := c.execution(ctx)
	if run == nil || err != nil {
		return false, err
	}
	var status aca.JobExecutionRunningState
	if run.Properties != nil {
		status = value(run.Properties.Status)
	}
	over := status == aca.JobExecutionRunningStateSucceeded || status == aca.JobExecutionRunningStateFailed || status == aca.JobExecutionRunningStateDegraded || status == aca.JobExecutionRunningStateStopped
	c.listen(ctx, value(run.Name))
	if status == aca.JobExecutionRunningStateSucceeded {
		return true, nil
	}
	code, known, reason, why := c.events(ctx)
	switch {
	case why != nil:
		return false, why
	case over && !known && c.over < 3 && status != aca.JobExecutionRunningStateStopped: // the system log comes a moment later
		c.over++
		return false, nil
	case over:
		return false, c.failed(code, known, reason, status)
	}
	return false, nil
}

// listen says what the command has printed since it was listened to last.
func (c *command) listen(ctx context.Context, execution string) {
	var all aca.ReplicaCollection
	path := c.settings.GroupID() + "/providers/Microsoft.App/jobs/" + c.name + "/executions/" + execution + "/replicas"
	if c.ask(ctx, http.MethodGet, path, jobVersion, &all) != nil {
		return // what it prints is no part of how it ended
	}
	for _, replica := range all.Value {
		for line, err := range c.read(ctx, place{jobs, c.name}, endpointOf(replica), deploy.LogOptions{After: c.last}) {
			if err != nil {
				return
			}
			c.last = line.At
			c.say(line.Text)
			if c.logs = append(c.logs, deploy.Plain(line.Text)); len(c.logs) > keepLines {
				c.logs = c.logs[1:]
			}
		}
	}
}

// events looks in the job's system log for how its container ended, and for what keeps it from starting.
func (c *command) events(ctx context.Context) (code int, known bool, reason string, why error) {
	job, err := c.job(ctx, c.name)
	if err != nil || value(job.Properties.EventStreamEndpoint) == "" {
		return 0, false, "", nil
	}
	all, err := c.systemEvents(ctx, place{jobs, c.name}, *job.Properties.EventStreamEndpoint)
	if err != nil {
		return 0, false, "", nil
	}
	for _, e := range slices.Backward(all) {
		text := deploy.Plain(e.Msg)
		if code, known, reason, ok := exit(text); ok {
			return code, known, reason, nil
		}
		if e.Type == "Warning" && (imageTrouble(text) || imageTrouble(e.Reason)) {
			return 0, false, "", c.unpulled(c.r, text)
		}
	}
	return 0, false, "", nil
}

func (c *command) failed(code int, known bool, reason string, status aca.JobExecutionRunningState) error {
	const goesOn = " What served before goes on serving."
	if status == aca.JobExecutionRunningStateStopped {
		return deploy.Failf(deploy.StageCommand, nil, "Somebody stopped the command before the switch in Azure."+goesOn)
	}
	f := stopped(deploy.StageCommand, "The command before the switch", code, known, reason, sizeText(c.r.Scale))
	f.Message += "." + goesOn
	f.Logs = c.logs
	return f
}

func (c *command) tooLate(ctx context.Context) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	f := deploy.Failf(deploy.StageTimeout, ctx.Err(), "The command before the switch did not end in time. What served before goes on serving.")
	f.Logs = c.logs
	return f
}
