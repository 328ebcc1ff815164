package workflows_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/workflows"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

var digest = "sha256:" + strings.Repeat("ab", 32)

func TestTheRepositorysNumberIsLearnedOrAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	if d := w.save(); d.GitHubID != 42 || d.Repository != "acme/shop" || d.Path != path || !d.Connected || !strings.Contains(d.File, "payments/checkout") {
		t.Errorf("%+v", d.Workflow)
	}
	w.alone = true
	_, err := w.service.Save(w.as(w.Maintainer), w.App.ID, workflows.WorkflowInput{})
	if e, ok := errors.AsType[*models.Error](err); !ok || e.Fields["repository_id"] == "" {
		t.Errorf("without a connection: %v", err)
	}
	if d, err := w.service.Save(w.as(w.Maintainer), w.App.ID, workflows.WorkflowInput{GitHubID: 7}); err != nil || d.GitHubID != 7 || d.Connected {
		t.Errorf("a number that was typed: %v", err)
	}
}

func TestOnlyMaintainersSayWhichRunsAreTrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	for u, code := range map[*models.User]models.Code{w.Developer: models.Denied, w.Viewer: models.Denied, w.Stranger: models.NotFound} {
		if _, err := w.service.Save(w.as(u), w.App.ID, workflows.WorkflowInput{}); !models.IsCode(err, code) {
			t.Errorf("%s saves: %v", u.Name, err)
		}
		if err := w.service.Delete(w.as(u), w.App.ID); !models.IsCode(err, code) {
			t.Errorf("%s deletes: %v", u.Name, err)
		}
	}
	if n := w.count(&models.Workflow{}); n != 0 {
		t.Errorf("%d workflows", n)
	}
	w.save()
	if err := w.service.Delete(w.as(w.Maintainer), w.App.ID); !models.IsCode(err, models.Conflict) {
		t.Errorf("deleting what builds the app: %v", err)
	}
	w.must(w.db.Model(w.App).Update("builder", models.BuilderBuildKit).Error)
	w.must(w.service.Delete(w.as(w.Maintainer), w.App.ID))
}

func TestWrongSettingsNameTheField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	for _, c := range []struct {
		field string
		in    workflows.WorkflowInput
	}{
		{"repository", workflows.WorkflowInput{Repository: "acme"}}, {"repository", workflows.WorkflowInput{Repository: "acme/../shop"}}, {"repository", workflows.WorkflowInput{Repository: "a/b/c", GitHubID: 1}},
		{"repository_id", workflows.WorkflowInput{GitHubID: -1}}, {"issuer", workflows.WorkflowInput{Issuer: "https://evil.example.test"}},
		{"path", workflows.WorkflowInput{Path: ".github/workflows/../../x.yml"}}, {"path", workflows.WorkflowInput{Path: "x.yml"}}, {"path", workflows.WorkflowInput{Path: ".github/workflows/$(id).yml"}},
		{"refs", workflows.WorkflowInput{Refs: []string{"${{ x }}"}}}, {"refs", workflows.WorkflowInput{Refs: []string{"refs/pull/*"}}}, {"refs", workflows.WorkflowInput{Refs: []string{"-x"}}}, {"refs", workflows.WorkflowInput{Refs: []string{"a\nb"}}},
		{"environment", workflows.WorkflowInput{Environment: "a\nb"}}, {"cache", workflows.WorkflowInput{Cache: "x"}}, {"destination", workflows.WorkflowInput{Destination: "x"}},
		{"image", workflows.WorkflowInput{Destination: models.DestinationECR, Settings: map[string]string{"role": "r", "region": "x"}}},
		{"image", workflows.WorkflowInput{Destination: models.DestinationGHCR, Image: "ghcr.io/x:latest"}}, {"image", workflows.WorkflowInput{Destination: models.DestinationGHCR, Image: "shop"}},
		{"role", workflows.WorkflowInput{Destination: models.DestinationECR, Image: "x.test/shop", Settings: map[string]string{"region": "x"}}},
		{"service_account", workflows.WorkflowInput{Destination: models.DestinationGAR, Image: "x.test/shop", Settings: map[string]string{"provider": "p", "service_account": "a b"}}},
	} {
		_, err := w.service.Save(w.as(w.Maintainer), w.App.ID, c.in)
		if e, ok := errors.AsType[*models.Error](err); !ok || e.Fields[c.field] == "" {
			t.Errorf("%s of %+v: %v", c.field, c.in, err)
		}
	}
	if n := w.count(&models.Workflow{}); n != 0 {
		t.Errorf("%d workflows", n)
	}
}

