package hooks_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/forges"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/hooks"
)

func TestAPushToTheDefaultBranchIsBuiltAtItsCommit(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.connect(models.ForgeGitHub)
		before := w.repo.Git(t, "rev-parse", "main")
		after := w.repo.Commit(t, "main", "Sell more\n\nA lot.", gittest.Files{"main.go": "x"})
		later := w.repo.Commit(t, "main", "Later", gittest.Files{"main.go": "y"})
		d := w.work(w.send("push", w.hubPush("refs/heads/main", before, after, nil)))
		if told(d) != "checkout: queued build #1" || d.State != models.DeliveryHandled || d.Summary != "push to main by ada in acme/shop" {
			t.Errorf("got %s %q %q", d.State, d.Summary, told(d))
		}
		b := w.build(w.App.ID, 1)
		if b.Commit != after || b.Commit == later || b.Ref != "main" || b.RefKind != "branch" || b.Trigger != models.TriggerPush || b.State != models.BuildQueued ||
			b.CreatedBy != "" || b.CreatedByName != "ada" || b.CommitSubject != "Sell more" || b.CommitAuthor != "Ada Lovelace" || b.DeliveryID != d.ID || b.Untrusted {
			t.Errorf("got %+v", b)
		}
		if d.Outcomes[0].BuildID != b.ID || d.Outcomes[0].Kind != models.OutcomeQueued {
			t.Errorf("got %+v", d.Outcomes[0])
		}
		var r models.Repository
		w.must(db.Preload("Refs").Take(&r, "id = ?", w.Repository.ID).Error)
		if r.ExternalID != "77" || len(r.Refs) != 1 || r.Refs[0].Commit != later {
			t.Errorf("the repository learned %q and has %+v", r.ExternalID, r.Refs)
		}
		w.must(w.hooks.Work(w.as["system"], hooks.Args{DeliveryID: d.ID}))
		var n int64
		if w.must(db.Model(&models.Build{}).Count(&n).Error); n != 1 {
			t.Errorf("worked on twice it made %d builds", n)
		}
	})
}

func TestWhatIsPushedIsBuiltWhereTheAppWantsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitHub)
	base := w.repo.Git(t, "rev-parse", "main")
	skip := w.repo.Commit(t, "skip", "Only words\n\n[skip ci]", gittest.Files{"a": "1"})
	shout := w.repo.Commit(t, "shout", "[Skip Slipway] words", gittest.Files{"a": "2"})
	w.repo.Tag(t, "v1", base)
	tag := w.repo.Git(t, "rev-parse", "refs/tags/v1")
	type change = func(*models.Triggers)
	for _, test := range []struct {
		name          string
		change        change
		ref           string
		before, after string
		want          string
	}{
		{"another branch", nil, "refs/heads/other", base, base, "ignored: branch not wanted"},
		{"a branch by pattern", func(t *models.Triggers) { t.Branches = []string{"release/*"} }, "refs/heads/release/1", base, base, "queued build"},
		{"no branch of the pattern", func(t *models.Triggers) { t.Branches = []string{"release/*"} }, "refs/heads/release/1/2", base, base, "ignored: branch not wanted"},
		{"the default branch where others are named", func(t *models.Triggers) { t.Branches = []string{"release/*"} }, "refs/heads/main", base, base, "ignored: branch not wanted"},
		{"all but one", func(t *models.Triggers) { t.Branches = []string{"!wip/**"} }, "refs/heads/any", base, base, "queued build"},
		{"the one", func(t *models.Triggers) { t.Branches = []string{"**", "!wip/**"} }, "refs/heads/wip/a/b", base, base, "ignored: branch not wanted"},
		{"pushes are off", func(t *models.Triggers) { t.Push = false }, "refs/heads/main", base, base, "ignored: pushes don't build this app"},
		{"a tag", nil, "refs/tags/v1", "", tag, "ignored: tag not wanted"},
		{"a wanted tag", func(t *models.Triggers) { t.Tags = []string{"v*"} }, "refs/tags/v1", "", tag, "queued build"},
		{"another tag", func(t *models.Triggers) { t.Tags = []string{"v*"} }, "refs/tags/nightly", "", tag, "ignored: tag not wanted"},
		{"a deleted branch", nil, "refs/heads/main", base, "", "ignored: branch deleted"},
		{"a deleted tag", func(t *models.Triggers) { t.Tags = []string{"v*"} }, "refs/tags/v1", base, "", "ignored: tag deleted"},
		{"a skip marker", func(t *models.Triggers) { t.Branches = []string{"skip"} }, "refs/heads/skip", base, skip, "ignored: skip marker [skip ci]"},
		{"a skip marker in other letters", func(t *models.Triggers) { t.Branches = []string{"shout"} }, "refs/heads/shout", base, shout, "ignored: skip marker [skip slipway]"},
		{"a skip marker that does not count", func(t *models.Triggers) { t.Branches, t.SkipMarkers = []string{"skip"}, false }, "refs/heads/skip", base, skip, "queued build"},
	} {
		w.triggers(w.App.ID, func(tr *models.Triggers) {
			*tr = models.DefaultTriggers()
			if test.change != nil {
				test.change(tr)
			}
		})
		got := w.deliver("push", w.hubPush(test.ref, test.before, test.after, map[string]any{"pushed": test.name}))
		if !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q", test.name, got)
		}
	}
	var tagged models.Build
	w.must(w.db.Take(&tagged, "ref = ?", "v1").Error)
	if tagged.Commit != base || tagged.RefKind != "tag" {
		t.Errorf("the tag's object was not taken for its commit: %+v", tagged)
	}
}

