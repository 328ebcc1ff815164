package previews_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/previews"
)

// answer asks what the preview's route leads to.
func (w *world) answer(p *models.Preview) string {
	w.t.Helper()
	var r models.Route
	w.must(w.db.Take(&r, "environment_id = ?", p.EnvironmentID).Error)
	if len(r.Addresses) == 0 {
		return ""
	}
	res, err := http.Get("http://" + r.Addresses[0] + "/version")
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	w.must(err)
	return strings.TrimSpace(string(body))
}

// leftAtTarget says which instances and networks the target has; nothing where there are none.
func (w *world) leftAtTarget() string {
	w.t.Helper()
	target, err := docker.Kind("").Open(deploy.Config{ID: w.Target.ID})
	w.must(err)
	defer target.Close()
	instances, err := target.List(w.t.Context())
	w.must(err)
	networks, err := dockertest.Engine(w.t).NetworkList(w.t.Context(), network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", "slipway.target="+w.Target.ID))})
	w.must(err)
	if len(instances)+len(networks) == 0 {
		return ""
	}
	return fmt.Sprintf("the instances %+v and the networks %+v", instances, networks)
}

// nothingIsLeft checks that the target has neither instances nor networks, and the database no environments, addresses and deployments.
func (w *world) nothingIsLeft() {
	w.t.Helper()
	if left := w.leftAtTarget(); left != "" {
		w.t.Errorf("left are %s", left)
	}
	for what, q := range map[string]*gorm.DB{"environments": w.db.Model(&models.Environment{}).Where("kind = ?", models.EnvironmentPreview),
		"routes": w.db.Model(&models.Route{}), "deployments": w.db.Model(&models.Deployment{})} {
		var n int64
		if w.must(q.Count(&n).Error); n != 0 {
			w.t.Errorf("%d %s are left", n, what)
		}
	}
}

func TestAPullRequestHasAPreviewUntilItIsClosed(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.works()
		w.works() // two workers tend at once
		w.built(12, "one")
		first := w.until(12, "ready", func(p *models.Preview) bool { return p.Status() == "ready" })
		if first.URL != "http://pr-12-checkout.localhost:8080" || first.Environment.Kind != models.EnvironmentPreview || first.Environment.Name != "pr-12-checkout" || first.Title != "Better shop" || first.Author != "bob" {
			t.Errorf("the preview is %+v in %+v", first, first.Environment)
		}
		if got := w.answer(first); got != "one" {
			t.Fatalf("it answers %q", got)
		}
		w.built(12, "two")
		second := w.until(12, "updated", func(p *models.Preview) bool { return p.Status() == "ready" && p.DeploymentID != first.DeploymentID })
		if got := w.answer(second); got != "two" || *second.EnvironmentID != *first.EnvironmentID || second.URL != first.URL {
			t.Errorf("after a push it answers %q: %+v", got, second)
		}
		var n int64
		if w.must(db.Model(&models.Deployment{}).Count(&n).Error); n != 2 {
			t.Errorf("two workers made %d deployments of 2 builds", n)
		}
		if !w.closes(12) {
			t.Error("there was nothing to close")
		}
		ended := w.until(12, "ended", func(p *models.Preview) bool { return p.State == models.PreviewEnded })
		if ended.EndReason != models.PreviewClosed || ended.EndedAt == nil || ended.EnvironmentID != nil || ended.URL != "" {
			t.Errorf("afterwards it is %+v", ended)
		}
		w.nothingIsLeft()
		for _, action := range []string{"preview.start", "environment.create", "deployment.deploy", "preview.end", "deployment.stop", "environment.delete"} {
			if w.must(db.Model(&models.AuditEntry{}).Where("action = ?", action).Count(&n).Error); n == 0 {
				t.Errorf("the audit log has no %s", action)
			}
		}
	})
}

