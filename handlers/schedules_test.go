package handlers

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/forges"
)

func TestSchedulesAreMadeChangedPausedAndDeletedByForms(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cookie, list := f.cookie(f.Developer), "/apps/"+f.App.ID+"/schedules"
	post := func(path, body string) int {
		t.Helper()
		return f.send(ask{method: "POST", path: path, cookie: cookie, header: form, body: body}).Code
	}
	wrong := f.send(ask{method: "POST", path: list, cookie: cookie, header: form, body: "cron=every+night&time_zone=Atlantis&ref=typed&only_new=true"})
	page := wrong.Body.String()
	for _, part := range []string{`id="f-cron-error"`, `id="f-time_zone-error"`, `value="every night"`, `value="typed"`, `name="only_new" value="true" checked`} {
		if wrong.Code != http.StatusUnprocessableEntity || !strings.Contains(page, part) {
			t.Errorf("a wrong form is answered with %d and lacks %s", wrong.Code, part)
		}
	}
	if code := post(list, "cron=30+2+*+*+*&time_zone=Europe%2FBerlin&ref=release&no_cache=true"); code != http.StatusSeeOther {
		t.Fatalf("making a schedule: %d", code)
	}
	var s models.Schedule
	f.must(f.db.Take(&s).Error)
	if s.Cron != "30 2 * * *" || s.Ref != "release" || !s.NoCache || s.OnlyNew || !s.Enabled || s.CreatedByName == "" {
		t.Errorf("the schedule is %+v", s)
	}
	page = f.send(ask{path: list, cookie: cookie}).Body.String()
	berlin, err := time.LoadLocation("Europe/Berlin")
	f.must(err)
	for _, part := range []string{"30 2 * * *", "Europe/Berlin", "release", s.NextAt.In(berlin).Format("Mon 2 Jan, 15:04"), "/schedules/" + s.ID + "/pause"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
	if page := f.send(ask{path: list, cookie: f.cookie(f.Viewer)}).Body.String(); !strings.Contains(page, "30 2 * * *") || strings.Contains(page, "/pause") || strings.Contains(page, `name="cron"`) {
		t.Error("a viewer sees no list, or forms")
	}
	steps := []struct{ path, body string }{{"/schedules/" + s.ID, "cron=@weekly&time_zone=UTC&ref=&only_new=true"}, {"/schedules/" + s.ID + "/pause", ""}}
	for _, step := range steps {
		if code := post(step.path, step.body); code != http.StatusSeeOther {
			t.Errorf("%s: %d", step.path, code)
		}
	}
	var after models.Schedule
	f.must(f.db.Take(&after).Error)
	if after.Cron != "@weekly" || after.TimeZone != "UTC" || after.Ref != "" || after.NoCache || !after.OnlyNew || after.Enabled || after.NextAt != nil {
		t.Errorf("changed and paused, the schedule is %+v", after)
	}
	if code := post("/schedules/"+s.ID+"/delete", ""); code != http.StatusSeeOther {
		t.Errorf("deleting: %d", code)
	}
	if page := f.send(ask{path: list, cookie: cookie}).Body.String(); !strings.Contains(page, "No schedules yet") {
		t.Error("the list is not empty again")
	}
}

// report is what the forge of the connection is to be told of the build, and why it could not be.
func (f *fixture) report(b *models.Build, connection, failure string) {
	f.t.Helper()
	now := f.db.NowFunc()
	f.must(f.db.Create(&models.ForgeReport{ID: models.NewID(), TeamID: b.TeamID, AppID: b.AppID, Commit: b.Commit, ConnectionID: connection, RepositoryID: f.Repository.ID,
		BuildID: b.ID, Number: b.Number, State: b.State, Since: now, Error: failure, UpdatedAt: now}).Error)
}

func TestABuildsPageSaysWhetherTheForgeKnows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c, _, err := f.s.Forges.Create(modelstest.As(t, f.db, f.Maintainer), forges.NewConnection{Team: "payments", Kind: models.ForgeGitHub, Credential: models.ConnectionToken, Settings: map[string]string{"token": canary}})
	f.must(err)
	see := func() string {
		return f.send(ask{path: "/builds/" + f.Build.ID, cookie: f.cookie(f.Viewer)}).Body.String()
	}
	if strings.Contains(see(), `id="told"`) {
		t.Error("no forge is told, and the page says something")
	}
	f.report(f.Build, c.ID, "The token was revoked. Give another one.")
	if !strings.Contains(see(), "GitHub can&#39;t be told: The token was revoked. Give another one.") {
		t.Error("the page does not say that the forge can't be told")
	}
	if page := f.send(ask{path: "/connections/" + c.ID, cookie: f.cookie(f.Maintainer)}).Body.String(); !strings.Contains(page, "The token was revoked.") || strings.Contains(page, canary) {
		t.Error("the connection's page does not say it, or says too much")
	}
	f.must(f.db.Model(&models.ForgeReport{}).Where("1 = 1").Updates(map[string]any{"error": "", "sent": "success", "state": "succeeded"}).Error)
	if !strings.Contains(see(), "GitHub told: success") {
		t.Error("the page does not say that the forge knows")
	}
	call := f.send(ask{path: "/api/v1/builds/" + f.Build.ID, token: f.token(f.Viewer, models.ScopeRead)})
	if !strings.Contains(call.Body.String(), `"forge_status":{"forge":"GitHub","want":"success","sent":"success"`) {
		t.Errorf("the API says %s", call.Body)
	}
}