func TestAPullRequestBringsTheFileAndFollowsItsChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	d := w.save()
	branch := "slipway/checkout-workflow"
	first, err := w.service.Propose(w.as(w.Developer), w.App.ID)
	w.must(err)
	if w.hub.File(branch, path) != d.File || w.hub.File("main", path) != "" {
		t.Error("the file is not on the branch alone")
	}
	_, err = w.service.Save(w.as(w.Maintainer), w.App.ID, workflows.WorkflowInput{OnPush: false, Environment: "production"})
	w.must(err)
	second, err := w.service.Propose(w.as(w.Developer), w.App.ID)
	w.must(err)
	if first != second || len(w.hub.Pulls()) != 1 || !strings.Contains(w.hub.File(branch, path), "production") {
		t.Errorf("the change went to %s, not %s", second, first)
	}
	w.hub.Merge(branch)
	if _, err := w.service.Propose(w.as(w.Developer), w.App.ID); !models.IsCode(err, models.Conflict) {
		t.Errorf("nothing is left to propose: %v", err)
	}
	_, err = w.service.Save(w.as(w.Maintainer), w.App.ID, workflows.WorkflowInput{})
	w.must(err)
	c, err := w.service.Compare(w.as(w.Viewer), w.App.ID)
	w.must(err)
	if !c.There || c.Same || !strings.Contains(c.Diff, "-    environment: \"production\"") {
		t.Errorf("%+v", c)
	}
	third, err := w.service.Propose(w.as(w.Developer), w.App.ID)
	w.must(err)
	if third == first || len(w.hub.Pulls()) != 2 {
		t.Errorf("the merged pull request was used again: %s", third)
	}
	var n int64
	w.must(w.db.Model(&models.AuditEntry{}).Where("action = ?", "workflow.propose").Count(&n).Error)
	if n != 3 {
		t.Errorf("%d entries in the audit log", n)
	}
}

func TestNoPullRequestGoesToARepositoryThatTookOverTheName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	_, err := w.service.Save(w.as(w.Maintainer), w.App.ID, workflows.WorkflowInput{GitHubID: 41})
	w.must(err)
	if _, err := w.service.Propose(w.as(w.Developer), w.App.ID); !models.IsCode(err, models.Conflict) || len(w.hub.Pulls()) != 0 {
		t.Errorf("%v", err)
	}
}

func TestWhatGitHubRefusesHasWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.save()
	for status, code := range map[int]models.Code{401: models.Conflict, 403: models.Conflict, 422: models.Conflict, 500: models.Unavailable} {
		w.hub.Fail(func(*http.Request) (int, map[string]string) { return status, nil })
		_, err := w.service.Propose(w.as(w.Developer), w.App.ID)
		if e, ok := errors.AsType[*models.Error](err); !ok || e.Code != code || strings.Contains(e.Message, "script>") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func report(build string) workflows.Report {
	return workflows.Report{Build: build, Commit: commit, Image: "portal.example.test/payments/checkout", Digest: digest, Tags: []string{"main"}}
}

func TestARunThatNobodyAskedForBecomesABuild(t *testing.T) {
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.save()
		run := w.run(77, nil)
		b, err := w.service.Report(run, report(""))
		w.must(err)
		if b.Trigger != models.TriggerForge || b.Ref != "main" || b.RefKind != "branch" || b.Commit != commit || b.CreatedByName != "mira" || b.Builder != models.BuilderActions {
			t.Errorf("%+v", b)
		}
		if row := w.row(b.ID); row.RunID != 77 || row.ImageDigest != digest || row.ReportedAt == nil {
			t.Errorf("%+v", row)
		}
		again, err := w.service.Report(run, report(""))
		if err != nil || again.ID != b.ID || w.count(&models.Build{}) != 1 {
			t.Errorf("saying it again: %v %v", again, err)
		}
		other := report("")
		other.Digest = "sha256:" + strings.Repeat("cd", 32)
		if _, err := w.service.Report(run, other); !models.IsCode(err, models.Conflict) {
			t.Errorf("another digest of the same run: %v", err)
		}
		if c, err := w.service.Report(w.run(77, map[string]any{"run_attempt": "2"}), report("")); err != nil || c.ID == b.ID {
			t.Errorf("the run's second attempt: %v %v", c, err)
		}
	})
}

func TestAReportFindsTheBuildThatAskedForTheRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.save()
	b := w.dispatched(commit)
	got, err := w.service.Report(w.run(78, nil), report(b.ID))
	if err != nil || got.ID != b.ID {
		t.Fatalf("%v %v", got, err)
	}
	if row := w.row(b.ID); row.RunID != 78 || row.ImageDigest != digest {
		t.Errorf("%+v", row)
	}
	other := w.dispatched(strings.Repeat("f", 40))
	if _, err := w.service.Report(w.run(79, nil), report(other.ID)); !models.IsCode(err, models.Invalid) {
		t.Errorf("a report of another commit: %v", err)
	}
	if _, err := w.service.Report(w.run(80, nil), report(b.ID)); err != nil { // not its run: a build of its own
		t.Error(err)
	}
	if row := w.row(b.ID); row.RunID != 78 {
		t.Errorf("another run took the build over: %+v", row)
	}
}

