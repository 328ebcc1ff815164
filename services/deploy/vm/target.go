package vm

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
)

// target is Docker over SSH on a machine that is looked for at the provider.
type target struct {
	cloud    provider
	options  Options
	settings settings
	config   deploy.Config // of the Docker targets on the machine, but for the host
	userData string

	making  chan struct{} // holds whoever makes the machine
	looking chan struct{} // holds whoever asks the provider where the machine is

	mu     sync.Mutex
	known  engine
	opened []deploy.Target // all that Close has to close
}

// engine is Docker on the machine as it was found last.
type engine struct {
	deploy.Target           // nil: there is no machine
	address       string    // of the machine
	looked        time.Time // when the provider was asked; zero: never
	doubted       bool      // it did not answer since
}

// newTarget opens a target whose machine is at the provider. Files are written to the machine before it starts anything.
func newTarget(c deploy.Config, o Options, s settings, at provider, files map[string]string) (*target, error) {
	host, err := readHostKey(c.Secrets["host_private_key"])
	if err != nil {
		return nil, err
	}
	userData, err := docker.CloudInit(docker.NewHost{User: s.user, PublicKey: c.Settings["public_key"], HostKey: &host, Files: files})
	if err != nil {
		return nil, err
	}
	inner := map[string]string{"host_key": host.Public}
	for _, f := range deploy.HostFields() {
		inner[f.Name] = c.Settings[f.Name]
	}
	t := &target{
		cloud: at, options: o, settings: s, userData: userData, making: make(chan struct{}, 1), looking: make(chan struct{}, 1),
		config: deploy.Config{ID: c.ID, Name: c.Name, Settings: inner, Secrets: map[string]string{"private_key": c.Secrets["private_key"]}},
	}
	checked, err := t.open("192.0.2.1") // what is wrong with the keys is said now
	if err != nil {
		return nil, err
	}
	return t, checked.Close()
}

// open returns Docker on the machine at the address; it connects when it is used.
func (t *target) open(address string) (deploy.Target, error) {
	c := t.config
	c.Settings = map[string]string{"host": t.settings.user + "@" + net.JoinHostPort(address, t.options.SSHPort)}
	for name, value := range t.config.Settings {
		c.Settings[name] = value
	}
	return docker.SSHKind().Open(c)
}

// reach makes Docker at the address what the target's calls go to.
func (t *target) reach(address string) (deploy.Target, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known.Target == nil || t.known.address != address {
		opened, err := t.open(address)
		if err != nil {
			return nil, err
		}
		t.opened = append(t.opened, opened)
		t.known.Target, t.known.address = opened, address
	}
	t.known.looked, t.known.doubted = time.Now(), false
	return t.known.Target, nil
}

// nowhere remembers that there is no machine.
func (t *target) nowhere() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known = engine{looked: time.Now()}
}

// recall returns what was found last, if it still holds: a machine until it does not answer, and nothing for a moment,
// so that a provider is not asked for each visitor.
func (t *target) recall() (engine, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	lately := time.Since(t.known.looked) < t.options.Every
	return t.known, lately || t.known.Target != nil && !t.known.doubted
}