func TestAnAppOfAMonorepoIsBuiltWhenItsFilesChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitHub)
	api, web := w.app(w.Repository.ID, "api"), w.app(w.Repository.ID, "web")
	w.triggers(w.App.ID, func(t *models.Triggers) { t.Paths = []string{"!docs/**"} })
	for id, paths := range map[string][]string{api.ID: {"api/**", "go.mod"}, web.ID: {"web/**", "!web/**/*.md"}} {
		w.triggers(id, func(t *models.Triggers) { t.Paths, t.Branches = paths, []string{"**"} })
	}
	built := func(payload map[string]any) string {
		t.Helper()
		d := w.work(w.send("push", payload))
		out := ""
		for _, name := range []string{"api", "checkout", "web"} {
			for _, o := range d.Outcomes {
				if o.App == name && o.Kind == models.OutcomeQueued {
					out += name + " "
				} else if o.App == name && o.Message != "ignored: no file of the app's paths changed" && o.Message != "ignored: branch not wanted" {
					t.Errorf("%s: %s", name, o.Message)
				}
			}
		}
		return strings.TrimSpace(out)
	}
	commits := func(files ...string) map[string]any {
		return map[string]any{"commits": []map[string]any{{"id": "x", "modified": files}}}
	}
	main := w.repo.Git(t, "rev-parse", "main")
	if got := built(w.hubPush("refs/heads/main", main, main, commits("api/main.go"))); got != "api checkout" {
		t.Errorf("by the payload: %q", got)
	}
	if got := built(w.hubPush("refs/heads/main", main, main, commits("docs/a.md", "web/b/readme.md"))); got != "checkout" {
		t.Errorf("by the payload, what is excluded: %q", got)
	}
	one := w.repo.Commit(t, "feature", "Web", gittest.Files{"web/index.html": "1"})
	if got := built(w.hubPush("refs/heads/feature", "", one, commits("api/lies.go"))); got != "web" {
		t.Errorf("a new branch: %q", got)
	}
	w.repo.Branch(t, "feature", main)
	two := w.repo.Commit(t, "feature", "Module", gittest.Files{"go.mod": "1"})
	forced := w.hubPush("refs/heads/feature", one, two, map[string]any{"forced": true})
	if got := built(forced); got != "api web" {
		t.Errorf("a force push, which takes the web's file away: %q", got)
	}
	gone := w.hubPush("refs/heads/feature", strings.Repeat("ab", 20), two, map[string]any{"forced": true})
	if got := built(gone); got != "api web" {
		t.Errorf("nothing to compare with: %q", got)
	}
}

func TestAListOfCommitsThatIsCutIsNotTakenForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.triggers(w.App.ID, func(t *models.Triggers) { t.Paths = []string{"api/**"} })
	before := w.repo.Git(t, "rev-parse", "main")
	after := w.repo.Commit(t, "main", "API", gittest.Files{"api/x": "1"})
	shown := []map[string]any{{"id": after, "message": "API", "modified": []string{"docs/a.md"}}}
	lab := map[string]any{"object_kind": "push", "ref": "refs/heads/main", "before": before, "after": after, "checkout_sha": after, "user_username": "ada", "commits": shown,
		"project": map[string]any{"id": 5, "path_with_namespace": "acme/shop", "git_http_url": w.repo.URL, "default_branch": "main"}}
	w.connect(models.ForgeGitLab)
	lab["total_commits_count"] = 1
	if got := w.deliver("Push Hook", lab); got != "checkout: ignored: no file of the app's paths changed" {
		t.Errorf("GitLab, all: %q", got)
	}
	lab["total_commits_count"] = 21
	if got := w.deliver("Push Hook", lab); got != "checkout: queued build #1" {
		t.Errorf("GitLab, cut: %q", got)
	}
	w.must(w.forges.Delete(w.as["maintainer"], w.connection.ID))
	w.connect(models.ForgeGitea)
	if got := w.deliver("push", w.hubPush("refs/heads/main", before, after, map[string]any{"commits": shown, "total_commits": 1})); got != "checkout: ignored: no file of the app's paths changed" {
		t.Errorf("Gitea, all: %q", got)
	}
	if got := w.deliver("push", w.hubPush("refs/heads/main", before, after, map[string]any{"commits": shown, "total_commits": 40})); got != "checkout: queued build #2" {
		t.Errorf("Gitea, cut: %q", got)
	}
}

