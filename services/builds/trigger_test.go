package builds_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/git/gittest"
)

// triggered queues a build as the work on a webhook does.
func (w *world) triggered(t *testing.T, in builds.Triggered) *models.Build {
	t.Helper()
	var app models.App
	if err := w.db.Preload("Team").Preload("Repository").Take(&app, "id = ?", w.App.ID).Error; err != nil {
		t.Fatal(err)
	}
	in.App, in.DeliveryID = &app, models.NewID()
	var b *models.Build
	ctx := models.WithPrincipal(t.Context(), models.System("test"))
	err := w.db.Transaction(func(tx *gorm.DB) (err error) {
		b, _, err = w.builds.QueueTriggered(ctx, tx, in)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAPullRequestsImageGetsNoTagOfABranchAndAForksBuildNoCacheOfTheApps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	var mu sync.Mutex // two builds run at once
	keys := map[string]string{}
	w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
		mu.Lock()
		keys[r.BuildID] = r.CacheKey
		mu.Unlock()
		return pushSomething(ctx, r, emit)
	})
	head := w.repo.Commit(t, "tmp", "Theirs", gittest.Files{"x": "1"})
	w.repo.Git(t, "update-ref", "refs/pull/7/head", head)
	w.repo.DeleteBranch(t, "tmp")
	pull := builds.Triggered{Trigger: models.TriggerPullRequest, Ref: "refs/pull/7/head", RefKind: models.RefPullRequest, Commit: head, By: "bob", PullRequest: models.PullRequest{Number: 7, Source: "main"}}
	same := w.triggered(t, pull)
	fork := pull
	fork.PullRequest.Fork, fork.Ref, fork.PullRequest.Number = true, "refs/pull/8/head", 8
	w.repo.Git(t, "update-ref", "refs/pull/8/head", head)
	waiting := w.triggered(t, fork)
	if waiting.State != models.BuildWaiting || !waiting.Untrusted || same.Untrusted {
		t.Fatalf("got %+v and %+v", waiting, same)
	}
	if _, err := w.builds.Approve(w.as(t, w.Developer), waiting.ID, head); err != nil {
		t.Fatal(err)
	}
	start(t, w.builds.Jobs)
	for id, want := range map[string][]string{same.ID: {"build-2", "pr-7"}, waiting.ID: {"build-3", "pr-8"}} {
		b := w.wait(t, id, models.BuildSucceeded)
		if got := slices.Sorted(slices.Values(b.ImageTags)); !slices.Equal(got, want) || b.Commit != head {
			t.Errorf("the image of %s has the tags %v, want %v", b.Title(), got, want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if keys[same.ID] != w.App.ID || keys[waiting.ID] == w.App.ID {
		t.Errorf("the cache keys are %v", keys)
	}
}

func TestOnlySlipwayItselfQueuesAndCancelsForWebhooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	for _, ctx := range []context.Context{t.Context(), w.as(t, w.Admin), w.as(t, w.Developer)} {
		err := w.db.Transaction(func(tx *gorm.DB) error {
			_, _, err := w.builds.QueueTriggered(ctx, tx, builds.Triggered{App: w.App})
			return err
		})
		wantCode(t, err, models.Denied)
		err = w.db.Transaction(func(tx *gorm.DB) error {
			_, err := w.builds.CancelPullRequest(ctx, tx, w.App.ID, "refs/pull/7/head", "x")
			return err
		})
		wantCode(t, err, models.Denied)
	}
}

func TestABuildThatWaitsForApprovalCanBeCanceledAndIsInTheList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	b := w.triggered(t, builds.Triggered{Trigger: models.TriggerPullRequest, Ref: "refs/pull/7/head", RefKind: models.RefPullRequest, Commit: w.repo.Git(t, "rev-parse", "main"),
		PullRequest: models.PullRequest{Number: 7, Fork: true}})
	list, err := w.builds.List(w.as(t, w.Viewer), builds.Filter{State: models.BuildWaiting})
	if err != nil || len(list.Items) != 1 || list.Items[0].ID != b.ID {
		t.Errorf("got %+v, %v", list.Items, err)
	}
	canceled, err := w.builds.Cancel(w.as(t, w.Developer), b.ID)
	if err != nil || canceled.State != models.BuildCanceled {
		t.Errorf("got %+v, %v", canceled, err)
	}
	_, err = w.builds.Approve(w.as(t, w.Developer), b.ID, "")
	wantCode(t, err, models.Conflict)
}

func TestABuildThatWasSupersededNeverBeginsAndOneThatBeganIsNotSuperseded(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		var mu sync.Mutex
		begun := map[string]bool{}
		w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
			mu.Lock()
			begun[r.BuildID] = true
			mu.Unlock()
			return pushSomething(ctx, r, emit)
		})
		start(t, w.builds.Jobs)
		main := w.repo.Git(t, "rev-parse", "main")
		var last *models.Build
		for range 25 {
			last = w.triggered(t, builds.Triggered{Trigger: models.TriggerPush, Ref: "main", RefKind: "branch", Commit: main})
		}
		w.wait(t, last.ID, models.BuildSucceeded)
		var all []models.Build
		if err := db.Order("number").Find(&all).Error; err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			if !b.State.Ended() {
				b = *w.wait(t, b.ID, models.BuildSucceeded)
			}
			mu.Lock()
			ran := begun[b.ID]
			mu.Unlock()
			if canceled := b.State == models.BuildCanceled; canceled == ran || canceled && b.StartedAt != nil {
				t.Errorf("build %s is %s, began: %v, %v", b.Title(), b.State, ran, b.StartedAt)
			}
		}
	})
}
