package handlers

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
)

// addPreview makes a preview of a pull request whose texts are hostile.
func (f *full) addPreview() {
	f.t.Helper()
	now := f.db.NowFunc()
	e := &models.Environment{ID: models.NewID(), TeamID: f.Team.ID, TargetID: f.Target.ID, Name: "pr-12-checkout", Kind: models.EnvironmentPreview, Position: -1, CreatedAt: now, UpdatedAt: now}
	p := &models.Preview{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, RepositoryID: f.Repository.ID, EnvironmentID: &e.ID, Number: 12, Title: hostile, Branch: hostile, PullURL: "javascript:alert(1)//", Author: hostile,
		State: models.PreviewLive, HeadID: f.places["ended build"], HeadNumber: 2, HeadState: models.BuildSucceeded, BuildID: f.places["ended build"], BuildNumber: 2, Commit: f.Build.Commit, Note: hostile,
		URL: "http://pr-12-checkout.apps.test", ExpiresAt: now.Add(time.Hour), StartedAt: &now, CreatedAt: now, UpdatedAt: now}
	f.create(e, &models.PreviewSettings{AppID: f.App.ID, TeamID: f.Team.ID, Enabled: true, TargetID: f.Target.ID, Hours: 72, UpdatedAt: now}, p)
	f.places["preview"], f.places["preview environment"] = p.ID, e.ID
}

func TestPagesOfPreviews(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	cookie := f.cookie(f.Maintainer)
	get := func(path string) string {
		t.Helper()
		w := f.send(ask{method: http.MethodGet, path: f.fill(path), cookie: cookie})
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %.200s", path, w.Code, w.Body)
		}
		return w.Body.String()
	}
	post := func(path, body string, status int) string {
		t.Helper()
		w := f.send(ask{method: http.MethodPost, path: f.fill(path), body: f.fill(body), cookie: cookie})
		if w.Code != status {
			t.Errorf("%s: %d %.300s", path, w.Code, w.Body)
		}
		return w.Body.String()
	}
	for path, wants := range map[string][]string{
		"/previews":               {"checkout #12", "1 of 10 previews"},
		"/previews?team={team}":   {"checkout #12", "shown below"},
		"/previews?state=ended":   {"No previews here"},
		"/apps/{app}/previews":    {"#12", "What previews are", "No pull request of this app is built"},
		"/previews/{preview}":     {"Deploy again", "More time", "Remove preview", "pr-12-checkout"},
		"/environments":           {"Previews"},
		"/apps/{app}/deployments": {"Previews"},
	} {
		text := get(path)
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q", path, want)
			}
		}
		if strings.Contains(text, "javascript:alert") && strings.Contains(text, `href="javascript:alert`) || strings.Contains(text, "<script>alert") {
			t.Errorf("%s holds what was planted", path)
		}
	}
	if w := f.send(ask{method: http.MethodGet, path: f.fill("/environments/{preview environment}"), cookie: cookie}); w.Code != http.StatusSeeOther || w.Header().Get("Location") != f.fill("/previews/{preview}") {
		t.Errorf("its environment's page leads to %d %s", w.Code, w.Header().Get("Location"))
	}
	if strings.Contains(get("/environments"), ">pr-12-checkout<") {
		t.Error("the preview is on the board")
	}
	if text := post("/apps/{app}/previews", "enabled=true&target_id=none&hours=0&at_most=500", http.StatusUnprocessableEntity); !strings.Contains(text, "An admin grants targets") || !strings.Contains(text, "as many as the team may have") {
		t.Errorf("a wrong form says %.2000s", text)
	}
	post("/apps/{app}/previews", "enabled=true&target_id={target}&template_id={environment}&secrets=true&hours=24&at_most=3", http.StatusSeeOther)
	if text := get("/apps/{app}/previews"); !strings.Contains(text, `value="24"`) || !strings.Contains(text, `value="3"`) {
		t.Error("what was saved is not shown")
	}
	post("/previews/{preview}/extend", "", http.StatusSeeOther)
	post("/previews/{preview}/redeploy", "", http.StatusSeeOther)
	post("/previews/{preview}/remove", "", http.StatusSeeOther)
	post("/previews/{preview}/extend", "", http.StatusConflict)
}