func TestOnePushReachesEveryAppOfEveryRepositoryOfTheConnectionAtItsURL(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.connect(models.ForgeGitHub)
		w.app(w.Repository.ID, "api")
		add := func(team, name, url string, connection *string) string {
			r := models.Repository{ID: models.NewID(), TeamID: team, Name: name, CloneURL: url, DefaultBranch: "main", CredentialKind: models.CredentialNone, State: models.RepositoryReady, ConnectionID: connection}
			w.must(db.Create(&r).Error)
			return r.ID
		}
		w.app(add(w.Team.ID, "twin", "http://127.0.0.1/ACME/shop", &w.connection.ID), "twin")
		w.app(add(w.Team.ID, "elsewhere", "http://127.0.0.1/acme/other.git", &w.connection.ID), "elsewhere")
		w.app(add(w.Team.ID, "unconnected", w.repo.URL, nil), "unconnected")
		add(w.Team.ID, "empty", "git@127.0.0.1:acme/shop.git", &w.connection.ID)
		w.app(add(w.OtherTeam.ID, "of others", w.repo.URL, nil), "of-others")
		main := w.repo.Git(t, "rev-parse", "main")
		d := w.work(w.send("push", w.hubPush("refs/heads/main", main, main, nil)))
		got := map[string]bool{}
		for _, o := range d.Outcomes {
			got[o.App+": "+o.Message] = true
		}
		if len(got) != 4 || !got["checkout: queued build #1"] || !got["api: queued build #1"] || !got["twin: queued build #1"] || !got[": ignored: the repository has no app"] {
			t.Errorf("got %v", got)
		}
	})
}

func TestAPushOfARepositoryThatIsNotHereIsIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitHub)
	main := w.repo.Git(t, "rev-parse", "main")
	push := func(id int, url string) string {
		return w.deliver("push", w.hubPush("refs/heads/main", main, main, map[string]any{
			"repository": map[string]any{"id": id, "full_name": "acme/x", "clone_url": url, "default_branch": "main"}}))
	}
	if got := push(77, "https://elsewhere.example.test/acme/shop.git"); got != "No repository of this connection has the URL of acme/x." {
		t.Errorf("another URL: %q", got)
	}
	if got := push(77, w.repo.URL); got != "checkout: queued build #1" {
		t.Errorf("its URL: %q", got)
	}
	if got := push(78, w.repo.URL); !strings.Contains(got, "its id at the forge is 78, but Slipway knows it as 77") {
		t.Errorf("its URL under another id: %q", got)
	}
	if got := push(77, "https://elsewhere.example.test/acme/renamed.git"); got != "checkout: queued build #2" {
		t.Errorf("its id under another URL: %q", got)
	}
}

func TestEventsThatMeanNothingAreAnsweredAndListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitHub)
	for event, want := range map[string]string{"star": "Slipway does nothing with events of this kind.", "ping": "The forge reaches Slipway, and its secret is right."} {
		if got := w.deliver(event, map[string]any{"zen": event, "repository": nil}); got != want {
			t.Errorf("%s: %q", event, got)
		}
	}
	for what, body := range map[string]string{
		"no JSON": "hello", "a form": "payload=%7B%7D", "a list": "[]", "deep": strings.Repeat(`{"a":`, 20_000), "a number as text": `{"ref":"refs/heads/main","repository":{"id":"x"}}`,
		"a large number": `{"ref":"refs/heads/main","repository":{"id":1e400}}`, "no ref": `{}`, "an option as ref": `{"ref":"refs/heads/--upload-pack=x","after":"` + strings.Repeat("a", 40) + `"}`,
		"no commit": `{"ref":"refs/heads/main","after":"HEAD"}`, "shell": `{"ref":"refs/heads/$(touch x);","after":"zz"}`,
	} {
		d := w.work(w.send("push", []byte(body)))
		if d.State != models.DeliveryFailed || !strings.HasPrefix(d.Message, "The payload") {
			t.Errorf("%s: %s %q", what, d.State, d.Message)
		}
	}
}

