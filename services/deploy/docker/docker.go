// Package docker runs deployments as containers of a Docker Engine. A new
// version runs beside the old one on a port of its own; Slipway's proxy moves
// the requests.
package docker

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// KindName is how targets of this kind are stored.
const KindName = "docker"

// The labels of all that this package makes.
const (
	labelTarget      = "slipway.target"
	labelDeployment  = "slipway.deployment"
	labelEnvironment = "slipway.environment"
	labelApp         = "slipway.app"
	labelTeam        = "slipway.team"
	labelPort        = "slipway.port"
)

// Kind is the kind of target for a Docker Engine. An empty host setting means defaultHost.
func Kind(defaultHost string) deploy.Kind {
	return deploy.Kind{
		Name:  KindName,
		Title: "Docker Engine",
		Help:  "Containers on a Docker Engine that this machine reaches, behind Slipway's own proxy.",
		Fields: []deploy.Field{
			{Name: "host", Label: "Engine address", Example: "unix:///var/run/docker.sock",
				Help: "Where the engine listens. Empty: the engine that this portal builds with."},
			{Name: "address", Label: "Publish on", Example: "127.0.0.1",
				Help: "The engine's IP address at which the proxy reaches containers. Empty: 127.0.0.1, so that nobody goes around the proxy."},
		},
		Open: func(c deploy.Config) (deploy.Target, error) { return open(c, defaultHost) },
	}
}

type target struct {
	id      string
	docker  *client.Client
	address string // the host's address that ports are published on
	probe   deploy.Prober

	mu     sync.Mutex
	agreed bool // the client and the engine have agreed on a version of the API
}

func open(c deploy.Config, defaultHost string) (deploy.Target, error) {
	t := &target{id: c.ID, address: c.Settings["address"]}
	if t.address == "" {
		t.address = "127.0.0.1"
	}
	if net.ParseIP(t.address) == nil {
		return nil, models.InvalidField("address", "%q is not an IP address.", t.address)
	}
	opts := []client.Opt{client.WithAPIVersionNegotiation()}
	host := c.Settings["host"]
	if host == "" {
		host = defaultHost
	}
	if host != "" {
		if err := checkHost(host); err != nil {
			return nil, err
		}
		opts = append(opts, client.WithHost(host))
	}
	var err error
	if t.docker, err = client.NewClientWithOpts(opts...); err != nil {
		return nil, models.InvalidField("host", "%q is not the address of a Docker Engine.", host)
	}
	return t, nil
}

func checkHost(host string) error {
	u, err := url.Parse(host)
	if err != nil || (u.Scheme != "unix" && u.Scheme != "tcp" && u.Scheme != "npipe") || u.User != nil {
		return models.InvalidField("host", "%q is not the address of a Docker Engine: use unix:///path or tcp://host:port.", host)
	}
	return nil
}

// Check reaches the engine.
func (t *target) Check(ctx context.Context) (deploy.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	v, err := t.docker.ServerVersion(ctx)
	if err != nil {
		return deploy.Info{}, t.unreachable(err)
	}
	return deploy.Info{Version: "Docker Engine " + v.Version, Platform: v.Os + "/" + v.Arch}, nil
}

// List returns the containers that carry the target's label.
func (t *target) List(ctx context.Context) ([]deploy.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return t.list(ctx, filters.Arg("label", labelTarget+"="+t.id))
}

// agree settles the version of the API. The client does so by itself at its first
// call, but its lists read the version before, without a lock: a list that runs
// beside the first call of another goroutine would be a race.
func (t *target) agree(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.agreed {
		return nil
	}
	answer, err := t.docker.Ping(ctx)
	if err != nil {
		return err
	}
	t.docker.NegotiateAPIVersionPing(answer)
	t.agreed = true
	return nil
}

func (t *target) list(ctx context.Context, labelled ...filters.KeyValuePair) ([]deploy.Instance, error) {
	if err := t.agree(ctx); err != nil {
		return nil, t.unreachable(err)
	}
	found, err := t.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(labelled...)})
	if err != nil {
		return nil, t.unreachable(err)
	}
	var out []deploy.Instance
	for _, c := range found {
		i, err := t.inspect(ctx, c.ID)
		if errdefs.IsNotFound(err) {
			continue // it went between the two calls
		}
		if err != nil {
			return nil, t.unreachable(err)
		}
		out = append(out, i)
	}
	return out, nil
}

// ofRelease returns the containers of the release.
func (t *target) ofRelease(ctx context.Context, release string) ([]deploy.Instance, error) {
	return t.list(ctx, filters.Arg("label", labelTarget+"="+t.id), filters.Arg("label", labelDeployment+"="+release))
}

// Close frees the connection.
func (t *target) Close() error { return t.docker.Close() }

// unreachable explains an error of a call that can only fail for the engine's sake.
func (t *target) unreachable(err error) error {
	if client.IsErrConnectionFailed(err) {
		return deploy.Failf(deploy.StageTarget, err,
			"The Docker Engine at %s does not answer. Start it, or ask an admin to check the target's address, and deploy again.", t.docker.DaemonHost())
	}
	return fmt.Errorf("docker: %w", err)
}
