package retention_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registry"
	"slipway.dev/services/retention"
)

// world is a registry whose rows tests write themselves.
type world struct {
	*modelstest.World
	t        testing.TB
	db       *models.Database
	registry *registry.Service
	service  *retention.Service
	prod     *models.Environment
	pushes   int
}

func newWorld(t testing.TB, db *models.Database) *world {
	t.Helper()
	w := &world{World: modelstest.Seed(t, db), t: t, db: db}
	q, err := jobs.New(db, jobs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w.registry = &registry.Service{DB: db, Folder: t.TempDir(), External: "http://localhost:8080"}
	w.service = &retention.Service{DB: db, Registry: w.registry, Jobs: q}
	w.service.Register(q)
	now := db.NowFunc()
	w.prod = &models.Environment{ID: models.NewID(), TeamID: w.Team.ID, TargetID: w.Target.ID, Name: "prod", Position: 2, CreatedAt: now, UpdatedAt: now}
	w.create(w.prod)
	return w
}

func (w *world) create(rows ...any) {
	w.t.Helper()
	for _, r := range rows {
		if err := w.db.Create(r).Error; err != nil {
			w.t.Fatalf("creating %T: %v", r, err)
		}
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) repository(name string) string {
	w.t.Helper()
	w.create(&models.RegistryRepository{Name: name, TeamID: w.Team.ID, PushID: models.NewID(), CreatedAt: w.db.NowFunc()})
	return name
}

// app is an app that deploys from the repository.
func (w *world) app(name string) *models.App {
	w.t.Helper()
	a := *w.App
	a.ID, a.Name, a.Team, a.Repository = models.NewID(), name, nil, nil
	w.create(&a)
	return &a
}

// blob gives the repository a blob of the size.
func (w *world) blob(repository, content string, size int64) string {
	w.t.Helper()
	d := digest.FromString(content).String()
	old := w.db.NowFunc().AddDate(-1, 0, 0)
	w.must(w.db.Exec("INSERT INTO registry_blobs (digest, size, touched_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", d, size, old).Error)
	w.must(w.db.Exec("INSERT INTO registry_links (repository, digest, touched_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", repository, d, old).Error)
	return d
}

// image is a manifest to be written.
type image struct {
	age      int // days
	tags     []string
	children []string // blobs and manifests
	subject  string
	kind     string
}

// push writes the manifest and returns its digest. Older ones must be written first.
func (w *world) push(repository string, i image) string {
	w.t.Helper()
	w.pushes++
	content := fmt.Sprintf(`{"schemaVersion":2,"n":%d,"r":%q}`, w.pushes, repository)
	d := digest.FromString(content).String()
	at := w.db.NowFunc().AddDate(0, 0, -i.age).Add(-time.Minute)
	w.create(&models.RegistryManifest{Repository: repository, Digest: d, PushID: fmt.Sprintf("%08d", w.pushes), MediaType: "application/vnd.oci.image.manifest.v1+json",
		ArtifactType: i.kind, Subject: i.subject, Content: []byte(content), PushedAt: at})
	for _, c := range slices.Compact(slices.Sorted(slices.Values(i.children))) {
		w.create(&models.RegistryReference{Repository: repository, Manifest: d, Child: c})
	}
	for _, name := range i.tags {
		w.must(w.db.Exec("DELETE FROM registry_tags WHERE repository = ? AND name = ?", repository, name).Error)
		w.create(&models.RegistryTag{Repository: repository, Name: name, Digest: d, MovedAt: at})
	}
	return d
}

// deploy writes a deployment of the digest down.
func (w *world) deploy(app *models.App, env *models.Environment, number int64, d string, state models.DeploymentState, active bool) {
	w.t.Helper()
	if active {
		w.must(w.db.Exec("UPDATE deployments SET active = ? WHERE app_id = ? AND environment_id = ?", false, app.ID, env.ID).Error)
	}
	now := w.db.NowFunc()
	w.create(&models.Deployment{ID: models.NewID(), TeamID: w.Team.ID, AppID: app.ID, EnvironmentID: env.ID, Number: number, State: state, Active: active,
		ImageRepository: "localhost:8080/payments/" + app.Name, ImageDigest: d, Action: models.ActionDeploy, CreatedAt: now, RetiredAt: &now})
}

// there are the digests that the repository has.
func (w *world) there(repository string) map[string]bool {
	w.t.Helper()
	var digests []string
	w.must(w.db.Model(&models.RegistryManifest{}).Where("repository = ?", repository).Pluck("digest", &digests).Error)
	out := map[string]bool{}
	for _, d := range digests {
		out[d] = true
	}
	return out
}

func (w *world) policy(repository string, days, rollbacks int, rules ...models.RetentionRule) {
	w.t.Helper()
	in := retention.PolicyInput{Enabled: true, Rules: rules, MinAgeDays: &days, Rollbacks: &rollbacks}
	_, err := w.service.SetPolicy(modelstest.As(w.t, w.db, w.Maintainer), repository, in)
	w.must(err)
}

func (w *world) preview(repository string) *models.RetentionPreview {
	w.t.Helper()
	p, err := w.service.Preview(modelstest.As(w.t, w.db, w.Viewer), repository, retention.PreviewFilter{Page: models.Page{Limit: 100}})
	w.must(err)
	return p
}

// clean runs a clean-up of what the preview names.
func (w *world) clean(repository string) *models.RetentionRun {
	w.t.Helper()
	ctx := modelstest.As(w.t, w.db, w.Maintainer)
	run, err := w.service.Start(ctx, repository, w.preview(repository).Fingerprint)
	w.must(err)
	w.must(w.service.Clean(models.WithPrincipal(w.t.Context(), models.System("worker")), retention.CleanUp{RunID: run.ID}))
	run, err = w.service.Run(ctx, run.ID)
	w.must(err)
	return run
}

// stored is how many bytes the registry's blobs have.
func (w *world) stored() (n int64) {
	w.t.Helper()
	w.must(w.db.Raw("SELECT COALESCE(SUM(size), 0) FROM registry_blobs").Scan(&n).Error)
	return n
}

// chosen tells whether something happens, once in n times.
func chosen(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

func entry(p *models.RetentionPreview, name string) models.RetentionEntry {
	for _, e := range p.Entries.Items {
		if e.Tag == name || e.Tag == "" && e.Digest == name {
			return e
		}
	}
	return models.RetentionEntry{Reason: "no such entry " + strings.TrimSpace(name)}
}
