package docker

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// inspect reads a container as an instance.
func (t *target) inspect(ctx context.Context, id string) (deploy.Instance, error) {
	c, err := t.docker.ContainerInspect(ctx, id)
	if err != nil {
		return deploy.Instance{}, err
	}
	i := deploy.Instance{
		ID: c.ID, Release: c.Config.Labels[labelDeployment], Replica: replicaOf(c.Config.Labels), Name: strings.TrimPrefix(c.Name, "/"),
		Restarts: c.RestartCount, StartedAt: clock(c.State.StartedAt),
	}
	switch {
	case c.HostConfig != nil && c.HostConfig.NetworkMode.IsHost():
		if c.State.Running {
			i.Address = net.JoinHostPort(t.address, c.Config.Labels[labelPort])
		}
	case c.NetworkSettings != nil:
		i.Address = t.published(c.NetworkSettings.Ports[nat.Port(c.Config.Labels[labelPort]+"/tcp")])
	}
	i.State, i.Message = stateOf(c, time.Now())
	if i.State == models.InstanceFailing && (!c.State.Running || c.State.Restarting) {
		i.ExitCode = &c.State.ExitCode
	}
	return i, nil
}

// replicaOf returns which of its release's containers one is. Those of former versions of Slipway were alone.
func replicaOf(labels map[string]string) int {
	n, err := strconv.Atoi(labels[labelReplica])
	if err != nil {
		return 1
	}
	return n
}

// published returns where the proxy reaches the container's port.
func (t *target) published(bindings []nat.PortBinding) string {
	for _, b := range bindings {
		if b.HostPort != "" && b.HostPort != "0" {
			return net.JoinHostPort(t.address, b.HostPort)
		}
	}
	return ""
}

// A container that was restarted crashLoop times and is no older than crashAge is in a crash loop, though it runs just now.
const (
	crashLoop = 3
	crashAge  = 30 * time.Second
)

// stateOf says how a container is by what the engine knows: whether it runs, its own HEALTHCHECK, and how often it was started again.
func stateOf(c container.InspectResponse, now time.Time) (models.InstanceState, string) {
	s := c.State
	switch {
	case s.Restarting, s.Running && c.RestartCount >= crashLoop && youngerThan(s.StartedAt, now, crashAge):
		return models.InstanceFailing, againAndAgain(c)
	case !s.Running && s.Status != container.StateCreated && s.Error == "":
		return models.InstanceFailing, endOf(c) + staysDown(c)
	case s.Paused:
		return models.InstanceFailing, "Somebody paused the container. Unpause it, or deploy again."
	case s.Running && s.Health != nil && s.Health.Status == container.Unhealthy:
		return models.InstanceFailing, "The image's HEALTHCHECK fails."
	case s.Running && s.Health != nil && s.Health.Status == container.Starting && ownCheckCounts(c):
		return models.InstanceStarting, ""
	case s.Running:
		return models.InstanceHealthy, ""
	case s.Status == container.StateCreated:
		return models.InstanceStarting, ""
	}
	return models.InstanceFailing, deploy.Plain(s.Error)
}

// ownCheckCounts tells whether the container is healthy only once its image's HEALTHCHECK has said so, which may first be
// asked an hour after the start. Containers of former versions of Slipway don't say.
func ownCheckCounts(c container.InspectResponse) bool {
	if c.Config == nil {
		return true
	}
	kind := models.HealthKind(c.Config.Labels[labelHealth])
	return kind == "" || kind == models.HealthImage
}

func youngerThan(started string, now time.Time, age time.Duration) bool {
	at := clock(started)
	return at != nil && now.Sub(*at) < age
}

// killed is the exit code of a container whose program was ended by SIGKILL (128 + 9).
const killed = 137

// outOfMemory tells whether the system ended the container because it used more memory than it may. Some engines know
// that only where they heard of it before they heard of the end, so that one with a limit which was killed counts as
// well: what Slipway itself kills it removes at once.
func outOfMemory(c container.InspectResponse) bool {
	return c.State.OOMKilled || c.State.ExitCode == killed && c.HostConfig != nil && c.HostConfig.Memory > 0
}

// endOf says how the container ended.
func endOf(c container.InspectResponse) string {
	if outOfMemory(c) {
		return "It used more memory than it may, and the system ended it (exit code 137)."
	}
	return fmt.Sprintf("It ended with exit code %d.", c.State.ExitCode)
}

// againAndAgain says that the container ends and is started again.
func againAndAgain(c container.InspectResponse) string {
	if c.RestartCount < crashLoop {
		return endOf(c) + " It is started again."
	}
	if c.State.Running {
		return fmt.Sprintf("Crash loop: it ended and was started again %d times. Its log says why; roll back, or deploy a version that stays up.", c.RestartCount)
	}
	return fmt.Sprintf("Crash loop: it was started again %d times. %s Its log says why; roll back, or deploy a version that stays up.", c.RestartCount, endOf(c))
}

// staysDown says why the engine does not start the container again, where that is the policy's word.
func staysDown(c container.InspectResponse) string {
	if c.HostConfig == nil {
		return ""
	}
	switch p := c.HostConfig.RestartPolicy; {
	case p.Name == container.RestartPolicyDisabled:
		return " It is not started again: that is its restart policy."
	case p.Name == container.RestartPolicyOnFailure && c.State.ExitCode == 0:
		return " It is not started again: its restart policy does so only after a failure."
	case p.Name == container.RestartPolicyOnFailure && c.RestartCount >= p.MaximumRetryCount:
		return fmt.Sprintf(" It was started again %s, as often as its restart policy allows.", times(c.RestartCount))
	}
	return ""
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func clock(text string) *time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() < 1970 {
		return nil
	}
	at = at.UTC().Truncate(time.Microsecond)
	return &at
}
