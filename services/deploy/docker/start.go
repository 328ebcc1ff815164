package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/nat"
	"slipway.dev/services/deploy"
)

// startTime bounds the engine's work of making and starting a container.
const startTime = time.Minute

// Start makes the release's containers run. One that runs already is kept; one
// that was made and never started, or has ended, is replaced.
func (t *target) Start(ctx context.Context, r deploy.Release) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	found, err := t.ofRelease(ctx, r.ID)
	if err != nil {
		return err
	}
	kept := map[int]bool{}
	for _, i := range found {
		if !kept[i.Replica] && i.Replica <= r.Scale.Replicas && i.StartedAt != nil && i.ExitCode == nil {
			kept[i.Replica] = true
			continue
		}
		if err := t.remove(ctx, i.ID); err != nil {
			return t.unreachable(err)
		}
	}
	if len(kept) < r.Scale.Replicas {
		if err := t.prepare(ctx, r, len(kept) > 0); err != nil {
			return err
		}
	}
	for n := 1; n <= r.Scale.Replicas; n++ {
		if kept[n] {
			continue
		}
		if err := t.startOne(ctx, r, n); err != nil {
			return t.explainStart(r, err)
		}
	}
	return nil
}

// prepare makes what the release's containers need beside the image, and looks whether they may have what they ask of
// the host: this is the last moment at which that counts.
func (t *target) prepare(ctx context.Context, r deploy.Release, runs bool) error {
	if err := t.checkHostPaths(ctx, r); err != nil {
		return err
	}
	if r.HostNetwork && !runs && t.taken(ctx, r.Port) {
		return deploy.Failf(deploy.StageStart, nil, "Port %d of the target's host is taken: something listens there already. Choose another port in the app's settings, or stop what has it.", r.Port)
	}
	return t.makeVolumes(ctx, r)
}

// taken tells whether something listens on the port of the host.
func (t *target) taken(ctx context.Context, port int) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := t.Dial(ctx, "tcp", net.JoinHostPort(t.address, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func (t *target) startOne(ctx context.Context, r deploy.Release, replica int) error {
	image, err := t.imageID(ctx, r.Image)
	if err != nil {
		return err
	}
	_, err = t.createAndStart(ctx, r, image, replica)
	return err
}

// createTime bounds how long an engine may take to make a container or a network.
const createTime = time.Minute

// outlasting is for making what Remove has to find: what the engine was asked for it makes also where ctx ends meanwhile,
// so that it is waited for.
func outlasting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), createTime)
}

// startTries is how often a container is made anew whose network went before it started.
const startTries = 5

// createAndStart makes the container and starts it. What is made and has not started does not keep the environment's
// network: where the last container of another app takes it along just then, all is made again.
func (t *target) createAndStart(ctx context.Context, r deploy.Release, image string, replica int) (string, error) {
	for try := 1; ; try++ {
		id, err := t.create(ctx, r, image, replica)
		if err != nil {
			return "", err
		}
		err = t.docker.ContainerStart(ctx, id, container.StartOptions{})
		if err == nil || try == startTries || !networkGone(err) {
			return id, err
		}
		if err := t.remove(ctx, id); err != nil {
			return "", err
		}
	}
}

func networkGone(err error) bool {
	return strings.Contains(err.Error(), "network ") && strings.Contains(err.Error(), "not found")
}

// create makes the container. The environment's network can go between the
// calls, when the last container of another app leaves it: then all is tried again.
func (t *target) create(ctx context.Context, r deploy.Release, image string, replica int) (string, error) {
	for attempt := 1; ; attempt++ {
		id, err := t.tryCreate(ctx, r, image, replica, containerName(r, replica, attempt))
		if errdefs.IsConflict(err) {
			if id, again := t.madeAlready(ctx, r, replica); id != "" || again != nil {
				return id, again
			}
		}
		if attempt == 3 || !(errdefs.IsConflict(err) || errdefs.IsNotFound(err)) {
			return id, err
		}
	}
}

// madeAlready returns the container that another worker has made for the replica
// since this one looked, as one may that has taken the release over from it.
func (t *target) madeAlready(ctx context.Context, r deploy.Release, replica int) (string, error) {
	found, err := t.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", labelTarget+"="+t.id), filters.Arg("label", labelDeployment+"="+r.ID), filters.Arg("label", labelReplica+"="+strconv.Itoa(replica)))})
	if err != nil {
		return "", err
	}
	for _, c := range found {
		if c.State == container.StateCreated || c.State == container.StateRunning {
			return c.ID, nil
		}
	}
	return "", nil
}

