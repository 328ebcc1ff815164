package hooks_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/git/gittest"
)

func TestPullRequestsAreBuiltWhereTheAppWantsThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitHub)
	head := w.pull(7, "Better\n\nMuch.", gittest.Files{"api/x": "1"})
	skip := w.pull(8, "Words [ci skip]", gittest.Files{"api/x": "2"})
	type change = func(*models.Triggers)
	same := func(t *models.Triggers) { t.PullRequests = models.PullRequestsSame }
	forks := func(t *models.Triggers) { t.PullRequests = models.PullRequestsForks }
	for _, test := range []struct {
		name   string
		change change
		number int
		action string
		head   string
		fork   bool
		want   string
	}{
		{"not wanted", nil, 7, "opened", head, false, "ignored: pull requests don't build this app"},
		{"of the repository itself", same, 7, "opened", head, false, "queued build #1"},
		{"from a fork", same, 7, "opened", head, true, "ignored: from a fork"},
		{"without a new commit", same, 7, "labeled", head, false, "ignored: no new commit"},
		{"with a new commit", same, 7, "synchronize", head, false, "queued build #2"},
		{"into another branch", func(t *models.Triggers) { same(t); t.Branches = []string{"release/*"} }, 7, "opened", head, false, "ignored: it goes into a branch that is not wanted"},
		{"with a skip marker", same, 8, "opened", skip, false, "ignored: skip marker [ci skip]"},
		{"with other files", func(t *models.Triggers) { same(t); t.Paths = []string{"web/**"} }, 7, "opened", head, false, "ignored: no file of the app's paths changed"},
		{"with its files", func(t *models.Triggers) { same(t); t.Paths = []string{"api/**"} }, 7, "reopened", head, false, "queued build #3"},
		{"from a fork, wanted", forks, 8, "opened", head, true, "build #4 waits for approval: from a fork"},
	} {
		w.triggers(w.App.ID, func(tr *models.Triggers) {
			*tr = models.DefaultTriggers()
			if test.change != nil {
				test.change(tr)
			}
		})
		payload := w.hubPull(test.number, test.action, test.head, test.fork)
		payload["n"] = test.name
		if got := w.deliver("pull_request", payload); !strings.HasSuffix(got, test.want) {
			t.Errorf("%s: got %q", test.name, got)
		}
	}
	b := w.build(w.App.ID, 3)
	want := models.PullRequest{Number: 7, Title: "Better shop", URL: "https://forge.example.test/acme/shop/pull/7", Source: "better"}
	if b.PullRequest != want || b.Commit != head || b.CommitSubject != "Better" || b.Ref != "refs/pull/7/head" || b.RefKind != "pull_request" || b.Trigger != models.TriggerPullRequest ||
		b.CreatedByName != "bob" || b.Untrusted || b.State != models.BuildQueued {
		t.Errorf("got %+v", b)
	}
	refs, err := w.hooks.Git.Refs(t.Context(), w.Repository.ID)
	if err != nil || len(refs) != 1 {
		t.Errorf("pull requests show as branches: %+v, %v", refs, err)
	}
}

// jobsOf counts the turns that the build has brought into the queue.
func (w *world) jobsOf(id string) (n int64) {
	w.t.Helper()
	args := "json(args)"
	if w.db.Pool != nil {
		args = "args::text"
	}
	w.must(w.db.Table("river_job").Where("kind = ? AND "+args+" LIKE ?", builds.Args{}.Kind(), "%"+id+"%").Count(&n).Error)
	return n
}

