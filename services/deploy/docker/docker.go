// Package docker runs deployments as containers of a Docker Engine. A new
// version runs beside the old one on a port of its own; Slipway's proxy moves
// the requests.
package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
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

// How targets of the kinds are stored.
const (
	KindName    = "docker"
	SSHKindName = "docker-ssh"
)

// The labels of all that this package makes.
const (
	labelTarget      = "slipway.target"
	labelDeployment  = "slipway.deployment"
	labelEnvironment = "slipway.environment"
	labelApp         = "slipway.app"
	labelTeam        = "slipway.team"
	labelPort        = "slipway.port"
	labelReplica     = "slipway.replica" // which of the deployment's containers, from 1
	labelCommand     = "slipway.command" // it runs the command before the switch and serves nobody
	labelAppID       = "slipway.app-id"
	labelHealth      = "slipway.health" // how the app's health is asked for
	labelVolume      = "slipway.volume" // its name in the app's settings
)

// Kind is the kind of target for a Docker Engine. An empty host setting means defaultHost.
func Kind(defaultHost string) deploy.Kind {
	return deploy.Kind{
		Name:    KindName,
		Title:   "Docker Engine",
		Help:    "Containers on a Docker Engine that this machine reaches, behind Slipway's own proxy.",
		Volumes: true, Restarts: true, Splits: true,
		Fields: append([]deploy.Field{
			{Name: "host", Label: "Engine address", Example: "unix:///var/run/docker.sock",
				Help: "Where the engine listens. Empty: the engine that this portal builds with."},
			{Name: "address", Label: "Publish on", Example: "127.0.0.1",
				Help: "The engine's IP address at which the proxy reaches containers. Empty: 127.0.0.1, so that nobody goes around the proxy."},
		}, deploy.HostFields()...),
		Open: func(c deploy.Config) (deploy.Target, error) { return open(c, defaultHost) },
	}
}

// SSHKind is the kind of target for a Docker Engine on another machine.
func SSHKind() deploy.Kind {
	return deploy.Kind{
		Name:    SSHKindName,
		Title:   "Docker over SSH",
		Help:    "Containers on any machine that has Docker and an SSH server, such as a virtual machine of a cloud. Nothing else is installed there, and only its SSH port has to be open to this portal.",
		Volumes: true, Restarts: true, Splits: true,
		Fields: append([]deploy.Field{
			{Name: "host", Label: "Machine", Example: "slipway@203.0.113.7", Required: true,
				Help: "user@host or user@host:port. The user is in the machine's group docker."},
			{Name: "private_key", Label: "Private key", Secret: true, Lines: 6,
				Help: "In OpenSSH's format, without a passphrase. Empty: Slipway makes a key pair for this target."},
			{Name: "public_key", Label: "Public key", Made: true,
				Help: "Append this line to ~/.ssh/authorized_keys of the user."},
			{Name: "host_key", Label: "Host key", Example: "SHA256:…",
				Help: "The machine's identity, as ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints it there. Empty: Slipway says which key it was shown, and signs in only once it stands here."},
			{Name: "socket", Label: "Docker socket", Example: defaultSocket,
				Help: "Where the engine listens on the machine."},
			{Name: "address", Label: "Publish on", Example: "127.0.0.1",
				Help: "The machine's IP address that containers are published on. The proxy goes through SSH to it. Empty: 127.0.0.1, so that nobody goes around the proxy."},
		}, deploy.HostFields()...),
		Prepare:   PrepareKey,
		CloudInit: cloudInitOf,
		Open:      openSSH,
	}
}

type target struct {
	id      string
	docker  *client.Client
	where   string   // of the engine, for people
	machine *machine // of the engine; nil where it is reached without SSH
	address string   // the host's address that ports are published on
	may     deploy.Permissions
	probe   deploy.Prober

	mu      sync.Mutex
	agreed  bool              // the client and the engine have agreed on a version of the API
	samples map[string]sample // of the containers that Usage was asked for last
}