func (t *target) tryCreate(ctx context.Context, r deploy.Release, image string, replica int, name string) (string, error) {
	ends, err := t.ends(ctx, r, replica)
	if err != nil {
		return "", err
	}
	volumes, err := t.volumesOf(ctx, r)
	if err != nil {
		return "", err
	}
	ctx, cancel := outlasting(ctx)
	defer cancel()
	made, err := t.docker.ContainerCreate(ctx, t.config(r, image, replica), t.hostConfig(r, replica, volumes), ends, nil, name)
	return made.ID, err
}

// ends are the networks that the container is in: the environment's own; none where it uses the host's.
func (t *target) ends(ctx context.Context, r deploy.Release, replica int) (*network.NetworkingConfig, error) {
	if r.HostNetwork {
		return &network.NetworkingConfig{}, nil
	}
	id, err := t.network(ctx, r)
	if err != nil {
		return nil, err
	}
	end := &network.EndpointSettings{}
	if replica != commandReplica {
		end.Aliases = []string{r.App}
	}
	return &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{id: end}}, nil
}

// containerName is the release's name, with the number of the replica after the
// first; a container of somebody else's may have it.
func containerName(r deploy.Release, replica, attempt int) string {
	name := "slipway-" + r.Name
	switch {
	case replica == commandReplica:
		name += ".command"
	case replica > 1:
		name += "." + strconv.Itoa(replica)
	}
	if attempt > 1 {
		name += "-" + strconv.Itoa(attempt)
	}
	return name
}

// config is what runs in the container. All that reaches it comes from the
// release: there is no way to name an entry point, a user or a device.
func (t *target) config(r deploy.Release, image string, replica int) *container.Config {
	c := &container.Config{
		Image: image,
		Labels: map[string]string{
			labelTarget: t.id, labelDeployment: r.ID, labelEnvironment: r.EnvironmentID,
			labelApp: r.App, labelAppID: r.AppID, labelTeam: r.Team, labelPort: strconv.Itoa(r.Port), labelReplica: strconv.Itoa(replica),
			labelHealth: string(r.Health),
		},
		ExposedPorts: nat.PortSet{port(r): {}},
	}
	if r.HostNetwork {
		c.ExposedPorts = nil
	}
	if replica == commandReplica {
		c.Labels[labelCommand], c.Cmd, c.ExposedPorts = "true", r.Command, nil
		c.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		c.Env = append(c.Env, name+"="+r.Env[name])
	}
	return c
}

func port(r deploy.Release) nat.Port { return nat.Port(strconv.Itoa(r.Port) + "/tcp") }

// hostConfig gives the container a port of the address for the proxy, the volumes and host paths of its release, and of
// CPU and memory no more than it may take; it gets no swap beyond. There is no way to a privileged container, a device or
// a capability. It restarts by itself only after it has been healthy once, so that a crash at the start is seen as what it is.
func (t *target) hostConfig(r deploy.Release, replica int, volumes map[string]string) *container.HostConfig {
	pids := int64(4096)
	h := &container.HostConfig{
		PortBindings:  nat.PortMap{port(r): {{HostIP: t.address, HostPort: "0"}}},
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
		SecurityOpt:   []string{"no-new-privileges"},
		Resources:     container.Resources{PidsLimit: &pids, NanoCPUs: r.Scale.CPU * 1e6, Memory: r.Scale.Memory, MemorySwap: r.Scale.Memory},
		Mounts:        mounts(r, volumes),
		LogConfig:     container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
	}
	if r.HostNetwork {
		h.NetworkMode = network.NetworkHost
	}
	if replica == commandReplica || r.HostNetwork {
		h.PortBindings = nil
	}
	return h
}

// network returns the environment's own network, made where it is missing. Two
// may be made at once, for the engine does not mind equal names: all take the first one.
func (t *target) network(ctx context.Context, r deploy.Release) (string, error) {
	id, err := t.findNetwork(ctx, r.EnvironmentID)
	if id != "" || err != nil {
		return id, err
	}
	making, cancel := outlasting(ctx)
	defer cancel()
	made, err := t.docker.NetworkCreate(making, networkName(r), network.CreateOptions{
		Driver: "bridge",
		Labels: map[string]string{labelTarget: t.id, labelEnvironment: r.EnvironmentID, labelTeam: r.Team},
	})
	if errdefs.IsConflict(err) {
		if id, again := t.findNetwork(ctx, r.EnvironmentID); id != "" || again != nil {
			return id, again
		}
	}
	return made.ID, err
}