func TestAPreviewWhoseDeploymentIsUnderWayEndsToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.works()
	w.App.HealthPath = "/never"
	w.must(w.db.Model(w.App).Update("health_path", "/never").Error)
	w.built(3, "one")
	w.until(3, "deploying", func(p *models.Preview) bool {
		return p.Deployment != nil && p.Deployment.State == models.DeploymentRunning
	})
	w.closes(3)
	w.until(3, "ended", func(p *models.Preview) bool { return p.State == models.PreviewEnded })
	w.nothingIsLeft()
}

func TestOfTwoWorkersOneMakesEachStep(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.previews.TeamLimit = 3
		_, other := w.services()
		other.Comment, other.TeamLimit, w.previews.Comment = nil, 3, nil
		for number := range int64(6) {
			w.built(number+1, "one")
		}
		both := func() {
			var running sync.WaitGroup
			for _, s := range []*previews.Service{w.previews, other} {
				running.Go(func() {
					for range 4 {
						if err := s.Tend(t.Context()); err != nil {
							t.Error(err)
						}
					}
				})
			}
			running.Wait()
		}
		both()
		count := func(what string, model any, where string, args ...any) {
			t.Helper()
			var n int64
			if w.must(db.Model(model).Where(where, args...).Count(&n).Error); n != 3 {
				t.Errorf("%d %s, want 3", n, what)
			}
		}
		count("live", &models.Preview{}, "state = ?", models.PreviewLive)
		count("queued", &models.Preview{}, "state = ?", models.PreviewQueued)
		count("environments", &models.Environment{}, "kind = ?", models.EnvironmentPreview)
		count("deployments", &models.Deployment{}, "1 = 1")
		for number := range int64(3) {
			w.closes(number + 1)
		}
		both()
		count("live", &models.Preview{}, "state = ?", models.PreviewLive)
		count("ended", &models.Preview{}, "state = ?", models.PreviewEnded)
		count("environments", &models.Environment{}, "kind = ?", models.EnvironmentPreview)
	})
}

func TestAPreviewEndsWhenNothingWasPushedForItsTime(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.set(previews.SettingsInput{Enabled: true, Hours: 24})
		w.built(5, "one")
		w.tend()
		w.clock.pass(20 * time.Hour)
		w.built(5, "two")
		w.clock.pass(20 * time.Hour)
		w.tend()
		if p := w.of(5); p.State != models.PreviewLive {
			t.Fatalf("20 hours after the last push it is %+v", p)
		}
		if _, err := w.previews.Extend(w.as["developer"], w.of(5).ID); err != nil {
			t.Fatal(err)
		}
		w.clock.pass(20 * time.Hour)
		w.tend()
		if p := w.of(5); p.State != models.PreviewLive {
			t.Fatalf("20 hours after it got more time it is %+v", p)
		}
		w.clock.pass(5 * time.Hour)
		w.tend()
		p := w.of(5)
		if p.State != models.PreviewEnded || p.EndReason != models.PreviewExpired || p.EnvironmentID != nil {
			t.Fatalf("after its time it is %+v", p)
		}
		_, err := w.previews.Extend(w.as["developer"], p.ID)
		wantCode(t, "more time for what has ended", err, models.Conflict)
		if _, err := w.previews.Redeploy(w.as["developer"], p.ID); err != nil {
			t.Fatal(err)
		}
		w.tend()
		if p := w.of(5); p.State != models.PreviewLive || p.Deployment == nil || p.Deployment.CreatedBy != w.Developer.ID || p.EndReason != "" {
			t.Errorf("deployed again it is %+v, %+v", p, p.Deployment)
		}
		if _, err := w.previews.Remove(w.as["developer"], p.ID); err != nil {
			t.Fatal(err)
		}
		w.tend()
		if p := w.of(5); p.State != models.PreviewEnded || p.EndReason != models.PreviewRemoved {
			t.Errorf("removed it is %+v", p)
		}
		w.built(5, "three")
		w.tend()
		if p := w.of(5); p.State != models.PreviewLive || p.Deployment == nil {
			t.Errorf("after the next push it is %+v", p)
		}
	})
}

