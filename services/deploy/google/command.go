package google

import (
	"context"
	"strings"
	"time"

	"google.golang.org/api/run/v2"
	"slipway.dev/services/deploy"
)

// commandTime is how long a command may take where its caller does not say.
const commandTime = time.Hour

// Run runs the release's command as a job of Cloud Run, which stays until the
// release is removed: whoever comes after a worker that died finds how it ended,
// and it never runs twice.
func (t *target) Run(ctx context.Context, r deploy.Release, say func(string)) error {
	a, err := t.as(r.Subject())
	if err != nil {
		return err
	}
	c := &command{target: t, a: a, r: r, say: say, log: listener{every: t.pace.listen}, seen: map[string]bool{}}
	if err := c.ready(ctx); err != nil {
		return c.because(ctx, err)
	}
	for {
		done, err := c.look(ctx)
		if err != nil || done {
			return c.because(ctx, err)
		}
		if err := deploy.WaitFor(ctx, t.pace.look); err != nil {
			return c.because(ctx, err)
		}
	}
}

// command is one run of a release's command.
type command struct {
	*target
	a   *api
	r   deploy.Release
	say func(string)

	log  listener
	seen map[string]bool // lines that were said, by the ids of their entries
	over bool            // the log has the end
}

func (c *command) path() string { return c.settings.location() + "/jobs/" + jobOf(c.r.ID) }

// ready makes the job and waits until it can run.
func (c *command) ready(ctx context.Context) error {
	of, err := sizeOf(c.r.Scale)
	if err != nil {
		return err
	}
	if err := c.putSecrets(ctx, c.a, c.r); err != nil {
		return err
	}
	for {
		j, err := c.a.Projects.Locations.Jobs.Get(c.path()).Context(ctx).Do()
		switch {
		case isGone(err):
			_, err = c.a.Projects.Locations.Jobs.Create(c.settings.location(), c.job(ctx, of)).JobId(jobOf(c.r.ID)).Context(ctx).Do()
			if isConflict(err) {
				err = nil
			}
		case err == nil && !c.mine(j.Labels):
			return deploy.Failf(deploy.StageCommand, nil, "The project has a job %s that Slipway did not make. Remove it, and deploy again.", jobOf(c.r.ID))
		case err == nil && j.TerminalCondition != nil && j.TerminalCondition.State == failed:
			return c.refused(j.TerminalCondition)
		case err == nil && j.TerminalCondition != nil && j.TerminalCondition.State == succeeded:
			return nil
		}
		if err != nil {
			return c.explain(ctx, deploy.StageCommand, err, "job "+jobOf(c.r.ID))
		}
		if err := deploy.WaitFor(ctx, c.pace.look/4); err != nil {
			return err
		}
	}
}

func (c *command) job(ctx context.Context, of size) *run.GoogleCloudRunV2Job {
	within := commandTime
	if at, ok := ctx.Deadline(); ok {
		within = max(time.Until(at).Round(time.Second), time.Second)
	}
	task := &run.GoogleCloudRunV2TaskTemplate{
		ServiceAccount: c.settings.runAs, Timeout: seconds(within), ForceSendFields: []string{"MaxRetries"}, VpcAccess: c.vpc(), ExecutionEnvironment: "EXECUTION_ENVIRONMENT_GEN2",
		Containers: []*run.GoogleCloudRunV2Container{{Image: c.r.Image.Ref(), Args: c.r.Command, Env: c.environment(c.r), Resources: &run.GoogleCloudRunV2ResourceRequirements{Limits: of.limits()}}},
	}
	return &run.GoogleCloudRunV2Job{Labels: c.labels(c.r), Template: &run.GoogleCloudRunV2ExecutionTemplate{Labels: c.labels(c.r), TaskCount: 1, Parallelism: 1, Template: task}}
}

