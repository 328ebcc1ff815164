package observe_test

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/blobs"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
	"slipway.dev/services/observe"
	"slipway.dev/services/secrets/secretstest"
)

// stage is a portal without its pages, with what runs on the local engine.
type stage struct {
	*modelstest.World
	t      *testing.T
	db     *models.Database
	blobs  string
	host   string // of the engine; empty: the local one
	number int64
	ctx    context.Context // acts for a viewer
	dead   time.Duration   // after it a silent worker counts as dead
}

func newStage(t *testing.T, db *models.Database) *stage {
	t.Helper()
	s := &stage{World: modelstest.Seed(t, db), t: t, db: db, blobs: filepath.Join(t.TempDir(), "blobs"), dead: time.Minute}
	s.ctx = modelstest.As(t, db, s.Viewer)
	dockertest.Sweep(t, "slipway.target", s.Target.ID)
	return s
}

func (s *stage) place() observe.Place {
	return observe.Place{EnvironmentID: s.Environment.ID, AppID: s.App.ID}
}

// newService returns the services of a process of its own, whose worker is registered but takes no jobs.
func newService(ctx context.Context, db *models.Database, folder, host string, deadAfter time.Duration) (*observe.Service, error) {
	bucket, err := blobs.Open(ctx, folder)
	if err != nil {
		return nil, err
	}
	q, err := jobs.New(db, jobs.Config{DeadAfter: deadAfter})
	if err != nil {
		return nil, err
	}
	s := &observe.Service{DB: db, Queue: q, Logs: &logs.Service{DB: db, Blobs: bucket},
		Deploy: &deploy.Service{DB: db, Queue: q, Box: secretstest.Box(), Kinds: []deploy.Kind{docker.Kind(host)}}}
	s.Deploy.Heard = s.Heard
	jobs.Register(q, s.Deploy.RetireStopped)
	return s, nil
}

func (s *stage) service() *observe.Service {
	s.t.Helper()
	out, err := newService(s.t.Context(), s.db, s.blobs, s.host, s.dead)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { out.Deploy.Close() })
	return out
}

// worker listens to what runs until the test or the returned function ends it.
func (s *stage) worker(change ...func(*observe.Service)) (*observe.Service, func()) {
	s.t.Helper()
	out := s.service()
	for _, c := range change {
		c(out)
	}
	out.Queue.Every(time.Second, "keeping logs", out.KeepLogs)
	if err := out.Queue.Start(context.WithoutCancel(s.t.Context())); err != nil {
		s.t.Fatal(err)
	}
	ended := false
	stop := func() {
		if ended {
			return
		}
		ended = true
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := out.Queue.Stop(ctx); err != nil {
			s.t.Error(err)
		}
	}
	s.t.Cleanup(stop)
	return out, stop
}

// workerVariable has the test program be a worker, which a test can kill.
const workerVariable = "SLIPWAY_TEST_OBSERVE_WORKER"

func TestMain(m *testing.M) {
	if where := os.Getenv(workerVariable); where != "" {
		database, folder, _ := strings.Cut(where, " ")
		log.Fatal(beWorker(database, folder))
	}
	os.Exit(m.Run())
}

func beWorker(database, folder string) error {
	ctx := context.Background()
	db, err := models.Open(ctx, database)
	if err != nil {
		return err
	}
	s, err := newService(ctx, db, folder, "", 3*time.Second)
	if err != nil {
		return err
	}
	s.Queue.Every(time.Second, "keeping logs", s.KeepLogs)
	if err := s.Queue.Start(ctx); err != nil {
		return err
	}
	select {} // until it is killed
}

func (s *stage) killable(database string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerVariable+"="+database+" "+s.blobs)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