func TestBeyondTheLimitPreviewsWaitAndTheOldestStartsFirst(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		if u, err := w.previews.SetLimit(w.as["admin"], "payments", 2); err != nil || u.Limit != 2 {
			t.Fatalf("%+v, %v", u, err)
		}
		for number := int64(1); number <= 4; number++ {
			w.built(number, "one")
			w.tend()
		}
		for number, want := range map[int64]models.PreviewState{1: models.PreviewLive, 2: models.PreviewLive, 3: models.PreviewQueued, 4: models.PreviewQueued} {
			if p := w.of(number); p.State != want {
				t.Errorf("%d is %+v", number, p)
			}
		}
		if p := w.of(3); !strings.Contains(p.Note, "The team has 2 previews at once, and no place is free.") {
			t.Errorf("it says %q", p.Note)
		}
		text, err := w.previews.CommentText(t.Context(), w.Repository.ID, 3)
		if err != nil || !strings.Contains(text, "The team has 2 previews at once") || !strings.Contains(text, "Waiting for a place") {
			t.Errorf("the comment says %q, %v", text, err)
		}
		if u, err := w.previews.Usage(w.as["viewer"], w.Team.ID); err != nil || u.Live != 2 || u.Queued != 2 || !u.Full() {
			t.Errorf("the usage is %+v, %v", u, err)
		}
		if all, err := w.previews.Limits(w.as["admin"]); err != nil || len(all) != 2 || all[0].Live != 2 || all[0].Queued != 2 || all[1].Limit != 10 {
			t.Errorf("the limits are %+v, %v", all, err)
		}
		w.built(3, "two") // a push does not lose its place in the line
		before := len(w.comments)
		w.tend()
		if len(w.comments) > before+1 {
			t.Errorf("what waits was told %d times why", len(w.comments)-before)
		}
		w.closes(1)
		w.tend()
		if w.of(1).State != models.PreviewEnded || w.of(3).State != models.PreviewLive || w.of(4).State != models.PreviewQueued {
			t.Errorf("after one was closed 1 is %s, 3 %s, 4 %s", w.of(1).State, w.of(3).State, w.of(4).State)
		}
		w.set(previews.SettingsInput{Enabled: true, AtMost: 1})
		w.closes(2)
		w.tend()
		if p := w.of(4); p.State != models.PreviewQueued || !strings.Contains(p.Note, "checkout has 1 preview at once") {
			t.Errorf("with a limit of the app it is %+v", p)
		}
		w.set(previews.SettingsInput{Enabled: false})
		w.tend()
		for number := int64(3); number <= 4; number++ {
			if p := w.of(number); p.State != models.PreviewEnded || p.EndReason != models.PreviewOff {
				t.Errorf("switched off %d is %+v", number, p)
			}
		}
	})
}

func TestABuildThatComesAfterTheEndStartsNothing(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		early := models.NewID()
		w.closes(8) // before anybody knew of it
		w.built(8, "late", func(b *models.Build) { b.DeliveryID = early })
		w.built(8, "again", func(b *models.Build) { b.DeliveryID = "" }) // built again by hand
		w.tend()
		if p := w.of(8); p.State != models.PreviewEnded || p.Wanted {
			t.Errorf("a build that was asked for before made it %+v", p)
		}
		list, err := w.previews.List(w.as["viewer"], previews.Filter{})
		if err != nil || len(list.Items) != 0 {
			t.Errorf("what never was shows: %+v, %v", list.Items, err)
		}
		w.built(8, "reopened")
		w.tend()
		if p := w.of(8); p.State != models.PreviewLive || p.Closed {
			t.Errorf("reopened it is %+v", p)
		}
		failed := w.built(8, "", func(b *models.Build) { b.State = models.BuildFailed })
		w.tend()
		if p := w.of(8); p.State != models.PreviewLive || p.HeadID != failed.ID || p.Wanted {
			t.Errorf("after a failed build it is %+v", p)
		}
		w.must(db.Model(w.App).Update("build_count", 1).Error)
		main := &models.Build{ID: models.NewID(), TeamID: w.Team.ID, AppID: w.App.ID, Number: 99, State: models.BuildSucceeded, Ref: "main", RefKind: "branch", QueuedAt: db.NowFunc(), CreatedAt: db.NowFunc()}
		w.must(db.Create(main).Error)
		w.moves(main)
		if p := w.of(8); p.HeadID != failed.ID {
			t.Errorf("a build of a branch moved it: %+v", p)
		}
	})
}

