package workflows_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/blobs"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/actions"
	"slipway.dev/services/builds/actions/actionstest"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
	"slipway.dev/services/workflows"
	"slipway.dev/services/workload"
	"slipway.dev/services/workload/workloadtest"
)

const path = ".github/workflows/slipway-checkout.yml"

// world is the workflows of a portal whose jobs nobody takes, and a GitHub.
type world struct {
	*modelstest.World
	t       *testing.T
	db      *models.Database
	hub     *actionstest.GitHub
	issuer  *workloadtest.Issuer
	service *workflows.Service
	builds  *builds.Service

	connection *models.Connection
	alone      bool // no connection
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	w := &world{World: modelstest.Seed(t, db), t: t, db: db, hub: actionstest.New(t), issuer: workloadtest.New(t)}
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	q, err := jobs.New(db, jobs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := blobs.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	store := &registry.Service{DB: db, Box: box, Folder: t.TempDir(), External: portal}
	trust := &workload.Service{DB: db, External: portal, Issuers: []string{w.issuer.URL}, Registry: store}
	hub := func(context.Context, *models.Repository) (*github.Client, error) {
		if w.alone {
			return nil, models.Errorf(models.Conflict, "No connection.")
		}
		return w.hub.Client(t), nil
	}
	w.builds = &builds.Service{DB: db, Jobs: q, Logs: &logs.Service{DB: db, Blobs: bucket}, Dir: t.TempDir(), Registry: store,
		Builders: map[models.BuilderKind]builds.Builder{models.BuilderActions: &actions.Builder{DB: db, GitHub: hub}}}
	w.builds.Register(q)
	w.service = &workflows.Service{DB: db, External: portal, Issuer: w.issuer.URL, Issuers: []string{w.issuer.URL}, Registry: store, Builds: w.builds, Workloads: trust, GitHub: hub}
	now := db.NowFunc()
	w.connection = &models.Connection{ID: models.NewID(), TeamID: w.Team.ID, Kind: models.ForgeGitHub, Name: "hub", BaseURL: w.hub.URL, Credential: models.ConnectionToken, WebhookSecret: []byte("x"), CreatedAt: now, UpdatedAt: now}
	w.must(db.Create(w.connection).Error)
	w.must(db.Model(w.Repository).Updates(map[string]any{"connection_id": w.connection.ID, "clone_url": "https://git.example.test/acme/shop.git"}).Error)
	w.must(db.Delete(&models.Build{}, "id = ?", w.Build.ID).Error)
	w.must(db.Model(w.App).Updates(map[string]any{"builder": models.BuilderActions, "build_count": 0}).Error)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) as(u *models.User) context.Context { return modelstest.As(w.t, w.db, u) }

func (w *world) system() context.Context {
	return models.WithPrincipal(w.t.Context(), models.System("test"))
}

// save sets up the app's workflow.
func (w *world) save() *workflows.Detail {
	w.t.Helper()
	d, err := w.service.Save(w.as(w.Maintainer), w.App.ID, workflows.WorkflowInput{OnPush: true})
	w.must(err)
	return d
}

// run is the context of a run of the number that has exchanged its token.
func (w *world) run(number int64, change map[string]any) context.Context {
	w.t.Helper()
	claims := map[string]any{"run_id": fmt.Sprint(number)}
	for k, v := range change {
		claims[k] = v
	}
	_, err := w.service.Workloads.Exchange(w.t.Context(), workload.Request{GrantType: workload.GrantType, SubjectTokenType: workload.TypeJWT,
		SubjectToken: w.issuer.Token(portal, claims)})
	w.must(err)
	var x models.Exchange
	w.must(w.db.Where("run_id = ? AND granted", number).Order("id DESC").Take(&x).Error)
	p := &models.Principal{Kind: models.PrincipalWorkload, ID: x.ID, Scopes: []models.Scope{}, Repository: "payments/checkout"}
	return models.WithPrincipal(w.t.Context(), p)
}

// dispatched is a build that waits for GitHub to say which run it is.
func (w *world) dispatched(commit string) *models.Build {
	w.t.Helper()
	now := w.db.NowFunc()
	b := &models.Build{ID: models.NewID(), TeamID: w.Team.ID, AppID: w.App.ID, Number: time.Now().UnixNano(), State: models.BuildRunning, Builder: models.BuilderActions, Trigger: models.TriggerManual,
		Ref: "main", RefKind: "branch", Commit: commit, Dockerfile: "Dockerfile", Context: ".", TimeoutSeconds: 60, QueuedAt: now, StartedAt: &now, CreatedAt: now}
	w.must(w.db.Omit("App", "Steps", "WorkflowRun").Create(b).Error)
	w.must(w.db.Create(&models.WorkflowRun{BuildID: b.ID, AppID: w.App.ID, Repository: "acme/shop", GitHubID: 42, Path: path, RunAttempt: 1, DispatchedAt: &now, CreatedAt: now}).Error)
	return b
}

func (w *world) row(buildID string) models.WorkflowRun {
	w.t.Helper()
	var row models.WorkflowRun
	w.must(w.db.Where("build_id = ?", buildID).Take(&row).Error)
	return row
}

func (w *world) count(model any) (n int64) {
	w.t.Helper()
	w.must(w.db.Model(model).Count(&n).Error)
	return n
}