func networkName(r deploy.Release) string {
	return fmt.Sprintf("slipway-%s-%s-%s", r.Team, r.Environment, short(r.EnvironmentID))
}

// short is the random end of an id.
func short(id string) string { return id[max(0, len(id)-8):] }

func (t *target) findNetwork(ctx context.Context, environment string) (string, error) {
	if err := t.agree(ctx); err != nil {
		return "", err
	}
	found, err := t.docker.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(
		filters.Arg("label", labelTarget+"="+t.id), filters.Arg("label", labelEnvironment+"="+environment))})
	if err != nil || len(found) == 0 {
		return "", err
	}
	first := slices.MinFunc(found, func(a, b network.Summary) int { return a.Created.Compare(b.Created) })
	return first.ID, nil
}

// explainStart says why the engine did not start the container.
func (t *target) explainStart(r deploy.Release, err error) error {
	if told := new(deploy.Failure); errors.As(err, &told) {
		return told
	}
	text := deploy.Plain(err.Error())
	switch {
	case client.IsErrConnectionFailed(err):
		return t.unreachable(err)
	case strings.Contains(text, "No such image"):
		return deploy.Failf(deploy.StageImage, err, "The image %s is not in the engine any more. Deploy again.", r.Image.Ref())
	case strings.Contains(text, "exec format error"):
		return deploy.Failf(deploy.StageStart, err, "The image is made for another kind of processor than the target has. Build it for the target's platform.")
	case strings.Contains(text, "executable file not found"), strings.Contains(text, "no such file or directory") && strings.Contains(text, "exec"):
		return deploy.Failf(deploy.StageStart, err, "The image's command can't be started: %s Check ENTRYPOINT and CMD in the Dockerfile.", sentence(command(text)))
	case strings.Contains(text, "unable to find user"):
		return deploy.Failf(deploy.StageStart, err, "The image runs as a user that it does not have: %s Make the user in the Dockerfile, or name it by its number in USER.", sentence(text))
	case strings.Contains(text, "read-only file system"):
		return deploy.Failf(deploy.StageStart, err, "The container could not be put together, because a part of it can't be written: %s Check the paths of its volumes.", sentence(text))
	case strings.Contains(text, "no space left on device"):
		return deploy.Failf(deploy.StageTarget, err, "The target's disk is full, so the container could not be made. Remove images and volumes that nobody uses there, and deploy again.")
	case strings.Contains(text, "No command specified"):
		return deploy.Failf(deploy.StageStart, err, "The image says nothing to run. Add a CMD or an ENTRYPOINT to its Dockerfile.")
	case strings.Contains(text, "port is already allocated"), strings.Contains(text, "address already in use"):
		return deploy.Failf(deploy.StageStart, err, "The port that the engine chose on %s is taken. Deploy again.", t.address)
	case strings.Contains(text, "address pool"):
		return deploy.Failf(deploy.StageTarget, err, "The Docker Engine has no free network for the environment. Remove networks that nobody uses, or give the engine more address pools.")
	case errdefs.IsConflict(err):
		return deploy.Failf(deploy.StageStart, err, "The Docker Engine has other containers under the names for this deployment. Remove them, and deploy again.")
	case errdefs.IsDeadlineExceeded(err):
		return deploy.Failf(deploy.StageTimeout, err, "The Docker Engine did not start the container within %s.", startTime)
	}
	return deploy.Failf(deploy.StageStart, err, "The Docker Engine could not start the container: %s", sentence(text))
}

// command is the part of the engine's words that is about the image's command.
func command(text string) string {
	if at := strings.Index(text, "exec: "); at >= 0 {
		text = text[at:]
	}
	return strings.TrimSuffix(text, ": unknown")
}

func sentence(text string) string {
	text = strings.TrimPrefix(text, "Error response from daemon: ")
	if len(text) > 400 {
		text = text[:400] + "…"
	}
	return strings.ToValidUTF8(strings.TrimRight(text, ". "), "") + "."
}