// runs starts a deployment of so many instances that run the shell script, with
// a secret in $SECRET, and writes it down as the one that serves.
func (s *stage) runs(script string, replicas int, secret string) *models.Deployment {
	s.t.Helper()
	image := s.pushed(script)
	s.number++
	now := s.db.NowFunc()
	d := &models.Deployment{ID: models.NewID(), TeamID: s.Team.ID, AppID: s.App.ID, EnvironmentID: s.Environment.ID, Number: s.number, State: models.DeploymentSucceeded, Active: true,
		ImageRepository: image.Repository, ImageDigest: image.Digest, Action: models.ActionDeploy, CreatedAt: now, StartedAt: &now, FinishedAt: &now,
		Config: models.DeploymentConfig{Port: 8080, Health: models.HealthTCP, Scale: models.Scale{Replicas: replicas, CPU: 500, Memory: 64 << 20}}}
	sealed, _ := json.Marshal(map[string]string{"SECRET": secret})
	d.SealedSecrets = secretstest.Box().Seal("deployments/"+d.ID, sealed)
	r := deploy.Release{ID: d.ID, Name: "observed-" + d.ID[24:], Team: s.Team.Slug, App: s.App.Name, Environment: s.Environment.Name, EnvironmentID: s.Environment.ID,
		Image: image, Env: map[string]string{"SECRET": secret}, Port: 8080, Health: models.HealthTCP, Scale: d.Config.Scale}
	target := s.target()
	if err := target.Fetch(s.t.Context(), image, anyone(image), func(string) {}); err != nil {
		s.t.Fatal(err)
	}
	if err := target.Start(s.t.Context(), r); err != nil {
		s.t.Fatal(err)
	}
	s.written(d)
	return d
}

// written stores the deployment as the one that serves, and its instances.
func (s *stage) written(d *models.Deployment) {
	s.t.Helper()
	all, err := s.target().List(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	until := s.db.NowFunc()
	s.must(s.db.Model(&models.Deployment{}).Where("active AND environment_id = ?", s.Environment.ID).Updates(map[string]any{"active": false, "drain_until": until}).Error)
	s.must(s.db.Create(d).Error)
	for _, i := range all {
		if i.Release == d.ID {
			s.must(s.db.Create(&models.Instance{ID: models.NewID(), DeploymentID: d.ID, RuntimeID: i.ID, Name: i.Name, Address: i.Address, State: models.InstanceHealthy,
				StartedAt: i.StartedAt, CreatedAt: d.CreatedAt, UpdatedAt: d.CreatedAt}).Error)
		}
	}
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) target() deploy.Target {
	s.t.Helper()
	target, err := docker.Kind("").Open(deploy.Config{ID: s.Target.ID})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { target.Close() })
	return target
}

// pushed is an image that runs the script, in a registry of the test's own.
func (s *stage) pushed(script string) deploy.Image {
	s.t.Helper()
	base := dockertest.Base(s.t)
	file, err := base.ConfigFile()
	s.must(err)
	config := *file.Config.DeepCopy()
	config.Entrypoint, config.Cmd = []string{"sh", "-c", script}, nil
	img, err := mutate.Config(base, config)
	s.must(err)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	s.t.Cleanup(server.Close)
	repository := strings.TrimPrefix(server.URL, "http://") + "/payments/checkout"
	ref, err := name.NewTag(repository + ":1")
	s.must(err)
	s.must(remote.Write(ref, img))
	digest, err := img.Digest()
	s.must(err)
	engine := dockertest.Engine(s.t)
	s.t.Cleanup(func() { engine.ImageRemove(context.Background(), repository+"@"+digest.String(), removeImage) })
	return deploy.Image{Repository: repository, Digest: digest.String()}
}

func anyone(image deploy.Image) deploy.Source {
	return deploy.Source{
		Credential: func(context.Context) (string, string, error) { return "", "", nil },
		Open: func(context.Context) (name.Repository, []remote.Option, error) {
			repository, err := name.NewRepository(image.Repository)
			return repository, nil, err
		},
	}
}

// kept returns what is kept of the place and matches.
func (s *stage) kept(f observe.Filter) (lines []observe.Line) {
	s.t.Helper()
	all, err := s.service().All(s.ctx, observe.Query{Place: s.place(), Filter: f})
	s.must(err)
	for l, err := range all {
		s.must(err)
		lines = append(lines, l)
	}
	return lines
}

// until waits for what is kept to be as wanted.
func (s *stage) until(what string, f observe.Filter, ok func([]observe.Line) bool) []observe.Line {
	s.t.Helper()
	for end := time.Now().Add(4 * time.Minute); ; {
		lines := s.kept(f)
		if ok(lines) {
			return lines
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s never was kept; the %d lines are %v", what, len(lines), lines[max(len(lines)-5, 0):])
		}
		<-time.After(100 * time.Millisecond)
	}
}
