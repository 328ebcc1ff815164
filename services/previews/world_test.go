package previews_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git"
	"slipway.dev/services/jobs"
	"slipway.dev/services/previews"
	"slipway.dev/services/registry"
	"slipway.dev/services/registry/registrytest"
	"slipway.dev/services/secrets"
	"slipway.dev/services/secrets/secretstest"
)

// clock is a time that the test turns.
type clock struct {
	mu sync.Mutex
	on time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.on)
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on += d
}

// world is previews on a database with one of everything, a registry, and the
// local engine. Nobody works unless the test starts a worker.
type world struct {
	*modelstest.World
	t        *testing.T
	db       *models.Database
	box      *secrets.Box
	registry *registry.Service
	deploy   *deploy.Service
	previews *previews.Service
	clock    *clock
	as       map[string]context.Context
	comments []int64           // the pull requests whose comments were to be changed
	number   int64             // of the last build
	images   map[string]string // digests, by version
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	w := &world{World: modelstest.Seed(t, db), t: t, db: db, clock: &clock{}, number: 1, images: map[string]string{}}
	w.box = secretstest.Box()
	w.registry = serveRegistry(t, db, w.box)
	w.deploy, w.previews = w.services()
	w.as = map[string]context.Context{"nobody": t.Context(), "system": models.WithPrincipal(t.Context(), models.System("test"))}
	for who, u := range map[string]*models.User{"admin": w.Admin, "maintainer": w.Maintainer, "developer": w.Developer, "viewer": w.Viewer, "stranger": w.Stranger} {
		w.as[who] = modelstest.As(t, db, u)
	}
	w.set(previews.SettingsInput{Enabled: true})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// services are deployments and previews as another process has them.
func (w *world) services() (*deploy.Service, *previews.Service) {
	w.t.Helper()
	d := &deploy.Service{DB: w.db, Box: w.box, Registry: w.registry, Kinds: []deploy.Kind{docker.Kind("")}, Git: &git.Service{Dir: w.t.TempDir()},
		Apps: deploy.Address{Scheme: "http", Domain: "localhost", Port: "8080"}, Start: 3 * time.Minute, Drain: time.Second}
	q, err := jobs.New(w.db, jobs.Config{Deployments: 2, Others: 1, DeadAfter: time.Minute})
	w.must(err)
	d.Queue = q
	jobs.Register(d.Queue, d.Roll)
	jobs.Register(d.Queue, d.RetireStopped)
	jobs.Register(d.Queue, d.RemoveReleases)
	p := &previews.Service{DB: w.db, Deploy: d, ExternalURL: "https://slipway.example.test", TeamLimit: 10, Now: w.clock.now,
		Comment: func(_ *gorm.DB, _ string, number int64) error { w.comments = append(w.comments, number); return nil }}
	w.t.Cleanup(func() { _ = d.Close() })
	return d, p
}

// works starts a worker, which tends previews too.
func (w *world) works() {
	w.t.Helper()
	dockertest.Sweep(w.t, "slipway.target", w.Target.ID)
	d, p := w.services()
	p.Comment = nil
	d.Queue.Every(time.Second, "reconcile", d.Reconcile)
	d.Queue.Every(300*time.Millisecond, "tend", p.Tend)
	w.must(d.Queue.Start(context.WithoutCancel(w.t.Context())))
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = d.Queue.Stop(ctx)
	})
}

func serveRegistry(t *testing.T, db *models.Database, box *secrets.Box) *registry.Service {
	t.Helper()
	r := &registry.Service{DB: db, Box: box,
		Authenticate: func(context.Context, string, string) (*models.Principal, error) {
			return nil, models.Errorf(models.Unauthorized, "no")
		},
		Reload: func(_ context.Context, p *models.Principal) (*models.Principal, error) { return p, nil }}
	registrytest.Serve(t, r)
	return r
}

// set says what previews of the app are: on the target, and whatever the test asks for.
func (w *world) set(in previews.SettingsInput) {
	w.t.Helper()
	in.TargetID = w.Target.ID
	_, err := w.previews.SetSettings(w.as["maintainer"], w.App.ID, in)
	w.must(err)
}

