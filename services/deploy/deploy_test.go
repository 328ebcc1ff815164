package deploy_test

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/copies"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git"
	"slipway.dev/services/jobs"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registries"
	"slipway.dev/services/registry"
	"slipway.dev/services/registry/registrytest"
	"slipway.dev/services/secrets"
	"slipway.dev/services/secrets/secretstest"
)

// stage is a portal without its pages: a database, a registry, workers, and the local engine.
type stage struct {
	*modelstest.World
	t       *testing.T
	db      *models.Database
	service *deploy.Service
	ctx     context.Context // acts for the developer
	images  []string
}

func newStage(t *testing.T, db *models.Database) *stage {
	t.Helper()
	box := secretstest.Box()
	s := &stage{World: modelstest.Seed(t, db), t: t, db: db}
	s.ctx = modelstest.As(t, db, s.Developer)
	dockertest.Sweep(t, "slipway.target", s.Target.ID)
	s.service = newService(db, box, serveRegistry(t, db, box))
	s.service.Git = &git.Service{Dir: t.TempDir()}
	s.service.Queue = newQueue(t, s.service, time.Minute)
	engine := dockertest.Engine(t)
	t.Cleanup(func() {
		s.service.Close()
		for _, ref := range s.images {
			engine.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true})
		}
	})
	return s
}

func newService(db *models.Database, box *secrets.Box, r *registry.Service) *deploy.Service {
	return &deploy.Service{
		DB: db, Box: box, Registry: r, Kinds: []deploy.Kind{docker.Kind(""), docker.SSHKind()}, Apps: deploy.Address{Scheme: "http", Domain: "localhost", Port: "8080"},
		Start: 2 * time.Minute, Drain: 2 * time.Second,
		Registries: &registries.Service{DB: db, Box: box, Embedded: r, Guard: &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}},
	}
}

// newQueue returns the queue of a worker that carries deployments, not started.
func newQueue(t testing.TB, s *deploy.Service, deadAfter time.Duration) *jobs.Queue {
	q, err := jobs.New(s.DB, jobs.Config{Deployments: 3, Others: 1, DeadAfter: deadAfter})
	if err != nil {
		t.Fatal(err)
	}
	s.Queue = q
	jobs.Register(q, s.Roll)
	jobs.Register(q, s.RetireStopped)
	jobs.Register(q, s.RemoveReleases)
	jobs.Register(q, s.Restore)
	jobs.Register(q, s.KeepDomains)
	jobs.Register(q, s.DestroyTarget)
	s.Copies = &copies.Service{DB: s.DB, Jobs: q, Registries: s.Registries, Pause: 50 * time.Millisecond,
		Standing: func(_ context.Context, p *models.Principal) (*models.Principal, error) { return p, nil }}
	s.Copies.Register(q)
	q.Every(200*time.Millisecond, "reconcile", s.Reconcile)
	return q
}

func serveRegistry(t *testing.T, db *models.Database, box *secrets.Box) *registry.Service {
	t.Helper()
	r := &registry.Service{DB: db, Box: box,
		Authenticate: func(context.Context, string, string) (*models.Principal, error) {
			return nil, models.Errorf(models.Unauthorized, "no")
		},
		Reload: func(ctx context.Context, p *models.Principal) (*models.Principal, error) {
			return p, addRoles(ctx, db, p)
		}}
	registrytest.Serve(t, r)
	return r
}

// addRoles gives a principal the roles that the database knows.
func addRoles(ctx context.Context, db *models.Database, p *models.Principal) error {
	var members []models.Member
	p.Teams = map[string]models.Role{}
	err := db.WithContext(ctx).Where("user_id = ?", p.UserID).Find(&members).Error
	for _, m := range members {
		p.Teams[m.TeamID] = m.Role
	}
	return err
}

