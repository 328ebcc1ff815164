package kubernetes

import (
	"context"
	"errors"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"slipway.dev/services/deploy"
)

// Run runs the release's command in a Job, which stays until the release is
// removed: whoever comes after a worker that died finds how it ended, and it
// never runs twice.
func (t *target) Run(ctx context.Context, r deploy.Release, say func(string)) error {
	if err := t.applyBase(ctx, deploy.StageCommand, r); err != nil {
		return err
	}
	if err := t.apply(ctx, deploy.StageCommand, t.task(r)); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	changed := t.changes(watching, t.namespace(r), r.ID)
	c := &command{target: t, r: r}
	defer c.listen(ctx, say)()
	for {
		done, err := c.look(ctx)
		if ctx.Err() != nil {
			return c.tooLate(ctx)
		}
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return c.tooLate(ctx)
		case <-changed:
		case <-time.After(lookEvery):
		}
	}
}

// command is one run of a release's command.
type command struct {
	*target
	r deploy.Release
}

func (c *command) labels() map[string]string {
	return map[string]string{labelTarget: c.id, labelDeployment: c.r.ID, labelPart: partCommand}
}

// listen says what the command prints, from its pod's start to its end. The
// function that it returns waits for the last line.
func (c *command) listen(ctx context.Context, say func(string)) (wait func()) {
	reading, stop := context.WithCancel(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for reading.Err() == nil {
			all, err := c.livingPods(reading, c.labels())
			if err == nil && len(all) > 0 && all[0].Status.Phase != corev1.PodPending {
				for line, err := range c.lines(reading, instance(all[0], 1), deploy.LogOptions{Follow: true}) {
					if err == nil {
						say(line.Text)
					}
				}
				return
			}
			select {
			case <-reading.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return func() {
		select {
		case <-read: // the log ends with the container
		case <-time.After(3 * time.Second):
		}
		stop()
		<-read
	}
}

// look looks once whether the command has ended, and how.
func (c *command) look(ctx context.Context) (done bool, err error) {
	all, err := c.livingPods(ctx, c.labels())
	if err != nil {
		return false, c.explain(ctx, deploy.StageTarget, err, "pods")
	}
	for _, p := range all {
		for _, s := range p.Status.ContainerStatuses {
			switch {
			case s.State.Terminated != nil && s.State.Terminated.ExitCode == 0:
				return true, nil
			case s.State.Terminated != nil:
				return false, c.failed(ctx, p, *s.State.Terminated)
			case s.State.Waiting != nil:
				w := &waiting{target: c.target, r: c.r}
				if err := w.held(*s.State.Waiting); err != nil {
					return false, err
				}
			}
		}
	}
	return c.ofJob(ctx, len(all))
}

// ofJob asks the Job itself, which knows of pods that are gone or could not be made.
func (c *command) ofJob(ctx context.Context, pods int) (done bool, err error) {
	found, err := list[batchv1.Job](ctx, c.target, jobs, c.namespace(c.r), c.ofRelease(c.r.ID))
	if err != nil {
		return false, c.explain(ctx, deploy.StageTarget, err, "Job "+nameOf(c.r)+"-command")
	}
	if len(found) == 0 {
		return false, deploy.Failf(deploy.StageCommand, nil, "Somebody removed the Job of the command before the switch. Deploy again.")
	}
	for _, s := range found[0].Status.Conditions {
		switch {
		case s.Status != corev1.ConditionTrue:
		case s.Type == batchv1.JobComplete:
			return true, nil
		case s.Type == batchv1.JobFailed && pods == 0:
			return false, deploy.Failf(deploy.StageCommand, errors.New(s.Message), "The command before the switch failed, and its pod is gone: %s What served before goes on serving.", deploy.Sentence(deploy.Plain(s.Message)))
		}
	}
	return false, nil
}

func (c *command) failed(ctx context.Context, p corev1.Pod, end corev1.ContainerStateTerminated) error {
	code := int(end.ExitCode)
	f := deploy.Failf(deploy.StageCommand, errors.New(end.Reason), "The command before the switch ended with exit code %d. What served before goes on serving.", code)
	if end.Reason == "OOMKilled" {
		f.OOM = true
		f.Message = "The command before the switch used more memory than it may, and the system ended it. What served before goes on serving."
	}
	f.ExitCode, f.Logs = &code, c.lastLines(ctx, p, false)
	return f
}

func (c *command) tooLate(ctx context.Context) error {
	if ctx.Err() != context.DeadlineExceeded {
		return context.Cause(ctx)
	}
	f := deploy.Failf(deploy.StageTimeout, ctx.Err(), "The command before the switch did not end in time. What served before goes on serving.")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if all, err := c.livingPods(ctx, c.labels()); err == nil && len(all) > 0 {
		f.Logs = c.lastLines(ctx, all[0], false)
	}
	return f
}
