package forges_test

import (
	"fmt"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/forges"
	"slipway.dev/services/forges/forgetest"
)

// check returns the verdicts of a check as "Credential pass, Commit statuses fail".
func (w *world) check(t *testing.T, c *models.Connection) (string, []forges.Finding) {
	t.Helper()
	found, err := w.forges.Check(w.as["maintainer"], c.ID)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range found {
		all = append(all, f.Name+" "+string(f.Verdict))
		if f.Text == "" || strings.Contains(strings.ToUpper(f.Text), "CANARY") {
			t.Errorf("%s says %q", f.Name, f.Text)
		}
	}
	return strings.Join(all, ", "), found
}

func TestACheckFindsOutWhatACredentialMayDo(t *testing.T) {
	t.Parallel()
	const all = "Credential pass, Commit statuses pass, Pull requests pass, Contents pass"
	github := func(spoil func(*forgetest.GitHub), app bool) func(t *testing.T, w *world) *models.Connection {
		return func(t *testing.T, w *world) *models.Connection {
			g := forgetest.NewGitHub(t, "acme/shop")
			c := w.token(t, models.ForgeGitHub, g.URL, g.Token)
			if app {
				c = w.app(t, g)
			}
			w.host(t, g.URL, c)
			spoil(g)
			t.Cleanup(func() {
				if told := g.Statuses(); len(told) != 0 {
					t.Errorf("the check told %+v", told)
				}
			})
			return c
		}
	}
	gitlab := func(spoil func(*forgetest.GitLab)) func(t *testing.T, w *world) *models.Connection {
		return func(t *testing.T, w *world) *models.Connection {
			g := forgetest.NewGitLab(t, "acme/shop")
			c := w.token(t, models.ForgeGitLab, g.URL, g.Token)
			w.host(t, g.URL, c)
			spoil(g)
			return c
		}
	}
	gitea := func(spoil func(*forgetest.Gitea)) func(t *testing.T, w *world) *models.Connection {
		return func(t *testing.T, w *world) *models.Connection {
			g := forgetest.NewGitea(t, "acme/shop")
			c := w.token(t, models.ForgeGitea, g.URL, g.Token)
			w.host(t, g.URL, c)
			spoil(g)
			return c
		}
	}
	for name, c := range map[string]struct {
		connect func(t *testing.T, w *world) *models.Connection
		want    string
		words   string
	}{
		"a GitHub token":           {github(func(*forgetest.GitHub) {}, false), all + ", Actions pass", "accepts it"},
		"one without statuses":     {github(func(g *forgetest.GitHub) { g.Permit("statuses", "read") }, false), "Credential pass, Commit statuses fail, Pull requests pass, Contents pass, Actions pass", "Commit statuses: Read and write"},
		"a classic one":            {github(func(g *forgetest.GitHub) { g.Classic("repo:status, read:org") }, false), "Credential pass, Commit statuses pass, Pull requests fail, Contents fail, Actions fail", "scope repo"},
		"a classic one for all":    {github(func(g *forgetest.GitHub) { g.Classic("repo, workflow") }, false), all + ", Actions pass", "workflow files"},
		"a revoked one":            {github(func(g *forgetest.GitHub) { g.Revoke() }, false), "Credential fail", "revoked"},
		"a GitHub App":             {github(func(g *forgetest.GitHub) { g.Permit("actions", "") }, true), all + ", Actions fail, Workflows fail", "accept it for the installation"},
		"a GitHub App of no use":   {github(func(g *forgetest.GitHub) { g.InstallationID = "1" }, true), "Credential fail", "Install the app"},
		"a GitHub that is down":    {github(func(g *forgetest.GitHub) { g.Break(forgetest.Cut) }, false), "Credential fail", "can't be reached"},
		"a GitHub that is limited": {github(func(g *forgetest.GitHub) { g.Break(forgetest.Answer(429, "slow down")) }, true), "Credential fail", "no more calls"},
		"a GitLab token":           {gitlab(func(*forgetest.GitLab) {}), "Credential pass, Commit statuses pass, Merge requests pass, Contents pass", "It expires on"},
		"a reporter's":             {gitlab(func(g *forgetest.GitLab) { g.Grant(20, "api") }), "Credential pass, Commit statuses fail, Merge requests fail, Contents fail", "role Developer"},
		"one that may only push":   {gitlab(func(g *forgetest.GitLab) { g.Grant(30, "write_repository", "read_api") }), "Credential pass, Commit statuses fail, Merge requests fail, Contents pass", "scope api"},
		"a revoked GitLab token":   {gitlab(func(g *forgetest.GitLab) { g.Revoke() }), "Credential fail", "revoked"},
		"a Gitea token":            {gitea(func(*forgetest.Gitea) {}), all, "Allowed"},
		"a reader's":               {gitea(func(g *forgetest.Gitea) { g.Push(false) }), "Credential pass, Commit statuses fail, Pull requests pass, Contents fail", "write access"},
		"a revoked Gitea token":    {gitea(func(g *forgetest.Gitea) { g.Revoke() }), "Credential fail", "revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, modelstest.DB(t))
			got, found := w.check(t, c.connect(t, w))
			if got != c.want || !strings.Contains(fmt.Sprint(found), c.words) {
				t.Errorf("got %s: %+v", got, found)
			}
		})
	}
}

func TestACheckWithoutARepositorySaysSo(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitLab(t)
	got, _ := w.check(t, w.token(t, models.ForgeGitLab, g.URL, g.Token))
	if got != "Credential pass, Commit statuses unknown, Merge requests unknown, Contents unknown" {
		t.Error(got)
	}
}

func TestOnlyMaintainersCheckAConnection(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitea(t, "acme/shop")
	c := w.token(t, models.ForgeGitea, g.URL, g.Token)
	for who, want := range map[string]models.Code{"nobody": models.Unauthorized, "stranger": models.NotFound, "developer": models.Denied} {
		_, err := w.forges.Check(w.as[who], c.ID)
		wantCode(t, who, err, want)
	}
	silent, _ := w.connect(t, forges.NewConnection{Kind: models.ForgeGeneric, Name: "ci"})
	_, err := w.forges.Check(w.as["maintainer"], silent.ID)
	wantCode(t, "a connection without a credential", err, models.Conflict)
	if n := len(g.Requests()); n != 0 {
		t.Errorf("the forge was asked %d times", n)
	}
}
