package handlers

import (
	"strings"
	"testing"

	"slipway.dev/models"
)

// built writes down a deployment of the build that does not serve any more.
func (f *fixture) built() *models.Deployment {
	f.t.Helper()
	now := f.db.NowFunc()
	d := &models.Deployment{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, EnvironmentID: f.Environment.ID, Number: 7, State: models.DeploymentSucceeded, Action: models.ActionDeploy,
		BuildID: &f.Build.ID, ImageDigest: "sha256:" + strings.Repeat("87c7aa86", 8), CreatedAt: now, StartedAt: &now, FinishedAt: &now}
	f.must(f.db.Create(d).Error)
	return d
}

func TestADeploymentsPagesSayWhichNumberIsWhose(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d := f.built()
	for path, words := range map[string]string{
		"/deployments/" + d.ID:                "<title>✓ " + f.App.Name + " " + f.Build.Title() + " in " + f.Environment.Name + " · Slipway</title>",
		"/apps/" + f.App.ID + "/deployments":  "deployment #7",
		"/apps/" + f.App.ID + "/compare":      "#7 of build " + f.Build.Title(),
		"/environments/" + f.Environment.ID:   "deployment #7",
		"/deployments/" + d.ID + "?again=yes": "Roll back to this",
	} {
		if page := f.send(ask{path: path, cookie: f.cookie(f.Developer)}).Body.String(); !strings.Contains(page, words) {
			t.Errorf("%s does not say %q", path, words)
		}
	}
}

func TestNobodyIsOfferedToRollBackToAnImageThatIsMarkedBad(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d := f.built()
	f.must(f.db.Create(&models.BadImage{TeamID: f.Team.ID, Digest: d.ImageDigest, Reason: "It loses orders", CreatedAt: f.db.NowFunc()}).Error)
	page := f.send(ask{path: "/deployments/" + d.ID, cookie: f.cookie(f.Developer)}).Body.String()
	if !strings.Contains(page, "It loses orders") || strings.Contains(page, "Roll back to this") {
		t.Error("the page offers what would be refused, or does not say why")
	}
	for _, list := range []string{"deployments", "images"} {
		page := f.send(ask{path: "/apps/" + f.App.ID + "/" + list, cookie: f.cookie(f.Developer)}).Body.String()
		if strings.Contains(page, "Roll back") || list == "deployments" && !strings.Contains(page, "marked bad") {
			t.Errorf("the list of %s offers what would be refused, or does not say so", list)
		}
	}
}

func TestAnAppThatIsHealthyAndClosedIsShownAsBoth(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.runs()
	shown := func(want bool) {
		t.Helper()
		for path, words := range map[string]string{"/environments/" + f.Environment.ID: "visitors see the maintenance page", "/environments": "visitors see the maintenance page", "/api/v1/board?team=" + f.Team.Slug: `"maintenance":true`} {
			if page := f.send(ask{path: path, cookie: f.cookie(f.Viewer)}).Body.String(); strings.Contains(page, words) != want {
				t.Errorf("%s says that visitors do not reach the app: %v", path, !want)
			}
		}
	}
	shown(false)
	m := &models.Maintenance{EnvironmentID: f.Environment.ID, AppID: f.App.ID, StartedAt: f.db.NowFunc()}
	f.must(f.db.Create(m).Error)
	shown(true)
	over := f.db.NowFunc()
	f.must(f.db.Model(m).Update("ends_at", over).Error)
	shown(false)
}