// engine returns Docker on the target's machine, or errNoMachine.
func (t *target) engine(ctx context.Context) (deploy.Target, error) {
	if have, ok := t.recall(); ok {
		return have.orNone()
	}
	select {
	case t.looking <- struct{}{}:
		defer func() { <-t.looking }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	have, ok := t.recall()
	if ok { // somebody else has just looked
		return have.orNone()
	}
	m, err := t.cloud.Find(ctx)
	switch {
	case errors.Is(err, errNoMachine) || err == nil && m.Address == "":
		t.nowhere()
		return nil, errNoMachine
	case err != nil && have.Target != nil:
		return have.Target, nil // as in Check
	case err != nil:
		return nil, err
	}
	return t.reach(m.Address)
}

func (e engine) orNone() (deploy.Target, error) {
	if e.Target == nil {
		return nil, errNoMachine
	}
	return e.Target, nil
}

// on does something with Docker on the machine. A machine that does not answer is looked for anew the next time.
func (t *target) on(ctx context.Context, do func(deploy.Target) error) error {
	inner, err := t.engine(ctx)
	if errors.Is(err, errNoMachine) {
		return deploy.Failf(deploy.StageTarget, err, "The target has no machine at %s now. Deploy again: a rollout makes one.", t.cloud)
	}
	if err != nil {
		return err
	}
	err = do(inner)
	t.doubt(inner, err)
	return err
}

// ifAny is on for what has nothing to do where there is no machine.
func (t *target) ifAny(ctx context.Context, do func(deploy.Target) error) error {
	err := t.on(ctx, do)
	if errors.Is(err, errNoMachine) {
		return nil
	}
	return err
}

// doubt remembers that the machine did not answer.
func (t *target) doubt(inner deploy.Target, err error) {
	failure, dial := new(deploy.Failure), new(net.OpError)
	unreached := errors.As(err, &failure) && failure.Stage == deploy.StageTarget ||
		errors.As(err, &dial) && dial.Op == "dial" && !errors.Is(err, syscall.ECONNREFUSED)
	if !unreached {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known.Target == inner {
		t.known.doubted = true
	}
}

// Check asks the provider for the machine, and the machine for Docker.
func (t *target) Check(ctx context.Context) (deploy.Info, error) {
	m, err := t.cloud.Find(ctx)
	none := deploy.Info{Platform: "linux/" + t.settings.arch, HealthCheck: true}
	have, _ := t.recall()
	switch {
	case err != nil && unanswered(err) && have.Target != nil:
		return have.Check(ctx) // the machine may be well where its provider's API is not
	case errors.Is(err, errNoMachine):
		t.nowhere()
		none.Version = t.cloud.String() + " (no machine yet: the first rollout makes it)"
		return none, nil
	case err != nil:
		return deploy.Info{}, err
	case m.State == stateStopped:
		return deploy.Info{}, t.stopped(m)
	case m.Address == "":
		none.Version = fmt.Sprintf("%s (the machine %s is being made)", t.cloud, m.Name)
		return none, nil
	}
	inner, err := t.reach(m.Address)
	if err != nil {
		return deploy.Info{}, err
	}
	info, err := inner.Check(ctx)
	info.Version += " on " + m.Name
	return info, err
}

func (t *target) stopped(m machine) error {
	return deploy.Failf(deploy.StageTarget, nil, "The machine %s at %s is stopped. Start it there (%s), and deploy again.", m.Name, t.cloud, m.Link)
}

// Fetch makes the target's machine where there is none, and the image ready on it.
func (t *target) Fetch(ctx context.Context, image deploy.Image, from deploy.Source, say func(string)) error {
	if err := t.provision(ctx, say); err != nil {
		return err
	}
	return t.on(ctx, func(d deploy.Target) error { return d.Fetch(ctx, image, from, say) })
}

// Find asks the machine, and the registry itself while there is no machine.
func (t *target) Find(ctx context.Context, image deploy.Image, from deploy.Source) (found deploy.Found, err error) {
	err = t.on(ctx, func(d deploy.Target) error {
		found, err = d.(deploy.Finder).Find(ctx, image, from)
		return err
	})
	if !errors.Is(err, errNoMachine) {
		return found, err
	}
	repository, options, err := from.Open(ctx)
	if err == nil {
		_, err = remote.Head(repository.Digest(image.Digest), append(options, remote.WithContext(ctx))...)
	}
	if err != nil {
		return deploy.Found{}, docker.ExplainImage(ctx, image, err)
	}
	return deploy.Found{}, nil
}

// Start runs the release's containers.
func (t *target) Start(ctx context.Context, r deploy.Release) error {
	return t.on(ctx, func(d deploy.Target) error { return d.Start(ctx, r) })
}

// Run runs the release's command.
func (t *target) Run(ctx context.Context, r deploy.Release, say func(string)) error {
	return t.on(ctx, func(d deploy.Target) error { return d.Run(ctx, r, say) })
}

// Wait returns the release's containers once they are healthy.
func (t *target) Wait(ctx context.Context, r deploy.Release, say func(string)) (all []deploy.Instance, err error) {
	return all, t.on(ctx, func(d deploy.Target) error {
		all, err = d.Wait(ctx, r, say)
		return err
	})
}

// Route leaves visitors to Slipway's proxy.
func (t *target) Route(context.Context, deploy.Release) (string, error) { return "", nil }

// List returns the target's containers.
func (t *target) List(ctx context.Context) (all []deploy.Instance, err error) {
	return all, t.ifAny(ctx, func(d deploy.Target) error {
		all, err = d.List(ctx)
		return err
	})
}

// Logs yields what the release's containers wrote.
func (t *target) Logs(ctx context.Context, release string, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		inner, err := t.engine(ctx)
		switch {
		case errors.Is(err, errNoMachine):
			return
		case err != nil:
			yield(deploy.LogLine{}, err)
			return
		}
		for line, err := range inner.Logs(ctx, release, o) {
			t.doubt(inner, err)
			if !yield(line, err) {
				return
			}
		}
	}
}

// Usage returns what the target's containers take.
func (t *target) Usage(ctx context.Context) (all []deploy.Usage, err error) {
	return all, t.ifAny(ctx, func(d deploy.Target) error {
		all, err = d.Usage(ctx)
		return err
	})
}

// Dial connects to a container through the machine's SSH server.
func (t *target) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	return conn, t.on(ctx, func(d deploy.Target) error {
		conn, err = d.Dial(ctx, network, address)
		return err
	})
}

// Remove takes the release away.
func (t *target) Remove(ctx context.Context, release string, grace time.Duration) error {
	return t.ifAny(ctx, func(d deploy.Target) error { return d.Remove(ctx, release, grace) })
}

// Volumes lists what the machine keeps for apps.
func (t *target) Volumes(ctx context.Context) (all []deploy.Volume, err error) {
	return all, t.ifAny(ctx, func(d deploy.Target) error {
		all, err = d.(deploy.VolumeKeeper).Volumes(ctx)
		return err
	})
}

// RemoveVolume removes a volume with its data.
func (t *target) RemoveVolume(ctx context.Context, id string) error {
	return t.ifAny(ctx, func(d deploy.Target) error { return d.(deploy.VolumeKeeper).RemoveVolume(ctx, id) })
}

// Close frees the connections.
func (t *target) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, d := range t.opened {
		errs = append(errs, d.Close())
	}
	t.opened, t.known = nil, engine{}
	return errors.Join(errs...)
}
