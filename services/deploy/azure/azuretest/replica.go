package azuretest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"slipway.dev/services/deploy"
)

// replica is one container of the Docker Engine, which is started again when it ends.
type replica struct {
	name      string
	revision  string
	made      time.Time
	container *aca.Container
	env       []string
	login     string // for the Docker Engine; empty: none
	happen    func(kind, reason, text string)

	id       string // in the Docker Engine
	ip       string
	started  bool
	ready    bool
	restarts int32
	state    aca.ContainerAppContainerRunningState
	details  string
}

// loginOf is what the image is pulled with.
func loginOf(ref string, registries []*aca.RegistryCredentials, secrets map[string]string) string {
	host, _, _ := strings.Cut(ref, "/")
	for _, r := range registries {
		if value(r.Server) == host && r.PasswordSecretRef != nil {
			text, _ := json.Marshal(registry.AuthConfig{Username: value(r.Username), Password: secrets[*r.PasswordSecretRef], ServerAddress: host})
			return base64.URLEncoding.EncodeToString(text)
		}
	}
	return ""
}

// pull pulls the image, again and again until it is there.
func (s *Server) pull(ctx context.Context, r *replica) bool {
	ref := value(r.container.Image)
	for {
		r.happen("Normal", "PullingImage", fmt.Sprintf("Pulling image '%s'", ref))
		err := s.pullOnce(ctx, ref, r.login)
		if err == nil {
			r.happen("Normal", "PulledImage", fmt.Sprintf("Successfully pulled image '%s' in 1.2s", ref))
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		r.happen("Warning", "ImagePullFailure", fmt.Sprintf("Failed to pull image '%s': %v", ref, err))
		s.set(func() { r.details = "Container is waiting with reason: ImagePullBackOff" })
		if !s.wait(ctx, 10) {
			return false
		}
	}
}

func (s *Server) pullOnce(ctx context.Context, ref, login string) error {
	s.set(func() { s.images[ref] = true })
	progress, err := s.docker.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: login})
	if err != nil {
		return err
	}
	defer progress.Close()
	for d := json.NewDecoder(progress); ; {
		var line struct{ Error string }
		if err := d.Decode(&line); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if line.Error != "" {
			return fmt.Errorf("%s", line.Error)
		}
	}
}

// set changes something that calls read.
func (s *Server) set(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// create makes the replica's container.
func (s *Server) create(ctx context.Context, r *replica) error {
	c := r.container
	half, _ := strconv.ParseFloat(strings.TrimSuffix(*c.Resources.Memory, "Gi"), 64)
	config := &container.Config{Image: *c.Image, Env: r.env, Labels: map[string]string{label: s.id}}
	for _, arg := range c.Args {
		config.Cmd = append(config.Cmd, *arg)
	}
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute) // one that is made has to be known, so that it goes
	defer cancel()
	made, err := s.docker.ContainerCreate(whole, config, &container.HostConfig{Resources: container.Resources{Memory: int64(half * (1 << 30)), NanoCPUs: int64(*c.Resources.CPU * 1e9)}}, nil, nil, "")
	if err != nil {
		return err
	}
	s.set(func() { r.id = made.ID })
	r.happen("Normal", "ContainerCreated", fmt.Sprintf("Created container '%s'", *c.Name))
	return nil
}

