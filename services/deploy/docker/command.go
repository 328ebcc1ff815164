package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"slipway.dev/services/deploy"
)

// Run runs the release's command in a container of its own, which stays until
// the release is removed: whoever comes after a worker that died finds how it
// ended, and it never runs twice.
func (t *target) Run(ctx context.Context, r deploy.Release, say func(string)) error {
	id, err := t.commandOf(ctx, r.ID)
	if err == nil && id == "" {
		id, err = t.startCommand(ctx, r)
	}
	if err != nil {
		return t.explainStart(r, err)
	}
	ended, failed := t.docker.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	reading, stop := context.WithCancel(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for line, err := range t.lines(reading, deploy.Instance{ID: id}, deploy.LogOptions{Follow: true}) {
			if err == nil {
				say(line.Text)
			}
		}
	}()
	defer func() { stop(); <-read }()
	select {
	case end := <-ended:
		select {
		case <-read: // the log ends with the container
		case <-time.After(2 * time.Second):
		}
		if end.StatusCode != 0 {
			return t.commandFailed(ctx, id, int(end.StatusCode))
		}
		return nil
	case err := <-failed:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			f := deploy.Failf(deploy.StageTimeout, err, "The command before the switch did not end in time. What served before goes on serving.")
			f.Logs = t.lastLines(context.WithoutCancel(ctx), id)
			return f
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return t.unreachable(err)
	}
}

func (t *target) commandFailed(ctx context.Context, id string, code int) error {
	f := deploy.Failf(deploy.StageCommand, nil, "The command before the switch ended with exit code %d. What served before goes on serving.", code)
	f.ExitCode, f.Logs = &code, t.lastLines(ctx, id)
	return f
}

// commandOf returns the id of the container that runs or ran the release's
// command. One that was made and never started is removed.
func (t *target) commandOf(ctx context.Context, release string) (string, error) {
	found, err := t.commands(ctx, release)
	if err != nil {
		return "", err
	}
	for _, c := range found {
		if c.State != container.StateCreated {
			return c.ID, nil
		}
		if err := t.remove(ctx, c.ID); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (t *target) commands(ctx context.Context, release string) ([]container.Summary, error) {
	if err := t.agree(ctx); err != nil {
		return nil, err
	}
	return t.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", labelTarget+"="+t.id), filters.Arg("label", labelDeployment+"="+release), filters.Arg("label", labelCommand))})
}

func (t *target) startCommand(ctx context.Context, r deploy.Release) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	image, err := t.imageID(ctx, r.Image)
	if err != nil {
		return "", err
	}
	if err := t.prepare(ctx, r, true); err != nil {
		return "", err
	}
	return t.createAndStart(ctx, r, image, commandReplica)
}

// commandReplica is the number of the container that runs the command: it is none of the replicas.
const commandReplica = 0

// removeCommands removes the containers that ran the release's command.
func (t *target) removeCommands(ctx context.Context, release string) error {
	found, err := t.commands(ctx, release)
	if err != nil {
		return fmt.Errorf("docker: %w", err)
	}
	for _, c := range found {
		if err := t.remove(ctx, c.ID); err != nil {
			return t.unreachable(err)
		}
	}
	return nil
}
