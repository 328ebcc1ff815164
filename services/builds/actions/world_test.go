package actions_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/blobs"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/actions"
	"slipway.dev/services/builds/actions/actionstest"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
)

const path = ".github/workflows/slipway-checkout.yml"

// world is a build service whose app is built by a GitHub that the test directs.
type world struct {
	*modelstest.World
	t        *testing.T
	db       *models.Database
	hub      *actionstest.GitHub
	builder  *actions.Builder
	builds   *builds.Service
	registry *registry.Service
	dir      string
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	w := &world{World: modelstest.Seed(t, db), t: t, db: db, hub: actionstest.New(t, path), dir: t.TempDir()}
	if err := db.Delete(&models.Build{}, "id = ?", w.Build.ID).Error; err != nil {
		t.Fatal(err)
	}
	w.openRegistry()
	repo := gittest.New(t).Repository(t, "shop.git", gittest.Files{"Dockerfile": "FROM scratch\n"})
	now := db.NowFunc()
	connection := &models.Connection{ID: models.NewID(), TeamID: w.Team.ID, Kind: models.ForgeGitHub, Name: "hub", BaseURL: w.hub.URL, Credential: models.ConnectionToken,
		WebhookSecret: []byte("x"), CreatedAt: now, UpdatedAt: now}
	workflow := &models.Workflow{AppID: w.App.ID, TeamID: w.Team.ID, Issuer: "https://issuer.test", Repository: "acme/shop", GitHubID: 42, Path: path,
		Destination: models.DestinationPortal, Cache: models.WorkflowCacheActions, CreatedAt: now, UpdatedAt: now}
	for _, row := range []any{connection, workflow} {
		if err := db.Create(row).Error; err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Model(w.Repository).Updates(map[string]any{"clone_url": repo.URL, "connection_id": connection.ID}).Error; err != nil {
		t.Fatal(err)
	}
	if err := db.Model(w.App).Updates(map[string]any{"builder": models.BuilderActions, "build_count": 0}).Error; err != nil {
		t.Fatal(err)
	}
	w.builder = &actions.Builder{DB: db, Logs: http.DefaultClient, Every: 50 * time.Millisecond, Grace: 3 * time.Second,
		GitHub: func(context.Context, *models.Repository) (*github.Client, error) { return w.hub.Client(t), nil }}
	return w
}

func (w *world) openRegistry() {
	box, err := secrets.Load(filepath.Join(w.t.TempDir(), "key"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.registry = &registry.Service{DB: w.db, Box: box, Folder: w.t.TempDir()}
	mux := http.NewServeMux()
	mux.Handle("/v2/", w.registry)
	mux.HandleFunc("/registry/token", w.registry.Token)
	server := httptest.NewServer(mux)
	w.t.Cleanup(server.Close)
	w.registry.External = server.URL
}

// worker is a process that takes jobs until the test or the returned function ends it.
func (w *world) worker(dead time.Duration) (stop func()) {
	w.t.Helper()
	q, err := jobs.New(w.db, jobs.Config{Builds: 2, Others: 2, DeadAfter: dead})
	if err != nil {
		w.t.Fatal(err)
	}
	bucket, err := blobs.Open(w.t.Context(), filepath.Join(w.dir, "blobs"))
	if err != nil {
		w.t.Fatal(err)
	}
	guard := &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	proxy := &outbound.Proxy{Guard: guard}
	if err := proxy.Listen(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = proxy.Close() })
	w.builds = &builds.Service{
		DB: w.db, Jobs: q, Logs: &logs.Service{DB: w.db, Blobs: bucket}, Dir: filepath.Join(w.dir, "builds"), Registry: w.registry,
		Git:      &git.Service{Dir: filepath.Join(w.dir, "git"), Guard: guard, Proxy: proxy},
		Builders: map[models.BuilderKind]builds.Builder{models.BuilderActions: w.builder},
		Remote: func(_ context.Context, r *models.Repository) (git.Remote, error) {
			return git.Remote{URL: r.CloneURL}, nil
		},
	}
	w.builds.Register(q)
	if err := q.Start(context.WithoutCancel(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = q.Stop(ctx)
	}
	w.t.Cleanup(stop)
	return stop
}

func (w *world) as(u *models.User) context.Context { return modelstest.As(w.t, w.db, u) }

func (w *world) queue() *models.Build {
	w.t.Helper()
	b, err := w.builds.Queue(w.as(w.Developer), builds.QueueInput{AppID: w.App.ID, Ref: "main"})
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// until waits for the condition of the build.
func (w *world) until(id, what string, good func(b *models.Build) bool) *models.Build {
	w.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; {
		b, err := w.builds.Get(w.as(w.Viewer), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if good(b) {
			return b
		}
		if time.Now().After(deadline) || b.State.Ended() {
			w.t.Fatalf("never %s: the build is %s, %+v\n%s", what, b.State, b.Error, w.log(id))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *world) state(id string, state models.BuildState) *models.Build {
	w.t.Helper()
	return w.until(id, string(state), func(b *models.Build) bool { return b.State == state })
}

func (w *world) run() *actionstest.Run {
	w.t.Helper()
	return w.runs(1)
}

// runs waits for so many runs and returns the last of them.
func (w *world) runs(n int) *actionstest.Run {
	w.t.Helper()
	var runs []*actionstest.Run
	wait(w.t, fmt.Sprintf("%d runs are started", n), func() bool { runs = w.hub.Runs(); return len(runs) >= n })
	return runs[n-1]
}

func (w *world) log(id string) string {
	w.t.Helper()
	var text strings.Builder
	if err := w.builds.WriteLog(w.as(w.Viewer), id, "", &text); err != nil {
		w.t.Fatal(err)
	}
	return text.String()
}

// ended waits for the end of the log and returns it.
func (w *world) ended(id string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.as(w.Viewer), 3*time.Minute)
	defer cancel()
	batches, err := w.builds.FollowLog(ctx, id, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	var text strings.Builder
	for b := range batches {
		for _, l := range b.Lines {
			text.WriteString(l.Step + "|" + l.Text + "\n")
		}
	}
	return text.String()
}

// report pushes an image as the run would and says so.
func (w *world) report(buildID string) string {
	w.t.Helper()
	repository := w.registry.Host() + "/payments/checkout"
	ctx := models.WithPrincipal(w.t.Context(), models.System("test"))
	user, password, err := w.registry.Credential(ctx, repository, []string{"pull", "push"}, time.Minute)
	if err != nil {
		w.t.Fatal(err)
	}
	img, err := random.Image(100, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	ref, err := name.ParseReference(repository+":main", name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: user, Password: password})); err != nil {
		w.t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	now := w.db.NowFunc()
	err = w.db.Model(&models.WorkflowRun{}).Where("build_id = ?", buildID).Select("ReportedAt", "ImageRepository", "ImageDigest", "ImageTags").
		Updates(models.WorkflowRun{ReportedAt: &now, ImageRepository: repository, ImageDigest: digest.String(), ImageTags: []string{"main"}}).Error
	if err != nil {
		w.t.Fatal(err)
	}
	return digest.String()
}