// pushed puts an image of the test server into the app's repository and returns its digest.
func (w *world) pushed(version string) (repository, digest string) {
	w.t.Helper()
	repository = w.registry.Host() + "/payments/checkout"
	if digest = w.images[version]; digest != "" {
		return repository, digest
	}
	img := dockertest.App(w.t, "VERSION="+version)
	d, err := img.Digest()
	w.must(err)
	user, password, err := w.registry.Credential(w.as["system"], repository, []string{"pull", "push"}, time.Minute)
	w.must(err)
	ref, err := name.NewTag(repository + ":" + version)
	w.must(err)
	w.must(remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: user, Password: password})))
	w.images[version] = d.String()
	engine := dockertest.Engine(w.t)
	w.t.Cleanup(func() {
		_, _ = engine.ImageRemove(context.Background(), repository+"@"+d.String(), image.RemoveOptions{Force: true})
	})
	return repository, d.String()
}

// built records a good build of the pull request, as the service of builds would: first queued, then with its image.
func (w *world) built(number int64, version string, change ...func(*models.Build)) *models.Build {
	w.t.Helper()
	w.number++
	now := w.db.NowFunc()
	b := &models.Build{ID: models.NewID(), TeamID: w.Team.ID, AppID: w.App.ID, Number: w.number, State: models.BuildQueued, Trigger: models.TriggerPullRequest,
		Ref: "refs/pull/7/head", RefKind: models.RefPullRequest, Commit: strings.Repeat(string(rune('0'+w.number%10)), 40), CreatedByName: "bob", DeliveryID: models.NewID(),
		PullRequest: models.PullRequest{Number: number, Title: "Better shop", URL: "https://forge.example.test/acme/shop/pull/7", Source: "better"}, QueuedAt: now, CreatedAt: now}
	for _, c := range change {
		c(b)
	}
	w.must(w.db.Create(b).Error)
	w.moves(b)
	if b.State == models.BuildQueued {
		b.ImageRepository, b.ImageDigest = w.pushed(version)
		b.State = models.BuildSucceeded
		w.moves(b)
	}
	return b
}

// moves stores the build's state as builds do.
func (w *world) moves(b *models.Build) {
	w.t.Helper()
	w.must(w.db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Model(b).Select("state", "image_repository", "image_digest").Updates(b).Error; err != nil {
			return err
		}
		return w.previews.BuildChanged(tx, b)
	}))
}

// closes says that the pull request was closed.
func (w *world) closes(number int64) (ended bool) {
	w.t.Helper()
	w.must(w.db.Transaction(func(tx *gorm.DB) (err error) {
		ended, err = w.previews.PullClosed(w.as["system"], tx, w.App.ID, number, models.NewID())
		return err
	}))
	return ended
}

func (w *world) tend() {
	w.t.Helper()
	for range 3 { // what ends needs more than one look
		w.must(w.previews.Tend(w.t.Context()))
	}
}

// of reads the preview of the pull request.
func (w *world) of(number int64) *models.Preview {
	w.t.Helper()
	var p models.Preview
	w.must(w.db.Preload("Deployment").Preload("Environment").Take(&p, "app_id = ? AND number = ?", w.App.ID, number).Error)
	return &p
}

// until waits for the preview to be as wanted.
func (w *world) until(number int64, what string, ok func(*models.Preview) bool) *models.Preview {
	w.t.Helper()
	for end := time.Now().Add(4 * time.Minute); ; <-time.After(20 * time.Millisecond) {
		p := w.of(number)
		if ok(p) {
			return p
		}
		if time.Now().After(end) {
			w.t.Fatalf("the preview never was %s: %+v; deployment %+v", what, p, p.Deployment)
		}
	}
}

func wantCode(t *testing.T, what string, err error, code models.Code) {
	t.Helper()
	if code == "" && err != nil || code != "" && !models.IsCode(err, code) {
		t.Errorf("%s: got %v, want %q", what, err, code)
	}
}
