package builds_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/logs"
)

func TestQueueingABuildIsARowAJobAnAuditEntryAndAnEvent(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		b := w.queueBuild(t, "main")
		if b.Number != 2 || b.State != models.BuildQueued || b.RefKind != "branch" || len(b.Commit) != 40 || b.CommitSubject != "First commit" ||
			b.CreatedByName != "developer" || b.TimeoutSeconds != 1800 || b.Dockerfile != "Dockerfile" {
			t.Errorf("the build is %+v", b)
		}
		for what, query := range map[string]string{
			"job":         "SELECT COUNT(*) FROM river_job WHERE kind = 'build'",
			"audit entry": "SELECT COUNT(*) FROM audit_entries WHERE action = 'build.queue' AND subject = 'build:" + b.ID + "' AND actor_name = 'developer'",
			"event":       "SELECT COUNT(*) FROM events WHERE kind = 'build.queued' AND topic = 'build:" + b.ID + "' AND parent = 'app:" + b.AppID + "'",
			"log":         "SELECT COUNT(*) FROM log_streams WHERE id = '" + b.ID + "'",
		} {
			var n int
			if err := db.Raw(query).Scan(&n).Error; err != nil || n != 1 {
				t.Errorf("there is %d of the %s, error %v", n, what, err)
			}
		}
		if again := w.queueBuild(t, ""); again.Number != 3 || again.Ref != "main" {
			t.Errorf("the second build is %+v", again)
		}
	})
}

func TestABuildIsOfWhatTheRefNamesAtTheClick(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.queueBuild(t, "main")
	newest := w.repo.Commit(t, "main", "Pushed a moment ago", gittest.Files{"main.go": "package main // 2\n"})
	w.repo.Tag(t, "v1.0", newest)
	for ref, kind := range map[string]string{"main": "branch", "v1.0": "tag", newest: "commit", newest[:10]: "commit"} {
		if b := w.queueBuild(t, ref); b.Commit != newest || b.RefKind != kind {
			t.Errorf("%s is a %s at %s", ref, b.RefKind, b.Commit)
		}
	}
	for _, ref := range []string{"nowhere", "-x", "--upload-pack=x", "main^{/x}", "$(id)", "a b", strings.Repeat("f", 40)} {
		_, err := w.builds.Queue(w.as(t, w.Developer), builds.QueueInput{AppID: w.App.ID, Ref: ref})
		wantCode(t, err, models.Invalid)
	}
}

func TestABuildCanBeQueuedWhileTheRemoteIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	known := w.queueBuild(t, "main")
	if err := w.db.Model(w.Repository).Update("clone_url", "http://127.0.0.1:1/gone.git").Error; err != nil {
		t.Fatal(err)
	}
	if b := w.queueBuild(t, "main"); b.Commit != known.Commit {
		t.Errorf("the build is of %s", b.Commit)
	}
	if err := w.builds.Git.Remove(w.Repository.ID); err != nil { // as in a process that never fetched
		t.Fatal(err)
	}
	_, err := w.builds.Queue(w.as(t, w.Developer), builds.QueueInput{AppID: w.App.ID, Ref: "main"})
	if err == nil {
		t.Error("a build of a repository that can't be read was queued")
	}
	seen := models.Ref{RepositoryID: w.Repository.ID, Kind: models.RefBranch, Name: "main", Commit: known.Commit, CommittedAt: w.db.NowFunc()}
	if err := w.db.Create(&seen).Error; err != nil {
		t.Fatal(err)
	}
	if b := w.queueBuild(t, ""); b.Commit != known.Commit || b.Ref != "main" {
		t.Errorf("the build is of %s", b.Commit)
	}
}

func TestBuildsAreForTheTeam(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	b := w.queueBuild(t, "main")
	calls := map[string]func(u *models.User) error{
		"get":    func(u *models.User) error { _, err := w.builds.Get(w.as(t, u), b.ID); return err },
		"log":    func(u *models.User) error { _, err := w.builds.LogWindow(w.as(t, u), b.ID, logs.Window{}); return err },
		"stream": func(u *models.User) error { _, err := w.builds.LogStream(w.as(t, u), b.ID); return err },
		"follow": func(u *models.User) error { _, err := w.builds.FollowLog(w.as(t, u), b.ID, 0); return err },
		"write":  func(u *models.User) error { return w.builds.WriteLog(w.as(t, u), b.ID, "", &strings.Builder{}) },
		"search": func(u *models.User) error {
			_, err := w.builds.SearchLog(w.as(t, u), b.ID, logs.Search{Text: "x"})
			return err
		},
		"last":       func(u *models.User) error { _, err := w.builds.LastLogLine(w.as(t, u), b.ID, "x"); return err },
		"changes":    func(u *models.User) error { _, err := w.builds.Changes(w.as(t, u), b.ID); return err },
		"dockerfile": func(u *models.User) error { _, _, err := w.builds.Dockerfile(w.as(t, u), b.ID); return err },
		"queue": func(u *models.User) error {
			_, err := w.builds.Queue(w.as(t, u), builds.QueueInput{AppID: w.App.ID})
			return err
		},
		"retry":  func(u *models.User) error { _, err := w.builds.Retry(w.as(t, u), b.ID); return err },
		"cancel": func(u *models.User) error { _, err := w.builds.Cancel(w.as(t, u), b.ID); return err },
	}
	reads := []string{"get", "log", "stream", "follow", "write", "search", "last", "changes", "dockerfile"}
	for name, call := range calls {
		wantCode(t, call(w.Stranger), models.NotFound)
		err := call(w.Viewer)
		if slices.Contains(reads, name) != (err == nil) {
			t.Errorf("a viewer's %s ended with %v", name, err)
		}
		if err != nil {
			wantCode(t, err, models.Denied)
		}
	}
	if list, err := w.builds.List(w.as(t, w.Stranger), builds.Filter{}); err != nil || len(list.Items) != 0 {
		t.Errorf("a stranger sees %d builds, error %v", len(list.Items), err)
	}
	if list, err := w.builds.List(w.as(t, w.Stranger), builds.Filter{AppID: w.App.ID, Team: "payments"}); err != nil || len(list.Items) != 0 {
		t.Errorf("a stranger who asks for them sees %d builds, error %v", len(list.Items), err)
	}
	_, err := w.builds.List(t.Context(), builds.Filter{})
	wantCode(t, err, models.Unauthorized)
}

