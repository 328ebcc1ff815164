package handlers

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"slipway.dev/models"
)

func TestARegistryIsConnectedGrantedAndChosenOnPages(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	admin, developer := f.cookie(f.Admin), f.cookie(f.Developer)
	page := func(cookie *http.Cookie, path string) string {
		t.Helper()
		w := f.send(ask{path: path, cookie: cookie})
		if w.Code != http.StatusOK {
			t.Fatalf("%s answers %d", path, w.Code)
		}
		return w.Body.String()
	}
	if text := words(t, page(admin, "/admin/registries/new")); !strings.Contains(text, "Amazon ECR") || !strings.Contains(text, "Harbor") {
		t.Errorf("the kinds are %s", text)
	}
	form := url.Values{"kind": {"harbor"}, "name": {"House"}, "host": {"harbor.test"}, "username": {"robot$x"}, "password": {canary + "-typed"}, "check_repository": {"Not A Name"}}
	w := f.send(ask{method: "POST", path: "/admin/registries", body: form.Encode(), cookie: admin})
	if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "robot$x") || strings.Contains(w.Body.String(), canary) {
		t.Errorf("a wrong form answers %d without what was typed, or with the secret", w.Code)
	}
	form.Set("check_repository", "acme/shop")
	w = f.send(ask{method: "POST", path: "/admin/registries", body: form.Encode(), cookie: admin})
	at := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther {
		t.Fatalf("connecting answers %d: %s", w.Code, words(t, w.Body.String()))
	}
	if text := words(t, page(admin, at)); !strings.Contains(text, "FailedReach") || !strings.Contains(text, "Not triedPush") || !strings.Contains(text, "Nobody but admins yet") {
		t.Errorf("the page says %s", text)
	}
	if text := page(developer, "/apps/"+f.App.ID+"/build-settings"); strings.Contains(text, "harbor.test") {
		t.Error("an app is offered a registry that its team was not granted")
	}
	grant := url.Values{"team_id": {f.Team.ID}, "prefix": {"acme"}, "access": {"push"}}
	if w := f.send(ask{method: "POST", path: at + "/grants", body: grant.Encode(), cookie: admin}); w.Code != http.StatusSeeOther {
		t.Fatalf("granting answers %d", w.Code)
	}
	if text := words(t, page(developer, "/teams/"+f.Team.Slug+"/registries")); !strings.Contains(text, "harbor.test") || !strings.Contains(text, "harbor.test/acme") {
		t.Errorf("the team sees %s", text)
	}
	id := strings.TrimPrefix(at, "/admin/registries/")
	for repository, want := range map[string]int{"other/shop": http.StatusUnprocessableEntity, "acme/shop": http.StatusSeeOther} {
		chosen := url.Values{"registry_id": {id}, "image_repository": {repository}}
		if w := f.send(ask{method: "POST", path: "/apps/" + f.App.ID + "/build-settings", body: chosen.Encode(), cookie: developer}); w.Code != want {
			t.Errorf("choosing %s answers %d: %s", repository, w.Code, words(t, w.Body.String()))
		}
	}
	if text := page(developer, "/apps/"+f.App.ID); !strings.Contains(text, "harbor.test/acme/shop") {
		t.Error("the app's page does not say where its images go")
	}
	if text := words(t, page(admin, at)); !strings.Contains(text, "harbor.test/acme/shop") {
		t.Errorf("the registry's page does not say who uses it: %s", text)
	}
	if w := f.send(ask{method: "POST", path: at + "/delete", cookie: admin}); w.Code != http.StatusConflict {
		t.Errorf("forgetting a registry that is used answers %d", w.Code)
	}
}

func TestABuildIsOfferedForDeploymentOnlyWhereItsImageCanBePulled(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	developer := f.cookie(f.Developer)
	for repository, offered := range map[string]bool{"registry.test/acme/shop": true, "ghcr.io/acme/shop": false} {
		f.must(f.db.Model(f.Build).Updates(map[string]any{"state": models.BuildSucceeded, "image_repository": repository}).Error)
		w := f.send(ask{path: "/builds/" + f.Build.ID, cookie: developer})
		if got := strings.Contains(w.Body.String(), "/deploy?build="+f.Build.ID); got != offered {
			t.Errorf("with an image in %s it is offered: %t", repository, got)
		}
	}
}