func TestNothingOfAForkRunsBeforeItsCommitWasApproved(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.connect(models.ForgeGitHub)
		w.triggers(w.App.ID, func(t *models.Triggers) { t.PullRequests = models.PullRequestsForks })
		first := w.pull(7, "One", gittest.Files{"a": "1"})
		w.deliver("pull_request", w.hubPull(7, "opened", first, true))
		b := w.build(w.App.ID, 1)
		if b.State != models.BuildWaiting || !b.Untrusted || !b.PullRequest.Fork || w.jobsOf(b.ID) != 0 {
			t.Fatalf("got %+v with %d jobs", b, w.jobsOf(b.ID))
		}
		why, err := w.builds.WhyWaiting(w.as["viewer"], &b)
		if err != nil || !strings.Contains(why.String(), "comes from a fork") {
			t.Errorf("it says %q, %v", why, err)
		}
		for who, code := range map[string]models.Code{"stranger": models.NotFound, "viewer": models.Denied, "nobody": models.Unauthorized} {
			_, err := w.builds.Approve(w.as[who], b.ID, first)
			wantCode(t, who, err, code)
		}
		_, err = w.builds.Approve(w.as["developer"], b.ID, strings.Repeat("a", 40))
		wantCode(t, "another commit", err, models.Invalid)
		second := w.pull(7, "Two", gittest.Files{"a": "2"})
		if got := w.deliver("pull_request", w.hubPull(7, "synchronize", second, true)); got != "checkout: build #2 waits for approval: from a fork" {
			t.Errorf("a new commit: %q", got)
		}
		_, err = w.builds.Approve(w.as["developer"], b.ID, first)
		wantCode(t, "the old commit", err, models.Conflict)
		if err != nil && !strings.Contains(err.Error(), "Superseded by build #2") {
			t.Errorf("it says %v", err)
		}
		approved, err := w.builds.Approve(w.as["developer"], w.build(w.App.ID, 2).ID, second)
		w.must(err)
		if approved.State != models.BuildQueued || approved.ApprovedByName != "developer" || approved.ApprovedAt == nil || !approved.Untrusted || w.jobsOf(approved.ID) != 1 {
			t.Errorf("approved: %+v with %d jobs", approved, w.jobsOf(approved.ID))
		}
		_, err = w.builds.Approve(w.as["developer"], approved.ID, second)
		wantCode(t, "twice", err, models.Conflict)
		third := w.pull(7, "Three", gittest.Files{"a": "3"})
		if got := w.deliver("pull_request", w.hubPull(7, "synchronize", third, true)); got != "checkout: build #3 waits for approval: from a fork" {
			t.Errorf("after an approval: %q", got)
		}
		if old := w.build(w.App.ID, 2); old.State != models.BuildCanceled {
			t.Errorf("the approved one that had not begun is %s", old.State)
		}
		var told models.AuditEntry
		w.must(db.Take(&told, "action = ?", "build.approve").Error)
		if told.ActorName != "developer" || told.Detail["commit"] != second {
			t.Errorf("the audit log says %+v", told)
		}
	})
}

func TestAForksBuildStaysUntrustedAndUnapprovedByADetour(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitHub)
	w.triggers(w.App.ID, func(t *models.Triggers) { t.PullRequests = models.PullRequestsForks })
	head := w.pull(7, "One", gittest.Files{"a": "1"})
	w.deliver("pull_request", w.hubPull(7, "opened", head, true))
	b := w.build(w.App.ID, 1)
	_, err := w.builds.Retry(w.as["developer"], b.ID)
	wantCode(t, "while it waits", err, models.Conflict)
	_, err = w.builds.Cancel(w.as["developer"], b.ID)
	w.must(err)
	again, err := w.builds.Retry(w.as["developer"], b.ID)
	if err != nil || again.State != models.BuildWaiting || !again.Untrusted || again.PullRequest.Number != 7 || w.jobsOf(again.ID) != 0 {
		t.Errorf("built again: %+v, %v", again, err)
	}
	next := w.pull(7, "Two", gittest.Files{"a": "2"})
	w.deliver("pull_request", w.hubPull(7, "synchronize", next, true))
	if got := w.build(w.App.ID, 2); got.State != models.BuildCanceled {
		t.Errorf("what waits of an old commit is %s after a new one", got.State)
	}
}

func TestAClosedPullRequestTakesItsBuildsAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitHub)
	w.triggers(w.App.ID, func(t *models.Triggers) { t.PullRequests = models.PullRequestsForks })
	head := w.pull(7, "One", gittest.Files{"a": "1"})
	w.deliver("pull_request", w.hubPull(7, "opened", head, true))
	w.deliver("pull_request", w.hubPull(9, "opened", head, true))
	if got := w.deliver("pull_request", w.hubPull(7, "closed", head, true)); got != "checkout: canceled the build that waited: the pull request was closed" {
		t.Errorf("got %q", got)
	}
	if one, other := w.build(w.App.ID, 1), w.build(w.App.ID, 2); one.State != models.BuildCanceled || one.Error.Message != "The pull request was closed." || other.State != models.BuildWaiting {
		t.Errorf("got %+v and %s", one, other.State)
	}
	closed := w.hubPull(7, "closed", head, true)
	closed["n"] = 2
	if got := w.deliver("pull_request", closed); got != "checkout: ignored: the pull request was closed, and no build of it waits" {
		t.Errorf("got %q", got)
	}
}

func TestAClosedPullRequestTakesItsPreviewAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitHub)
	w.triggers(w.App.ID, func(t *models.Triggers) { t.PullRequests = models.PullRequestsForks })
	var asked []string
	w.hooks.PullClosed = func(_ context.Context, tx *gorm.DB, appID string, number int64, deliveryID string) (bool, error) {
		asked = append(asked, fmt.Sprint(appID == w.App.ID, number, deliveryID != "" && tx != nil))
		return number != 9, nil
	}
	head := w.pull(7, "One", gittest.Files{"a": "1"})
	w.deliver("pull_request", w.hubPull(7, "opened", head, true))
	for number, want := range map[int]string{7: "canceled the build that waited: the pull request was closed, and its preview is removed", 8: "removes the preview: the pull request was closed",
		9: "ignored: the pull request was closed, and no build of it waits"} {
		if got := w.deliver("pull_request", w.hubPull(number, "closed", head, true)); got != "checkout: "+want {
			t.Errorf("%d: got %q", number, got)
		}
	}
	if len(asked) != 3 || !slices.Contains(asked, "true 7 true") {
		t.Errorf("asked were %q", asked)
	}
}