func TestOnlyARunReportsAndOnlyItsOwnImage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.save()
	for u, ctx := range map[string]func() error{
		"an admin":  func() error { _, err := w.service.Report(w.as(w.Admin), report("")); return err },
		"a builder": func() error { _, err := w.service.Report(w.system(), report("")); return err },
	} {
		if err := ctx(); !models.IsCode(err, models.Denied) {
			t.Errorf("%s: %v", u, err)
		}
	}
	if _, err := w.service.Report(t.Context(), report("")); !models.IsCode(err, models.Unauthorized) {
		t.Errorf("a stranger: %v", err)
	}
	run := w.run(81, nil)
	for field, change := range map[string]func(*workflows.Report){
		"image":  func(r *workflows.Report) { r.Image = "portal.example.test/payments/till" },
		"digest": func(r *workflows.Report) { r.Digest = "latest" },
		"commit": func(r *workflows.Report) { r.Commit = "main" },
		"tags":   func(r *workflows.Report) { r.Tags = []string{"a b"} },
	} {
		in := report("")
		change(&in)
		_, err := w.service.Report(run, in)
		if e, ok := errors.AsType[*models.Error](err); !ok || e.Fields[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	if w.count(&models.Build{}) != 0 {
		t.Error("a build was made")
	}
}

func TestAWebhookOfARunMakesABuildOrWakesOne(t *testing.T) {
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.save()
		hook := func(body []byte) string {
			t.Helper()
			said, err := w.service.Webhook(w.system(), w.connection.ID, workflows.EventRun, body)
			w.must(err)
			return said
		}
		pushed := w.hub.Start(path, "push", "main", commit)
		if said := hook(pushed.WebhookBody("requested")); !strings.Contains(said, "Build #1 follows the run") {
			t.Error(said)
		}
		var b models.Build
		w.must(db.Take(&b).Error)
		if b.Trigger != models.TriggerForge || b.CommitSubject != "Sell apples" || b.CommitAuthor != "Mira" || b.CreatedByName != "mira" {
			t.Errorf("%+v", b)
		}
		if said := hook(pushed.WebhookBody("completed")); !strings.Contains(said, "is looked at") || w.count(&models.Build{}) != 1 {
			t.Error(said)
		}
		if got, err := w.service.Report(w.run(pushed.ID, nil), report("")); err != nil || got.ID != b.ID {
			t.Errorf("the run's report: %v %v", got, err)
		}
		for _, event := range []string{"pull_request", "pull_request_target", "issue_comment"} {
			if said := hook(w.hub.Start(path, event, "main", commit).WebhookBody("requested")); !strings.Contains(said, "no build") {
				t.Errorf("%s: %s", event, said)
			}
		}
		asked := w.dispatched(commit)
		run := w.hub.Start(path, "workflow_dispatch", "main", commit)
		run.Title = "Build checkout for Slipway (" + asked.ID + ")"
		hook(run.WebhookBody("requested"))
		if row := w.row(asked.ID); row.RunID != run.ID || row.NudgedAt == nil {
			t.Errorf("the build that asked for the run: %+v", row)
		}
		if said := hook(w.hub.Start(".github/workflows/other.yml", "push", "main", commit).WebhookBody("requested")); !strings.Contains(said, "No app") {
			t.Error(said)
		}
		if n := w.count(&models.Build{}); n != 2 {
			t.Errorf("%d builds", n)
		}
	})
}

func TestAWebhookOfAnotherConnectionOrFormDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.save()
	body := w.hub.Start(path, "push", "main", commit).WebhookBody("requested")
	if said, err := w.service.Webhook(w.system(), models.NewID(), workflows.EventRun, body); err != nil || !strings.Contains(said, "No app") {
		t.Errorf("another connection: %s %v", said, err)
	}
	for _, c := range []struct{ event, body string }{{workflows.EventRun, "{"}, {workflows.EventRun, "{}"}, {workflows.EventRun, "null"}, {workflows.EventJob, "["}, {"push", "{}"}} {
		if _, err := w.service.Webhook(w.system(), w.connection.ID, c.event, []byte(c.body)); !models.IsCode(err, models.Invalid) {
			t.Errorf("%s %s: %v", c.event, c.body, err)
		}
	}
	if _, err := w.service.Webhook(w.as(w.Admin), w.connection.ID, workflows.EventRun, body); !models.IsCode(err, models.Denied) {
		t.Errorf("a person: %v", err)
	}
	if n := w.count(&models.Build{}); n != 0 {
		t.Errorf("%d builds", n)
	}
}