// look looks once whether the command has ended, and how; it begins it where nobody has.
func (c *command) look(ctx context.Context) (done bool, err error) {
	all, err := c.a.Projects.Locations.Jobs.Executions.List(c.path()).Context(ctx).Do()
	if err != nil {
		return false, c.explain(ctx, deploy.StageCommand, err, "executions of the job "+jobOf(c.r.ID))
	}
	if len(all.Executions) == 0 {
		_, err := c.a.Projects.Locations.Jobs.Run(c.path(), &run.GoogleCloudRunV2RunJobRequest{}).Context(ctx).Do()
		if err != nil && !isConflict(err) {
			return false, c.explain(ctx, deploy.StageCommand, err, "job "+jobOf(c.r.ID))
		}
		return false, nil
	}
	e := all.Executions[len(all.Executions)-1] // the first that there was
	c.listen(ctx, e.CompletionTime != "")
	if e.CompletionTime == "" {
		return false, nil
	}
	for end := time.Now().Add(c.pace.settle); !c.over && time.Now().Before(end); {
		if err := deploy.WaitFor(ctx, c.pace.look); err != nil {
			return false, err
		}
		c.listen(ctx, true)
	}
	if e.SucceededCount > 0 {
		return true, nil
	}
	return false, c.failed(ctx, e)
}

// listen says what the command printed since the last time, where it is time again or now.
func (c *command) listen(ctx context.Context, now bool) {
	c.log.listen(now, c.say, func() error {
		found, err := c.entries(ctx, c.a, c.ofJob(c.r.ID)+" AND "+c.logName(logOut, logErr, logSystem), oldestFirst, 0)
		for _, e := range found {
			if c.seen[e.InsertId] {
				continue
			}
			c.seen[e.InsertId] = true
			if strings.HasSuffix(e.LogName, logSystem) {
				c.over = c.over || exitWords.MatchString(e.TextPayload) || signalWords.MatchString(e.TextPayload)
				continue
			}
			c.say(line(e).Text)
		}
		return err
	})
}

// refused says why the job can't run.
func (c *command) refused(of *run.GoogleCloudRunV2Condition) error {
	if f := c.condition(c.r, of); f != nil {
		return f
	}
	return deploy.Failf(deploy.StageCommand, nil, "Cloud Run could not run the command before the switch: %s What served before goes on serving.", deploy.Sentence(deploy.Plain(of.Message)))
}

// failed says how the command ended.
func (c *command) failed(ctx context.Context, e *run.GoogleCloudRunV2Execution) error {
	tasks, err := c.a.Projects.Locations.Jobs.Executions.Tasks.List(e.Name).Context(ctx).Do()
	if err != nil {
		return c.explain(ctx, deploy.StageCommand, err, "tasks of the execution "+last(e.Name))
	}
	if len(tasks.Tasks) == 0 || tasks.Tasks[0].LastAttemptResult == nil {
		if of := condition(e.Conditions, "Completed"); of != nil {
			return c.refused(of)
		}
		return deploy.Failf(deploy.StageCommand, nil, "The command before the switch failed, and Cloud Run does not say how. What served before goes on serving.")
	}
	end := tasks.Tasks[0].LastAttemptResult
	code := int(end.ExitCode)
	if end.TermSignal != 0 {
		code = 128 + int(end.TermSignal)
	}
	f := deploy.Failf(deploy.StageCommand, nil, "The command before the switch ended with exit code %d. What served before goes on serving.", code)
	if end.Status != nil && memoryWords.MatchString(end.Status.Message) {
		f.OOM = true
		f.Message = "The command before the switch used more memory than it may, and Cloud Run ended it. What served before goes on serving."
	}
	f.ExitCode, f.Logs = &code, c.lastLines(ctx, c.a, c.ofJob(c.r.ID))
	return f
}

// because is why the run ended: the time that it had is over, or err. What runs on is stopped.
func (c *command) because(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if ctx.Err() != context.DeadlineExceeded {
		return context.Cause(ctx)
	}
	f := deploy.Failf(deploy.StageTimeout, ctx.Err(), "The command before the switch did not end in time. What served before goes on serving.")
	quiet, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	if all, err := c.a.Projects.Locations.Jobs.Executions.List(c.path()).Context(quiet).Do(); err == nil {
		for _, e := range all.Executions {
			if e.CompletionTime == "" {
				_, _ = c.a.Projects.Locations.Jobs.Executions.Cancel(e.Name, &run.GoogleCloudRunV2CancelExecutionRequest{}).Context(quiet).Do() // it ends by its own time-out too
			}
		}
	}
	f.Logs = c.lastLines(quiet, c.a, c.ofJob(c.r.ID))
	return f
}