func TestMergeRequestsOfGitLabAreBuilt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitLab)
	w.triggers(w.App.ID, func(t *models.Triggers) { t.PullRequests = models.PullRequestsForks })
	head := w.repo.Commit(t, "feature", "Better", gittest.Files{"a": "1"})
	w.repo.Git(t, "update-ref", "refs/merge-requests/4/head", head)
	w.repo.DeleteBranch(t, "feature")
	merge := func(action, oldrev string, source int) string {
		w.n++
		return w.deliver("Merge Request Hook", map[string]any{
			"object_kind": "merge_request", "n": w.n, "user": map[string]any{"username": "bob"},
			"project": map[string]any{"id": 5, "path_with_namespace": "acme/shop", "git_http_url": w.repo.URL, "default_branch": "main"},
			"object_attributes": map[string]any{"iid": 4, "title": "Better", "url": "https://gitlab.example.test/acme/shop/-/merge_requests/4", "action": action, "oldrev": oldrev,
				"source_branch": "feature", "target_branch": "main", "source_project_id": source, "target_project_id": 5, "last_commit": map[string]any{"id": head, "message": "Better"}},
		})
	}
	for _, test := range []struct {
		action, oldrev string
		source         int
		want           string
	}{
		{"open", "", 5, "checkout: queued build #1"}, {"update", "", 5, "ignored: no new commit"}, {"update", head, 5, "checkout: queued build #2"},
		{"approved", "", 5, "ignored: no new commit"}, {"open", "", 6, "checkout: build #3 waits for approval: from a fork"}, {"merge", "", 6, "checkout: canceled the build that waited: the pull request was closed"},
	} {
		if got := merge(test.action, test.oldrev, test.source); got != test.want {
			t.Errorf("%+v: got %q", test, got)
		}
	}
	if b := w.build(w.App.ID, 1); b.Ref != "refs/merge-requests/4/head" || b.PullRequest.Number != 4 || b.Commit != head {
		t.Errorf("got %+v", b)
	}
}

func TestPullRequestsOfGiteaAndOfPrograms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitea)
	w.triggers(w.App.ID, func(t *models.Triggers) { t.PullRequests = models.PullRequestsForks })
	head := w.pull(3, "One", gittest.Files{"a": "1"})
	if got := w.deliver("pull_request", w.hubPull(3, "synchronized", head, false)); got != "checkout: queued build #1" {
		t.Errorf("Gitea: %q", got)
	}
	deleted := w.hubPull(3, "reopened", head, false)
	deleted["pull_request"].(map[string]any)["head"].(map[string]any)["repo"] = nil
	if got := w.deliver("pull_request", deleted); got != "checkout: build #2 waits for approval: from a fork" {
		t.Errorf("from a repository that is gone: %q", got)
	}
	w.must(w.forges.Delete(w.as["maintainer"], w.connection.ID))
	w.connect(models.ForgeGeneric)
	main := w.repo.Git(t, "rev-parse", "main")
	for i, test := range []struct {
		event   string
		payload map[string]any
		want    string
	}{
		{"push", map[string]any{"repository": w.repo.URL, "ref": "refs/heads/main", "commit": main, "sender": "script"}, "checkout: queued build #3"},
		{"pull_request", map[string]any{"repository": w.repo.URL, "commit": head, "pull_request": map[string]any{"number": 3, "ref": "refs/pull/3/head", "target": "main", "fork": false, "action": "changed"}}, "checkout: queued build #4"},
		{"pull_request", map[string]any{"repository": w.repo.URL, "commit": head, "pull_request": map[string]any{"number": 3, "ref": "refs/pull/3/head", "target": "main", "action": "changed"}}, "checkout: build #5 waits for approval: from a fork"},
		{"pull_request", map[string]any{"repository": w.repo.URL, "commit": head, "pull_request": map[string]any{"number": 3, "ref": "refs/heads/main", "target": "main", "action": "changed"}}, "The payload names no pull request."},
		{"release", map[string]any{"repository": w.repo.URL}, "Slipway does nothing with events of this kind."},
	} {
		if got := w.deliver(test.event, test.payload); got != test.want {
			t.Errorf("%s: %q", fmt.Sprint(i), got)
		}
	}
}
