package actions_test

import (
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/actions/actionstest"
	"slipway.dev/services/builds/buildtest"
)

// built is a case whose run the script carries on.
func built(t *testing.T, script func(w *world, b *models.Build, run *actionstest.Run, job *actionstest.Job)) buildtest.Case {
	t.Helper()
	w := newWorld(t, modelstest.DB(t))
	now := w.db.NowFunc()
	b := &models.Build{ID: models.NewID(), TeamID: w.Team.ID, AppID: w.App.ID, Number: 7, State: models.BuildRunning, Builder: models.BuilderActions, Trigger: models.TriggerManual,
		Ref: "main", RefKind: "branch", Commit: "0123456789abcdef0123456789abcdef01234567", Dockerfile: "Dockerfile", Context: ".", TimeoutSeconds: 60, QueuedAt: now, StartedAt: &now, CreatedAt: now}
	if err := w.db.Omit("App", "Steps", "WorkflowRun").Create(b).Error; err != nil {
		t.Fatal(err)
	}
	if err := w.db.Create(&models.WorkflowRun{BuildID: b.ID, AppID: w.App.ID, Repository: "acme/shop", GitHubID: 42, Path: path, RunAttempt: 1, CreatedAt: now}).Error; err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	w.hub.OnStart(func(run *actionstest.Run) {
		defer close(done)
		job := run.AddJob("Image", "Set up job", "Build the image")
		run.EndStep(job, "success", "a machine")
		script(w, b, run, job)
	})
	t.Cleanup(func() {
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("no run was started")
		}
	})
	system := models.WithPrincipal(t.Context(), models.System("test"))
	user, password, err := w.registry.Credential(system, "payments/checkout", []string{"pull"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return buildtest.Case{Builder: w.builder, Request: builds.Request{BuildID: b.ID}, Step: "Build the image",
		Pull: []remote.Option{remote.WithAuth(&authn.Basic{Username: user, Password: password})}}
}

func TestRunsAreBuiltAsEveryBuilderMust(t *testing.T) {
	t.Parallel()
	buildtest.Shared(t, buildtest.Cases{
		Succeeds: func(t *testing.T) buildtest.Case {
			return built(t, func(w *world, b *models.Build, run *actionstest.Run, job *actionstest.Job) {
				w.report(b.ID)
				run.EndStep(job, "success", "built")
				run.End("success")
			})
		},
		Fails: func(t *testing.T) buildtest.Case {
			return built(t, func(_ *world, _ *models.Build, run *actionstest.Run, job *actionstest.Job) {
				run.EndStep(job, "failure", "no")
				run.End("failure")
			})
		},
		Hangs: func(t *testing.T) buildtest.Case {
			return built(t, func(*world, *models.Build, *actionstest.Run, *actionstest.Job) {})
		},
	})
}
