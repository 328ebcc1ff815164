package handlers

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
)

// moves writes down a deployment to which visitors move.
func (f *fixture) moves() *models.Deployment {
	f.t.Helper()
	now := f.db.NowFunc()
	until := now.Add(time.Hour)
	d := &models.Deployment{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, EnvironmentID: f.Environment.ID, Number: 2, State: models.DeploymentRunning,
		Action: models.ActionDeploy, CreatedAt: now, StartedAt: &now, Shift: models.Shift{Step: 1, Percent: 10, Until: &until}}
	d.Config.Gradual = models.Gradual{{Percent: 10, Minutes: 60}, {Percent: 50, Minutes: 5}}
	f.must(f.db.Create(d).Error)
	return d
}

func TestVisitorsOnTheirWayAreShownAndCanBeSentOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	former, d := f.runs(), f.moves()
	at := "/deployments/" + d.ID
	self := models.Proxy{ID: models.NewID(), SeenAt: f.db.NowFunc()}
	f.must(f.db.Create(&self).Error)
	f.must(f.db.Create(&[]models.ProxyHold{
		{ProxyID: self.ID, DeploymentID: d.ID, Tally: models.Tally{Answers: 40, Errors: 1}},
		{ProxyID: self.ID, DeploymentID: former.ID, Tally: models.Tally{Answers: 400}},
	}).Error)
	for path, words := range map[string][]string{
		at: {"10% of visitors go to this version", "it is 50%", "Send everyone now", "/cancel", "10% for 60 min, 50% for 5 min, then all",
			"Of 40 answers of the new version 2.5% were errors (5xx, or none came), of 400 of what serves beside it 0.0%."},
		"/environments/" + f.Environment.ID:  {"10% of visitors"},
		"/apps/" + f.App.ID + "/deployments": {"10% of visitors"},
		"/environments":                      {"10% of visitors"},
		"/api/v1" + at:                       {`"shift":{"step":1,"steps":2,"percent":10,`, `"gradual":[{"percent":10,"minutes":60}`, `"answers":{"new":{"answers":40,"errors":1},"former":{"answers":400,"errors":0}}`},
		"/api/v1/board?team=" + f.Team.Slug:  {`"percent":10`},
	} {
		page := f.send(ask{path: path, cookie: f.cookie(f.Developer)}).Body.String()
		for _, word := range words {
			if !strings.Contains(page, word) {
				t.Errorf("%s does not say %q", path, word)
			}
		}
	}
	if page := f.send(ask{path: at, cookie: f.cookie(f.Viewer)}).Body.String(); strings.Contains(page, "Send everyone now") || !strings.Contains(page, "it is 50%") {
		t.Error("a viewer gets the button, or not the rest")
	}
	if w := f.send(ask{method: "POST", path: at + "/everyone", cookie: f.cookie(f.Developer)}); w.Code != 303 {
		t.Errorf("sending everyone gives %d", w.Code)
	}
	if page := f.send(ask{path: at, cookie: f.cookie(f.Developer)}).Body.String(); !strings.Contains(page, "All of them follow in a moment") || strings.Contains(page, `action="`+at+`/everyone"`) {
		t.Error("the page does not follow")
	}
}

func TestStepsThatCanNotBeAreSaidAtTheirField(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := f.placeURL() + "/runtime"
	w := f.send(ask{method: "POST", path: path, cookie: f.cookie(f.Developer), body: "gradual=50%25+for+5+min,+10%25+for+5+min"})
	if page := w.Body.String(); w.Code != 422 || !strings.Contains(page, "can&#39;t follow 50%") || !strings.Contains(page, `value="50% for 5 min, 10% for 5 min"`) {
		t.Errorf("steps that shrink give %d", w.Code)
	}
	if w := f.send(ask{method: "POST", path: path, cookie: f.cookie(f.Developer), body: "gradual=10%25+for+5+min"}); w.Code != 303 {
		t.Errorf("good steps give %d", w.Code)
	}
	if page := f.send(ask{path: path, cookie: f.cookie(f.Developer)}).Body.String(); !strings.Contains(page, `value="10% for 5 min"`) {
		t.Error("the steps were not kept")
	}
}