func TestAPushIsBuiltThoughItsRepositoryCanNotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitHub)
	w.triggers(w.App.ID, func(t *models.Triggers) { t.Paths = []string{"api/**"} })
	main := w.repo.Git(t, "rev-parse", "main")
	w.server.RequireAuth("nobody", "knows")
	got := w.deliver("push", w.hubPush("refs/heads/main", "", main, map[string]any{"head_commit": map[string]any{"id": main, "message": "From the payload\nmore", "author": map[string]any{"name": "Grace"}}}))
	if b := w.build(w.App.ID, 1); got != "checkout: queued build #1" || b.CommitSubject != "From the payload" || b.CommitAuthor != "Grace" {
		t.Errorf("got %q, %+v", got, b)
	}
}

func TestANewerPushTakesThePlaceOfTheOneThatWaits(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.connect(models.ForgeGitHub)
		w.triggers(w.App.ID, func(t *models.Triggers) { t.Branches = []string{"main", "other"} })
		main := w.repo.Git(t, "rev-parse", "main")
		push := func(ref string) string {
			w.n++
			return w.send("push", w.hubPush(ref, main, main, map[string]any{"n": w.n}))
		}
		one, elsewhere := w.work(push("refs/heads/main")), w.work(push("refs/heads/other"))
		w.must(db.Create(&models.Build{ID: models.NewID(), TeamID: w.Team.ID, AppID: w.App.ID, Number: 90, State: models.BuildQueued, Trigger: models.TriggerManual, Ref: "main", RefKind: "branch", Commit: main, Dockerfile: "Dockerfile", Context: "."}).Error)
		w.must(db.Create(&models.Build{ID: models.NewID(), TeamID: w.Team.ID, AppID: w.App.ID, Number: 91, State: models.BuildRunning, Trigger: models.TriggerPush, Ref: "main", RefKind: "branch", Commit: main, Dockerfile: "Dockerfile", Context: "."}).Error)
		older, newer := push("refs/heads/main"), push("refs/heads/main")
		if got := told(w.work(newer)); got != "checkout: queued build #3" {
			t.Errorf("the newer: %q", got)
		}
		if got := w.work(older); told(got) != "checkout: superseded by build #3" || got.Outcomes[0].Kind != models.OutcomeSuperseded {
			t.Errorf("the older, whose worker was slower: %q", told(got))
		}
		for number, want := range map[int64]models.BuildState{1: models.BuildCanceled, 2: models.BuildQueued, 3: models.BuildQueued, 90: models.BuildQueued, 91: models.BuildRunning} {
			if b := w.build(w.App.ID, number); b.State != want {
				t.Errorf("build %d is %s", number, b.State)
			}
		}
		if b := w.build(w.App.ID, 1); b.Error == nil || b.Error.Message != "Superseded by build #3." || b.Error.Class != "canceled" || b.FinishedAt == nil {
			t.Errorf("got %+v", b.Error)
		}
		_, _ = one, elsewhere
	})
}

func TestOfPushesThatAreWorkedOnAtOnceExactlyTheNewestIsBuilt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.connect(models.ForgeGitHub)
		api := w.app(w.Repository.ID, "api")
		main := w.repo.Git(t, "rev-parse", "main")
		var ids []string
		for i := range 6 {
			ids = append(ids, w.send("push", w.hubPush("refs/heads/main", main, main, map[string]any{"n": i})))
		}
		var wg sync.WaitGroup
		for _, id := range ids {
			for range 2 {
				wg.Go(func() {
					if err := w.hooks.Work(w.as["system"], hooks.Args{DeliveryID: id}); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		for _, app := range []string{w.App.ID, api.ID} {
			var queued []models.Build
			w.must(db.Where("app_id = ? AND state = ?", app, models.BuildQueued).Find(&queued).Error)
			if len(queued) != 1 || queued[0].DeliveryID != ids[len(ids)-1] {
				t.Errorf("queued: %+v", queued)
			}
			var all []models.Build
			w.must(db.Where("app_id = ?", app).Order("number").Find(&all).Error)
			for i, b := range all {
				if b.Number != int64(i+1) || b.ID != queued[0].ID && b.State != models.BuildCanceled {
					t.Errorf("build %d of %d: number %d, %s", i+1, len(all), b.Number, b.State)
				}
			}
		}
	})
}

func TestAConnectionSeesItsOwnRepositoriesAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitHub)
	other, secret, err := w.forges.Create(w.as["stranger"], forges.NewConnection{Team: w.OtherTeam.Slug, Kind: models.ForgeGitHub, BaseURL: "http://127.0.0.1"})
	w.must(err)
	main := w.repo.Git(t, "rev-parse", "main")
	w.connection, w.secret = other, secret
	w.n++
	id := w.send("push", w.hubPush("refs/heads/main", main, main, nil))
	w.must(w.hooks.Work(w.as["system"], hooks.Args{DeliveryID: id}))
	d, _, err := w.hooks.Get(w.as["stranger"], id)
	if err != nil || told(d) != "No repository of this connection has the URL of acme/shop." {
		t.Errorf("got %v, %v", fmt.Sprint(told(d)), err)
	}
}