// worker starts a worker beside those that run, and returns what stops it.
func (s *stage) worker() (stop func()) {
	s.t.Helper()
	service := newService(s.db, s.service.Box, s.service.Registry)
	service.Kinds, service.Start, service.Drain, service.Minute = s.service.Kinds, s.service.Start, s.service.Drain, s.service.Minute
	service.Certificate = s.service.Certificate
	q := newQueue(s.t, service, 10*time.Second)
	if err := q.Start(context.WithoutCancel(s.t.Context())); err != nil {
		s.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		q.Stop(ctx)
		service.Close()
	})
	s.t.Cleanup(stop)
	return stop
}

// built pushes an image of the test server and records the build that made it.
func (s *stage) built(number int64, env ...string) *models.Build {
	s.t.Helper()
	return s.builtOf(number, dockertest.App(s.t, env...))
}

// builtOf pushes the image and records the build that made it.
func (s *stage) builtOf(number int64, img v1.Image) *models.Build {
	s.t.Helper()
	digest, err := img.Digest()
	if err != nil {
		s.t.Fatal(err)
	}
	repository := s.service.Registry.Host() + "/payments/checkout"
	user, password, err := s.service.Registry.Credential(models.WithPrincipal(s.t.Context(), models.System("test")), repository, []string{"pull", "push"}, time.Minute)
	if err != nil {
		s.t.Fatal(err)
	}
	ref, err := name.NewTag(repository + ":" + strings.Repeat("v", int(number)))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: user, Password: password})); err != nil {
		s.t.Fatal(err)
	}
	s.images = append(s.images, repository+"@"+digest.String())
	now := s.db.NowFunc()
	b := &models.Build{ID: models.NewID(), TeamID: s.Team.ID, AppID: s.App.ID, Number: number, State: models.BuildSucceeded, Ref: "main", RefKind: "branch",
		Commit: strings.Repeat(string(rune('0'+number)), 40), ImageRepository: repository, ImageDigest: digest.String(), ImageTags: []string{ref.TagStr()}, QueuedAt: now, CreatedAt: now}
	if err := s.db.Create(b).Error; err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *stage) deploy(in deploy.Input) *models.Deployment {
	s.t.Helper()
	in.EnvironmentID, in.AppID = s.Environment.ID, s.App.ID
	d, err := s.service.Deploy(s.ctx, in)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *stage) get(id string) *models.Deployment {
	s.t.Helper()
	d, err := s.service.Get(s.ctx, id)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// until waits for the deployment to be as wanted.
func (s *stage) until(id, what string, ok func(*models.Deployment) bool) *models.Deployment {
	s.t.Helper()
	for end := time.Now().Add(4 * time.Minute); ; {
		d := s.get(id)
		if ok(d) {
			return d
		}
		if time.Now().After(end) {
			s.t.Fatalf("the deployment never was %s: %s %+v, phases %+v, instances %+v", what, d.State, d.Error, d.Phases, d.Instances)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (s *stage) ended(id string) *models.Deployment {
	s.t.Helper()
	return s.until(id, "ended", func(d *models.Deployment) bool { return d.State.Ended() })
}

func (s *stage) succeeded(id string) *models.Deployment {
	s.t.Helper()
	d := s.ended(id)
	if d.State != models.DeploymentSucceeded || !d.Active {
		s.t.Fatalf("the deployment is %s: %+v; phases %+v", d.State, d.Error, d.Phases)
	}
	return d
}

// answer asks what the route of the place leads to.
func (s *stage) answer(path string) string {
	s.t.Helper()
	var r models.Route
	if err := s.db.First(&r, "app_id = ?", s.App.ID).Error; err != nil {
		s.t.Fatal(err)
	}
	if len(r.Addresses) == 0 {
		return ""
	}
	res, err := http.Get("http://" + r.Addresses[0] + path)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}

// untilLive waits until the target has so many containers: those of a
// deployment that did not come to serve go after its end.
func (s *stage) untilLive(want int) {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); s.live() != want; <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%d containers run, not %d", s.live(), want)
		}
	}
}

// live counts the containers of the target.
func (s *stage) live() int {
	s.t.Helper()
	target, err := docker.Kind("").Open(deploy.Config{ID: s.Target.ID})
	if err != nil {
		s.t.Fatal(err)
	}
	defer target.Close()
	all, err := target.List(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return len(all)
}
