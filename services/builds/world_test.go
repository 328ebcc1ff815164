package builds_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/blobs"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildtest"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
)

// registryPassword and gitToken are canaries: neither may appear anywhere.
const (
	registryPassword = "canary-registry-password"
	gitToken         = "canary-git-token"
)

// world is a build service with a real git server, a registry and a builder that a test directs.
type world struct {
	*modelstest.World
	db       *models.Database
	builds   *builds.Service
	repo     *gittest.Repo
	registry string
	dir      string

	mu     sync.Mutex
	images *registry.Service // nil: a registry that asks for no credential
	script func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error)
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	w := &world{World: modelstest.Seed(t, db), db: db, dir: t.TempDir(), registry: buildtest.Registry(t)}
	if err := db.Delete(&models.Build{}, "id = ?", w.World.Build.ID).Error; err != nil {
		t.Fatal(err)
	}
	w.repo = gittest.New(t).Repository(t, "shop.git", gittest.Files{"Dockerfile": "FROM scratch\n", "main.go": "package main\n"})
	if err := db.Model(w.Repository).Update("clone_url", w.repo.URL).Error; err != nil {
		t.Fatal(err)
	}
	w.builds = w.service(t, w.queue(t))
	return w
}

// queue returns a queue that was not started.
func (w *world) queue(t *testing.T) *jobs.Queue {
	t.Helper()
	return w.queueLabelled(t)
}

// queueLabelled returns the queue of a worker with labels.
func (w *world) queueLabelled(t *testing.T, labels ...string) *jobs.Queue {
	t.Helper()
	q, err := jobs.New(w.db, jobs.Config{Builds: 2, Labels: labels})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// service is a build service as one process has it.
func (w *world) service(t *testing.T, q *jobs.Queue) *builds.Service {
	t.Helper()
	bucket, err := blobs.Open(t.Context(), filepath.Join(w.dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	guard := &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	proxy := &outbound.Proxy{Guard: guard}
	if err := proxy.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	box, err := secrets.Load(filepath.Join(w.dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	s := assemble(w.db, q, w.dir)
	s.CheckTags = w.checkTags
	s.Box, s.Registry, s.Builders = box, w, map[models.BuilderKind]builds.Builder{models.BuilderBuildKit: w}
	s.Logs.Blobs, s.Git.Guard, s.Git.Proxy = bucket, guard, proxy
	s.Register(q)
	return s
}

// assemble puts a build service on the folder; it lacks what the caller has to open or to play.
func assemble(db *models.Database, q *jobs.Queue, dir string) *builds.Service {
	return &builds.Service{
		DB: db, Jobs: q, Logs: &logs.Service{DB: db}, Dir: filepath.Join(dir, "builds"), Git: &git.Service{Dir: filepath.Join(dir, "git")},
		Remote: func(_ context.Context, r *models.Repository) (git.Remote, error) {
			return git.Remote{URL: r.CloneURL, Token: gitToken}, nil
		},
	}
}

// start lets the process take jobs until the test ends.
func start(t *testing.T, q *jobs.Queue) {
	t.Helper()
	if err := q.Start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, q) })
}

func stop(t *testing.T, q *jobs.Queue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := q.Stop(ctx); err != nil && !strings.Contains(err.Error(), "not started") {
		t.Error(err)
	}
}

// Host and Credential make the world the builds' registry.
func (w *world) Host() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.registry
}

func (w *world) Credential(ctx context.Context, repository string, actions []string, ttl time.Duration) (string, string, error) {
	w.mu.Lock()
	images := w.images
	w.mu.Unlock()
	if images != nil {
		return images.Credential(ctx, repository, actions, ttl)
	}
	return "slipway", registryPassword, nil
}

func (w *world) checkTags(ctx context.Context, repository string, tags []string) error {
	w.mu.Lock()
	images := w.images
	w.mu.Unlock()
	if images == nil {
		return nil
	}
	return images.CheckTags(ctx, repository, tags)
}

// moveRegistry has builds push to the host from now on; images is the registry there where that gives credentials.
func (w *world) moveRegistry(host string, images *registry.Service) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.registry, w.images = host, images
}

