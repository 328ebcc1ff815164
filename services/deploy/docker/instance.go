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
	if c.NetworkSettings != nil {
		i.Address = t.published(c.NetworkSettings.Ports[nat.Port(c.Config.Labels[labelPort]+"/tcp")])
	}
	i.State, i.Message = stateOf(c.State)
	if i.State != models.InstanceHealthy && i.State != models.InstanceStarting {
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

// stateOf says how a container is by what the engine knows: whether it runs, and its own HEALTHCHECK.
func stateOf(s *container.State) (models.InstanceState, string) {
	switch {
	case s.OOMKilled && !s.Running:
		return models.InstanceFailing, "It used more memory than it may, and the system ended it (exit code 137)."
	case s.Restarting:
		return models.InstanceFailing, fmt.Sprintf("It ended with exit code %d and is started again.", s.ExitCode)
	case s.Paused:
		return models.InstanceFailing, "Somebody paused the container. Unpause it, or deploy again."
	case s.Running && s.Health != nil && s.Health.Status == container.Unhealthy:
		return models.InstanceFailing, "The image's HEALTHCHECK fails."
	case s.Running && s.Health != nil && s.Health.Status == container.Starting:
		return models.InstanceStarting, ""
	case s.Running:
		return models.InstanceHealthy, ""
	case s.Status == "created":
		return models.InstanceStarting, ""
	case s.Error != "":
		return models.InstanceFailing, plain(s.Error)
	}
	return models.InstanceFailing, fmt.Sprintf("It ended with exit code %d.", s.ExitCode)
}

func clock(text string) *time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() < 1970 {
		return nil
	}
	at = at.UTC().Truncate(time.Microsecond)
	return &at
}