// run runs the replica until ctx ends.
func (s *Server) run(ctx context.Context, r *replica, port int32) {
	if !s.pull(ctx, r) {
		return
	}
	if err := s.create(ctx, r); err != nil {
		if ctx.Err() == nil {
			r.happen("Warning", "ContainerCreateFailure", fmt.Sprintf("Container '%s' was terminated with exit code '' and reason 'ContainerCreateFailure'. %v", *r.container.Name, err))
		}
		return
	}
	defer func() {
		end, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		grace := 5
		_ = s.docker.ContainerStop(end, r.id, container.StopOptions{Timeout: &grace})
		s.keepRows(end, r)
		_ = s.docker.ContainerRemove(end, r.id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	}()
	for ctx.Err() == nil {
		if err := s.docker.ContainerStart(ctx, r.id, container.StartOptions{}); err != nil {
			return
		}
		r.happen("Normal", "ContainerStarted", fmt.Sprintf("Started container '%s'", *r.container.Name))
		if !s.watch(ctx, r, port) {
			return
		}
		s.set(func() { r.restarts++ })
		if !s.wait(ctx, 10) {
			return
		}
	}
}

// watch probes the replica's container until it ends, and tells that it did.
func (s *Server) watch(ctx context.Context, r *replica, port int32) (ended bool) {
	startup, readiness := probes(r.container, port)
	for s.wait(ctx, 1) {
		state, err := s.docker.ContainerInspect(ctx, r.id)
		if err != nil {
			return false
		}
		if !state.State.Running {
			reason := "ProcessExited"
			if state.State.OOMKilled || state.State.ExitCode == 137 { // the engine may learn the reason later
				reason = "OOMKilled"
			}
			s.set(func() {
				r.ready, r.started, r.state, r.details = false, false, aca.ContainerAppContainerRunningStateWaiting, "Container is waiting with reason: CrashLoopBackOff"
			})
			r.happen("Warning", "ContainerTerminated", fmt.Sprintf("Container '%s' was terminated with exit code '%d' and reason '%s'", *r.container.Name, state.State.ExitCode, reason))
			return true
		}
		s.set(func() {
			r.ip, r.state, r.details = ipOf(state.NetworkSettings), aca.ContainerAppContainerRunningStateRunning, ""
		})
		if !r.started {
			if ok := s.probe(ctx, r, "StartUp", startup); ok {
				s.set(func() { r.started = true })
			}
		}
		if r.started {
			ok := s.probe(ctx, r, "Readiness", readiness)
			s.set(func() { r.ready = ok })
		}
	}
	return false
}

// ipOf is the address at which the container answers on this machine.
func ipOf(networks *container.NetworkSettings) string {
	for _, n := range networks.Networks {
		return n.IPAddress
	}
	return ""
}

// probes are the container's, and Azure's own where it has none of a type
// (https://learn.microsoft.com/azure/container-apps/health-probes#default-configuration).
func probes(c *aca.Container, port int32) (startup, readiness *aca.ContainerAppProbe) {
	own := &aca.ContainerAppProbe{TCPSocket: &aca.ContainerAppProbeTCPSocket{Port: &port}}
	startup, readiness = own, own
	for _, p := range c.Probes {
		switch value(p.Type) {
		case aca.TypeStartup:
			startup = p
		case aca.TypeReadiness:
			readiness = p
		}
	}
	return startup, readiness
}

// probe asks the container once.
func (s *Server) probe(ctx context.Context, r *replica, kind string, p *aca.ContainerAppProbe) bool {
	var answered string
	var ok bool
	if p.HTTPGet != nil {
		answered, ok = deploy.Prober{}.HTTP(ctx, net.JoinHostPort(r.ip, strconv.Itoa(int(*p.HTTPGet.Port))), value(p.HTTPGet.Path))
	} else {
		answered, ok = deploy.Prober{}.TCP(ctx, net.JoinHostPort(r.ip, strconv.Itoa(int(*p.TCPSocket.Port))))
	}
	if ok || ctx.Err() != nil {
		return ok
	}
	text := "Probe of " + kind + " failed with status code: 1"
	if code, isCode := strings.CutPrefix(answered, "HTTP "); isCode {
		text = "Probe of " + kind + " failed with status code: " + code
	} else if strings.HasPrefix(answered, "no answer") {
		text = "Probe of " + kind + " failed with timeout in 3 seconds."
	} else if kind == "Readiness" {
		text = "Readiness probe failed: " + answered
	}
	r.happen("Warning", "ProbeFailed", text)
	return false
}
