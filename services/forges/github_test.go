package forges_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/forges"
	"slipway.dev/services/forges/forgetest"
	"slipway.dev/services/outbound"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// app connects the team with the GitHub as a GitHub App.
func (w *world) app(t *testing.T, g *forgetest.GitHub) *models.Connection {
	t.Helper()
	c, _ := w.connect(t, forges.NewConnection{Name: "app", Kind: models.ForgeGitHub, BaseURL: g.URL, Credential: models.ConnectionApp,
		Settings: map[string]string{"app_id": g.AppID, "installation_id": g.InstallationID, "private_key": g.PrivateKey}})
	return c
}

// token connects the team with a forge by a token.
func (w *world) token(t *testing.T, kind models.ForgeKind, url, token string) *models.Connection {
	t.Helper()
	c, _ := w.connect(t, forges.NewConnection{Kind: kind, BaseURL: url, Credential: models.ConnectionToken, Settings: map[string]string{"token": token}})
	return c
}

// github opens the connection's client.
func (w *world) github(t *testing.T, c *models.Connection) *github.Client {
	t.Helper()
	o, err := w.forges.Open(w.as["system"], c.ID)
	if err != nil {
		t.Fatal(err)
	}
	client, err := w.forges.GitHub(w.as["system"], o)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestAGitHubAppsTokenIsKeptUntilShortlyBeforeItsEnd(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitHub(t, "acme/shop")
	c := w.app(t, g)
	for range 3 {
		if _, _, err := w.github(t, c).Repositories.Get(t.Context(), "acme", "shop"); err != nil {
			t.Fatal(err)
		}
	}
	if g.Issued() != 1 {
		t.Errorf("%d tokens for three calls", g.Issued())
	}
	w.forges.Now = func() time.Time { return time.Now().Add(-50 * time.Second) } // a clock that is slow, so that GitHub still takes what it signs
	if _, _, err := w.github(t, c).Repositories.Get(t.Context(), "acme", "shop"); err != nil || g.Issued() != 1 {
		t.Errorf("a slow clock: %v, %d tokens", err, g.Issued())
	}
	g.Lifetime(4 * time.Minute) // shorter than what is left in reserve
	w.forges.Now = nil
	other := &forges.Service{DB: w.db.DB, Box: w.forges.Box, Client: w.forges.Client}
	w.forges = other
	for range 2 {
		if _, _, err := w.github(t, c).Repositories.Get(t.Context(), "acme", "shop"); err != nil {
			t.Fatal(err)
		}
	}
	if g.Issued() != 3 {
		t.Errorf("%d tokens, want one for each call when they are about to end", g.Issued())
	}
}

func TestACredentialStaysWithItsForge(t *testing.T) {
	t.Parallel()
	var got atomic.Pointer[http.Header]
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		got.Store(&h)
		forgetest.JSON(w, http.StatusOK, map[string]string{})
	}))
	t.Cleanup(elsewhere.Close)
	for _, kind := range []string{"token", "app"} {
		w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitHub(t, "acme/shop")
		c := w.app(t, g)
		if kind == "token" {
			c = w.token(t, models.ForgeGitHub, strings.Replace(g.URL, "127.0.0.1", "localhost", 1), g.Token)
		}
		client := w.github(t, c)
		if _, _, err := client.Repositories.Get(t.Context(), "acme", "shop"); err != nil {
			t.Fatal(err)
		}
		g.Fail(forgetest.Redirect(elsewhere.URL + "/"))
		_, _, err := client.Repositories.Get(t.Context(), "acme", "shop")
		if err != nil || got.Load() == nil {
			t.Fatalf("%s: the redirect was not followed: %v", kind, err)
		}
		for name, values := range *got.Swap(nil) {
			if strings.Contains(strings.Join(values, ""), "CANARY") || name == "Authorization" {
				t.Errorf("%s: another host got %s: %s", kind, name, values)
			}
		}
		g.Fail(forgetest.Redirect(elsewhere.URL + "/"))
		if _, _, err = client.Repositories.CreateStatus(t.Context(), "acme", "shop", commit, github.RepoStatus{State: github.Ptr("success")}); err == nil || got.Load() != nil {
			t.Errorf("%s: a status was sent on to another host: %v", kind, err)
		}
	}
}

func TestAForgeOnTheInsideIsNotCalled(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, modelstest.DB(t)), forgetest.NewGitHub(t, "acme/shop")
	w.forges.Client = (&outbound.Guard{}).HTTPClient()
	_, _, err := w.github(t, w.token(t, models.ForgeGitHub, g.URL, g.Token)).Repositories.Get(t.Context(), "acme", "shop")
	if err == nil || !strings.Contains(err.Error(), outbound.AllowSetting) || len(g.Requests()) != 0 {
		t.Errorf("a forge at a private address: %v", err)
	}
}