func TestABuildThatGoesOnDoesNotBringBackWhatAPersonRemoved(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		for number, was := range map[int64]models.PreviewState{9: models.PreviewEnded, 10: models.PreviewEnding} {
			if was == models.PreviewEnding { // one that runs already is removed step by step
				w.built(number, "one")
				w.tend()
			}
			b := w.built(number, "", func(b *models.Build) { b.State = models.BuildRunning })
			if p, err := w.previews.Remove(w.as["developer"], w.of(number).ID); err != nil || p.State != was {
				t.Fatalf("removed %d is %+v (%v)", number, p, err)
			}
			b.ImageRepository, b.ImageDigest = w.pushed("two")
			b.State = models.BuildSucceeded
			w.moves(b)
			w.tend()
			if p := w.of(number); p.State != models.PreviewEnded || p.EndReason != models.PreviewRemoved || p.Wanted || p.BuildID != b.ID || p.HeadState != models.BuildSucceeded {
				t.Errorf("after its build has ended %d is %+v", number, p)
			}
			if _, err := w.previews.Redeploy(w.as["developer"], w.of(number).ID); err != nil {
				t.Fatal(err)
			}
			w.tend()
			if p := w.of(number); p.State != models.PreviewLive || p.Deployment == nil || p.Deployment.BuildID == nil || *p.Deployment.BuildID != b.ID {
				t.Errorf("deployed again %d is %+v", number, p)
			}
		}
	})
}

func TestAPreviewTakesItsTemplatesVariablesAndNoSecretUnlessSaid(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		put := func(name, value string, secret bool) {
			t.Helper()
			_, err := w.deploy.SetVariable(w.as["developer"], deploy.VariableInput{EnvironmentID: w.Environment.ID, Name: name, Value: value, Secret: secret})
			w.must(err)
		}
		put("LEVEL", "debug", false)
		put("KEY", "s3cret", true)
		_, err := w.deploy.SetScale(w.as["developer"], deploy.ScaleInput{EnvironmentID: w.Environment.ID, AppID: w.App.ID, Scale: models.Scale{Replicas: 2, Memory: 64 << 20}})
		w.must(err)
		fork := func(b *models.Build) { b.Untrusted, b.PullRequest.Fork = true, true }
		sneaky := func(b *models.Build) { b.Untrusted = false } // of a pull request that once came from a fork
		check := func(number int64, version string, variables, secrets string, change ...func(*models.Build)) {
			t.Helper()
			w.built(number, version, change...)
			w.tend()
			p := w.of(number)
			if p.Deployment == nil || fmt.Sprint(p.Deployment.Config.Variables) != variables || strings.Contains(fmt.Sprint(p.Deployment.Config.Secrets), "KEY") != (secrets == "KEY") {
				t.Errorf("%d %s: %+v with %+v", number, version, p, p.Deployment)
			}
		}
		check(1, "none", "map[]", "")
		w.set(previews.SettingsInput{Enabled: true, TemplateID: w.Environment.ID})
		check(1, "variables", "map[LEVEL:debug]", "")
		if p := w.of(1); p.Deployment.Config.Scale.Replicas != 2 || p.Deployment.Config.Scale.Memory != 64<<20 {
			t.Errorf("the scale is %+v", p.Deployment.Config.Scale)
		}
		w.set(previews.SettingsInput{Enabled: true, TemplateID: w.Environment.ID, Secrets: true})
		put("LEVEL", "info", false)
		check(1, "secrets", "map[LEVEL:info]", "KEY")
		check(2, "fork", "map[LEVEL:info]", "", fork)
		check(2, "still-a-fork", "map[LEVEL:info]", "", sneaky)
		check(1, "untrusted", "map[LEVEL:info]", "", func(b *models.Build) { b.Untrusted = true })

		e := w.of(1).EnvironmentID
		_, err = w.deploy.SetVariable(w.as["maintainer"], deploy.VariableInput{EnvironmentID: *e, Name: "A", Value: "b"})
		wantCode(t, "a variable of its own", err, models.Conflict)
		_, err = w.deploy.Deploy(w.as["maintainer"], deploy.Input{EnvironmentID: *e, AppID: w.App.ID})
		wantCode(t, "another image", err, models.Conflict)
		wantCode(t, "deleting it", w.deploy.DeleteEnvironment(w.as["maintainer"], *e), models.Conflict)
		all, err := w.deploy.Environments(w.as["maintainer"], deploy.EnvironmentFilter{TeamID: w.Team.ID})
		if err != nil || len(all) != 1 {
			t.Errorf("previews are on the board: %+v, %v", all, err)
		}
		w.must(w.deploy.DeleteEnvironment(w.as["maintainer"], w.Environment.ID))
		w.built(1, "orphan")
		w.tend()
		if p := w.of(1); !strings.Contains(p.Note, "was deleted. Choose another one") || p.Status() != "deploying" && p.Status() != "failed" {
			t.Errorf("without its template it is %s, %q", p.Status(), p.Note)
		}
	})
}

