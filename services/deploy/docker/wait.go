package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Wait asks the container again and again until it is healthy.
func (t *target) Wait(ctx context.Context, r deploy.Release, say func(string)) ([]deploy.Instance, error) {
	story := deploy.NewTranscript(say)
	defer story.Flush()
	for began := time.Now(); ; {
		healthy, err := t.ask(ctx, r, story)
		if err != nil {
			return nil, err
		}
		if healthy != nil {
			return healthy, t.keepRunning(ctx, r, healthy)
		}
		select {
		case <-ctx.Done():
			return nil, t.tooLate(ctx, r, story.Answer())
		case <-time.After(pause(time.Since(began))):
		}
	}
}

// pause grows with the time that passed: most apps are up at once, some need minutes.
func pause(passed time.Duration) time.Duration {
	return min(max(passed/20, 20*time.Millisecond), time.Second)
}

// ask looks once: the instances when they are healthy, nothing when not yet, an error when never.
func (t *target) ask(ctx context.Context, r deploy.Release, story *deploy.Transcript) ([]deploy.Instance, error) {
	found, err := t.ofRelease(ctx, r.ID)
	if ctx.Err() != nil {
		return nil, nil // Wait says why
	}
	if err != nil {
		return nil, err
	}
	if len(found) < r.Scale.Replicas {
		return nil, deploy.Failf(deploy.StageStart, nil, "Somebody removed a container while it started. Deploy again.")
	}
	slices.SortFunc(found, func(a, b deploy.Instance) int { return a.Replica - b.Replica })
	all, asked, answers := true, "", make([]string, len(found))
	for n := range found {
		a, answer, healthy, err := t.askOne(ctx, r, &found[n])
		if err != nil || ctx.Err() != nil { // Wait says why ctx ended
			return nil, err
		}
		all, asked, answers[n] = all && healthy, a, answer
	}
	story.Add(asked, together(answers))
	if !all {
		return nil, nil
	}
	return found, nil
}

// together is what all containers answered, in one line.
func together(answers []string) string {
	if same := slices.Compact(slices.Clone(answers)); len(same) == 1 {
		return same[0]
	}
	for n := range answers {
		answers[n] = fmt.Sprintf("%d: %s", n+1, answers[n])
	}
	return strings.Join(answers, ", ")
}

// askOne looks at one container, and marks it where it is healthy.
func (t *target) askOne(ctx context.Context, r deploy.Release, i *deploy.Instance) (asked, answer string, healthy bool, err error) {
	switch {
	case i.ExitCode != nil:
		return "", "", false, t.ended(ctx, r, *i)
	case i.Address == "" && r.Health != models.HealthImage:
		return "port", "not published yet", false, nil
	}
	asked, answer, healthy, err = t.healthOf(ctx, r, *i)
	if healthy {
		i.State, i.Message = models.InstanceHealthy, ""
	}
	return asked, answer, healthy, err
}

func (t *target) healthOf(ctx context.Context, r deploy.Release, i deploy.Instance) (asked, answer string, healthy bool, err error) {
	switch r.Health {
	case models.HealthTCP:
		answer, healthy = t.probe.TCP(ctx, i.Address)
		return fmt.Sprintf("TCP port %d", r.Port), answer, healthy, nil
	case models.HealthImage:
		answer, healthy, err = t.ownCheck(ctx, i.ID)
		return "HEALTHCHECK", answer, healthy, err
	default:
		answer, healthy = t.probe.HTTP(ctx, i.Address, r.HealthPath)
		return fmt.Sprintf("GET :%d%s", r.Port, r.HealthPath), answer, healthy, nil
	}
}