func TestTheListIsNarrowedByEachField(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.repo.Branch(t, "feature/x", w.queueBuild(t, "main").Commit)
		b := w.queueBuild(t, "feature/x")
		if _, err := w.builds.Cancel(w.as(t, w.Developer), b.ID); err != nil {
			t.Fatal(err)
		}
		w.queueBuild(t, "main")
		for want, f := range map[int]builds.Filter{3: {AppID: w.App.ID, RepositoryID: w.Repository.ID, Team: "payments"}, 1: {Ref: "feature/x"}, 2: {State: models.BuildQueued}, 0: {Team: "search"}} {
			if list, err := w.builds.List(w.as(t, w.Viewer), f); err != nil || len(list.Items) != want {
				t.Errorf("%+v gives %d builds, error %v", f, len(list.Items), err)
			}
		}
		page, err := w.builds.List(w.as(t, w.Admin), builds.Filter{Page: models.Page{Limit: 2}})
		if err != nil || len(page.Items) != 2 || page.Items[0].Number != 4 || page.Next == "" || page.Items[0].App.Team.Slug != "payments" {
			t.Errorf("the first page is %+v, error %v", page, err)
		}
		_, err = w.builds.List(w.as(t, w.Viewer), builds.Filter{State: "asleep"})
		wantCode(t, err, models.Invalid)
	})
}

func TestARetryIsOfTheSameCommitWithTheSettingsOfNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	b := w.queueBuild(t, "main")
	_, err := w.builds.Retry(w.as(t, w.Developer), b.ID)
	wantCode(t, err, models.Conflict)
	if _, err := w.builds.Cancel(w.as(t, w.Developer), b.ID); err != nil {
		t.Fatal(err)
	}
	w.repo.Commit(t, "main", "Newer", gittest.Files{"x": "y"})
	if err := w.db.Model(w.App).Update("dockerfile", "deploy/Dockerfile").Error; err != nil {
		t.Fatal(err)
	}
	again, err := w.builds.Retry(w.as(t, w.Developer), b.ID)
	if err != nil || again.Commit != b.Commit || again.Dockerfile != "deploy/Dockerfile" || again.RetryOf == nil || *again.RetryOf != b.ID || again.Number != 3 {
		t.Errorf("the retry is %+v, error %v", again, err)
	}
}

func TestTheListOfSeveralTeamsIsWholeAndInOrderOverItsPages(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		var want []string
		for _, app := range []*models.App{w.App, w.team(t, "second", 0), w.team(t, "third", 0), w.team(t, "foreign", 0)} {
			if app.Name != "foreign-app" {
				m := models.Member{TeamID: app.TeamID, UserID: w.Developer.ID, Role: models.RoleViewer, CreatedAt: db.NowFunc()}
				if err := db.Save(&m).Error; err != nil {
					t.Fatal(err)
				}
			}
			for _, b := range w.queueFor(t, app, models.TriggerManual, 4) {
				if app.Name != "foreign-app" {
					want = append(want, b.ID)
				}
			}
		}
		slices.Reverse(want)
		read := func(f builds.Filter) (all []string) {
			t.Helper()
			f.Limit = 3
			for {
				list, err := w.builds.List(w.as(t, w.Developer), f)
				if err != nil {
					t.Fatal(err)
				}
				for _, b := range list.Items {
					all = append(all, b.ID)
				}
				if list.Next == "" {
					return all
				}
				f.Cursor = list.Next
			}
		}
		if got := read(builds.Filter{}); !slices.Equal(got, want) {
			t.Errorf("the list is %v, not %v", got, want)
		}
		if got := read(builds.Filter{State: models.BuildQueued, RepositoryID: w.Repository.ID}); !slices.Equal(got, want) {
			t.Errorf("the list of the repository is %v, not %v", got, want)
		}
		if got := read(builds.Filter{Team: "foreign"}); len(got) != 0 {
			t.Errorf("the list of another team is %v", got)
		}
		if got := read(builds.Filter{Team: "second"}); !slices.Equal(got, want[4:8]) {
			t.Errorf("the list of a team is %v", got)
		}
	})
}