func open(c deploy.Config, defaultHost string) (deploy.Target, error) {
	address, err := publishAddress(c.Settings)
	if err != nil {
		return nil, err
	}
	may, err := deploy.ParsePermissions(c.Settings)
	if err != nil {
		return nil, err
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
	engine, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, models.InvalidField("host", "%q is not the address of a Docker Engine.", host)
	}
	return &target{id: c.ID, docker: engine, where: engine.DaemonHost(), address: address, may: may}, nil
}

func openSSH(c deploy.Config) (deploy.Target, error) {
	address, err := publishAddress(c.Settings)
	if err != nil {
		return nil, err
	}
	may, err := deploy.ParsePermissions(c.Settings)
	if err != nil {
		return nil, err
	}
	socket, err := checkSocket(c.Settings["socket"])
	if err != nil {
		return nil, err
	}
	m, err := newMachine(c.Settings, c.Secrets)
	if err != nil {
		return nil, err
	}
	way := &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return m.Dial(ctx, "unix", socket) },
		IdleConnTimeout: 30 * time.Second,
	}
	engine, err := client.NewClientWithOpts(client.WithHost("tcp://docker"), client.WithHTTPClient(&http.Client{Transport: way}), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("docker over ssh: %w", err)
	}
	return &target{id: c.ID, docker: engine, where: m.address, machine: m, address: address, may: may, probe: deploy.Prober{Dial: m.Dial}}, nil
}

func publishAddress(settings map[string]string) (string, error) {
	address := settings["address"]
	if address == "" {
		return "127.0.0.1", nil
	}
	if net.ParseIP(address) == nil {
		return "", models.InvalidField("address", "%q is not an IP address.", address)
	}
	return address, nil
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
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	v, err := t.docker.ServerVersion(ctx)
	if err != nil {
		return deploy.Info{}, t.unreachable(err)
	}
	has, err := t.docker.Info(ctx)
	if err != nil {
		return deploy.Info{}, t.unreachable(err)
	}
	return deploy.Info{
		Version: "Docker Engine " + v.Version, Platform: v.Os + "/" + v.Arch,
		CPU: int64(has.NCPU) * 1000, Memory: has.MemTotal, Disk: t.freeDisk(ctx, has),
		HealthCheck: true,
	}, nil
}

// listTime bounds one look at all containers. An engine that starts many of them at once answers for none meanwhile.
const listTime = 30 * time.Second

// List returns the containers that carry the target's label.
func (t *target) List(ctx context.Context) ([]deploy.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
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
		if c.Labels[labelCommand] != "" {
			continue
		}
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

// Route leaves visitors to Slipway's proxy.
func (t *target) Route(context.Context, deploy.Release) (string, error) { return "", nil }

// Dial connects to an address at which an instance answers.
func (t *target) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if t.machine != nil {
		return t.machine.Dial(ctx, network, address)
	}
	d := net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}
	return d.DialContext(ctx, network, address)
}

// Close frees the connection.
func (t *target) Close() error {
	err := t.docker.Close()
	if t.machine != nil {
		err = errors.Join(err, t.machine.Close())
	}
	return err
}

// unreachable explains an error of a call that can only fail for the engine's sake.
func (t *target) unreachable(err error) error {
	if fault := new(sshFault); errors.As(err, &fault) {
		return deploy.Failf(deploy.StageTarget, err, "%s", fault.message)
	}
	if client.IsErrConnectionFailed(err) {
		return deploy.Failf(deploy.StageTarget, err,
			"The Docker Engine at %s does not answer. Start it, or ask an admin to check the target's address, and deploy again.", t.where)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return deploy.Failf(deploy.StageTarget, err, "The Docker Engine at %s takes too long to answer. Look whether its machine is overloaded, and deploy again.", t.where)
	}
	return fmt.Errorf("docker: %w", err)
}