// ownCheck reads what the image's HEALTHCHECK says.
func (t *target) ownCheck(ctx context.Context, id string) (answer string, healthy bool, err error) {
	c, err := t.docker.ContainerInspect(ctx, id)
	if err != nil {
		if ctx.Err() != nil {
			return "", false, nil
		}
		return "", false, t.unreachable(err)
	}
	if c.State.Health == nil || c.State.Health.Status == container.NoHealthcheck {
		return "", false, deploy.Failf(deploy.StageHealth, nil, "The image has no HEALTHCHECK. Add one to the Dockerfile, or choose an HTTP path or the TCP port in the app's settings.")
	}
	answer = c.State.Health.Status
	if n := len(c.State.Health.Log); n > 0 {
		last := c.State.Health.Log[n-1]
		answer = strings.TrimSpace(fmt.Sprintf("%s, exit code %d %s", answer, last.ExitCode, sentenceOf(last.Output)))
	}
	if c.State.Health.Status == container.Unhealthy {
		f := deploy.Failf(deploy.StageHealth, nil, "The image's HEALTHCHECK says that the app is unhealthy: %s.", answer)
		f.Logs = t.lastLines(ctx, id)
		return answer, false, f
	}
	return answer, c.State.Health.Status == container.Healthy, nil
}

func sentenceOf(output string) string {
	output = deploy.Plain(output)
	if len(output) > 200 {
		output = strings.ToValidUTF8(output[:200], "") + "…"
	}
	return output
}

// keepRunning lets the engine restart the containers from now on, as far as the release wants it.
func (t *target) keepRunning(ctx context.Context, r deploy.Release, instances []deploy.Instance) error {
	policy := container.RestartPolicy{Name: container.RestartPolicyUnlessStopped}
	switch r.Restart.OrAlways() {
	case models.RestartNever:
		return nil
	case models.RestartOnFailure:
		policy = container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: r.RestartMax}
	}
	for _, i := range instances {
		_, err := t.docker.ContainerUpdate(ctx, i.ID, container.UpdateConfig{RestartPolicy: policy})
		if err != nil {
			return t.unreachable(err)
		}
	}
	return nil
}

// ended explains a container that ended before it was healthy.
func (t *target) ended(ctx context.Context, r deploy.Release, i deploy.Instance) error {
	lines := t.lastLines(ctx, i.ID)
	f := deploy.Failf(deploy.StageStart, nil, "The container ended with exit code %d before it was healthy.%s", *i.ExitCode, hint(r, lines))
	c, err := t.docker.ContainerInspect(ctx, i.ID)
	switch {
	case err == nil && outOfMemory(c):
		f.OOM = true
		f.Message = "The container used more memory than it may, and the system ended it before it was healthy. Give it more memory with its scale, or have it take less."
	case *i.ExitCode == 0:
		f.Message = "The container ended by itself, without an error, before it was healthy. A deployed app has to keep running and listen on its port."
	case *i.ExitCode == 126 || *i.ExitCode == 127:
		f.Message = fmt.Sprintf("The image's command could not be run (exit code %d). Check ENTRYPOINT and CMD in the Dockerfile.", *i.ExitCode)
	}
	f.ExitCode, f.Logs = i.ExitCode, lines
	return f
}

// tooLate explains a container that was not healthy in time.
func (t *target) tooLate(ctx context.Context, r deploy.Release, answer string) error {
	if ctx.Err() != context.DeadlineExceeded {
		return context.Cause(ctx)
	}
	f := deploy.Failf(deploy.StageHealth, ctx.Err(), "The app did not become healthy in time: %s.", wanted(r, answer))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if found, err := t.ofRelease(ctx, r.ID); err == nil && len(found) > 0 {
		f.Logs = t.lastLines(ctx, found[0].ID)
		f.Message += t.unhealthy(ctx, r, found[0].ID, answer, f.Logs)
	}
	return f
}

func wanted(r deploy.Release, answer string) string {
	switch r.Health {
	case models.HealthTCP:
		return fmt.Sprintf("nothing listens on port %d of the container", r.Port)
	case models.HealthImage:
		return "the image's HEALTHCHECK never said healthy"
	}
	if answer != "" {
		answer = " (" + answer + ")"
	}
	return fmt.Sprintf("GET %s on port %d never answered with a status from 200 to 399%s", r.HealthPath, r.Port, answer)
}