func TestWhatRunsOfADeletedAppsPreviewsIsRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.works()
	w.built(4, "one")
	w.until(4, "ready", func(p *models.Preview) bool { return p.Status() == "ready" })
	w.must(w.db.Transaction(func(tx *gorm.DB) error {
		if err := w.previews.Unload(w.as["maintainer"], tx, w.App); err != nil {
			return err
		}
		return tx.Delete(&models.App{}, "id = ?", w.App.ID).Error
	}))
	for end := time.Now().Add(4 * time.Minute); ; <-time.After(50 * time.Millisecond) {
		left := w.leftAtTarget() // networks go after the last instance
		if left == "" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("left are %s", left)
		}
	}
	w.nothingIsLeft()
}

func TestWhoMayDoWhatWithPreviews(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.built(6, "one")
	w.tend()
	id := w.of(6).ID
	codes := map[string][3]models.Code{ // of a viewer's, a developer's and a maintainer's work
		"nobody": {models.Unauthorized, models.Unauthorized, models.Unauthorized}, "stranger": {models.NotFound, models.NotFound, models.NotFound},
		"viewer": {"", models.Denied, models.Denied}, "developer": {"", "", models.Denied}, "maintainer": {"", "", ""}, "admin": {"", "", ""},
	}
	for who, want := range codes {
		ctx := w.as[who]
		_, err := w.previews.Get(ctx, id)
		wantCode(t, who+" reads", err, want[0])
		_, err = w.previews.Settings(ctx, w.App.ID)
		wantCode(t, who+" reads the settings", err, want[0])
		_, err = w.previews.Usage(ctx, w.Team.ID)
		wantCode(t, who+" reads the usage", err, want[0])
		_, err = w.previews.Extend(ctx, id)
		wantCode(t, who+" gives more time", err, want[1])
		_, err = w.previews.Redeploy(ctx, id)
		wantCode(t, who+" deploys again", err, want[1])
		_, err = w.previews.SetSettings(ctx, w.App.ID, previews.SettingsInput{Enabled: true, TargetID: w.Target.ID})
		wantCode(t, who+" sets", err, want[2])
		_, err = w.previews.SetLimit(ctx, "payments", 5)
		wantCode(t, who+" limits", err, map[string]models.Code{"nobody": models.Unauthorized, "admin": ""}[who]+map[bool]models.Code{true: models.Denied}[who != "nobody" && who != "admin"])
	}
	_, err := w.previews.Remove(w.as["viewer"], id)
	wantCode(t, "a viewer removes", err, models.Denied)
	for field, in := range map[string]previews.SettingsInput{
		"hours": {Hours: -1}, "at_most": {AtMost: 1000}, "target_id": {Enabled: true, TargetID: "none"}, "template_id": {TemplateID: "none"},
	} {
		_, err := w.previews.SetSettings(w.as["maintainer"], w.App.ID, in)
		if e, ok := err.(*models.Error); !ok || e.Fields[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
}