func (w *world) Capabilities(context.Context) (builds.Capabilities, error) {
	return builds.Capabilities{Engine: "scripted"}, nil
}

// Build does what the test's script says, or pushes some image.
func (w *world) Build(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
	w.mu.Lock()
	script := w.script
	w.mu.Unlock()
	if script == nil {
		script = pushSomething
	}
	return script(ctx, r, emit)
}

func (w *world) direct(script func(context.Context, builds.Request, func(builds.Event)) (*builds.Result, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.script = script
}

func pushSomething(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
	run(emit, "RUN true", models.StepSucceeded, "some output\n")
	img, err := random.Image(1000, 2)
	if err != nil {
		return nil, err
	}
	repo, options, err := r.Image.Open(ctx)
	if err != nil {
		return nil, err
	}
	if err := remote.Write(repo.Tag(r.Image.Tag), img, options...); err != nil {
		return nil, r.Image.Explain(err)
	}
	digest, err := img.Digest()
	return &builds.Result{Digest: digest.String()}, err
}

// run emits a whole step.
func run(emit func(builds.Event), name string, end models.StepState, output string) {
	emit(builds.Event{At: time.Now(), Step: name, State: models.StepRunning, Name: name})
	emit(builds.Event{At: time.Now(), Step: name, Stream: logs.Stdout, Output: []byte(output)})
	emit(builds.Event{At: time.Now(), Step: name, State: end, Name: name})
}

// holdUntil is a script that says that it began and pushes some image once over is closed.
func holdUntil(begun chan<- builds.Request, over <-chan struct{}) func(context.Context, builds.Request, func(builds.Event)) (*builds.Result, error) {
	return func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
		select {
		case begun <- r:
		default:
		}
		select {
		case <-over:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		return pushSomething(ctx, r, emit)
	}
}

// hang is a script that says that it began and then waits for its context.
func hang(begun chan<- builds.Request) func(context.Context, builds.Request, func(builds.Event)) (*builds.Result, error) {
	return func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
		emit(builds.Event{At: time.Now(), Step: "hang", State: models.StepRunning, Name: "RUN sleep forever"})
		emit(builds.Event{At: time.Now(), Step: "hang", Stream: logs.Stdout, Output: []byte("waiting\n")})
		begun <- r
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
}

func (w *world) as(t *testing.T, u *models.User) context.Context { return modelstest.As(t, w.db, u) }

func (w *world) queueBuild(t *testing.T, ref string) *models.Build {
	t.Helper()
	b, err := w.builds.Queue(w.as(t, w.Developer), builds.QueueInput{AppID: w.App.ID, Ref: ref})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wait waits until the build is in the state.
func (w *world) wait(t *testing.T, id string, state models.BuildState) *models.Build {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		b, err := w.builds.Get(w.as(t, w.Viewer), id)
		if err != nil {
			t.Fatal(err)
		}
		if b.State == state {
			return b
		}
		if b.State.Ended() || time.Now().After(deadline) {
			t.Fatalf("the build is %s, not %s: %+v\n%s", b.State, state, b.Error, w.log(t, id))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// ended waits until the log of the build has ended too, and returns its text.
func (w *world) ended(t *testing.T, id string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(w.as(t, w.Admin), 3*time.Minute)
	defer cancel()
	lines, err := w.builds.FollowLog(ctx, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for b := range lines {
		for _, l := range b.Lines {
			fmt.Fprintln(&text, l.Text)
		}
	}
	if ctx.Err() != nil {
		t.Fatal("the log never ended")
	}
	return text.String()
}

func (w *world) log(t *testing.T, id string) string {
	t.Helper()
	var text strings.Builder
	if err := w.builds.WriteLog(w.as(t, w.Viewer), id, "", &text); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return text.String()
}

func wantCode(t *testing.T, err error, code models.Code) {
	t.Helper()
	if !models.IsCode(err, code) {
		t.Errorf("got %v, not an error of the code %s", err, code)
	}
}

// worldBox is a box with a key of its own.
func worldBox(t *testing.T) *secrets.Box {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return box
}
