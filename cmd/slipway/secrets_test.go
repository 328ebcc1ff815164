package main_test

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

// The canaries are values that must be nowhere but where they belong.
const (
	gitCanary    = "canary-in-the-git-server-4711"
	secretCanary = "canary-in-the-environment-4712"
)

func TestSecretsReachTheAppAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	base := dockertest.AppImage(t)
	repo := w.git.Repository(t, "acme/shop.git", gittest.Files{"Dockerfile": "FROM " + base + "\nRUN [\"/app\", \"-no-such-flag\"]\n"})
	repo.Commit(t, "main", "Build", gittest.Files{"Dockerfile": "FROM " + base + "\nENV VERSION=1\n"})
	w.git.RequireAuth("ada", gitCanary)
	repository := slipwaytest.Post[slipwaytest.Repository](t, w.Client, "/api/v1/repositories", map[string]any{
		"team": "acme", "name": "shop", "clone_url": repo.URL, "credential": map[string]string{"kind": "token", "user": "ada", "token": gitCanary},
	})
	slipwaytest.Await(t, w.Client, "/api/v1/repositories/"+repository.ID, "the repository was read", func(r slipwaytest.Repository) bool { return r.State == "ready" })
	app := w.App(t, repository.ID, "shop")
	put := w.Call(t, http.MethodPut, "/api/v1/environments/"+w.live.ID+"/variables/API_KEY", map[string]any{"value": secretCanary, "secret": true})
	if put.Status > 299 {
		t.Fatalf("setting a secret answered %d: %s", put.Status, put.Body)
	}
	b := w.Build(t, app.ID, "main")
	d := deploy(t, w.Portal, w.live.ID, app.ID, b)
	if _, body := slipwaytest.Open(t, d.URL+"/env?name=API_KEY"); strings.TrimSpace(body) != secretCanary {
		t.Errorf("the app has the secret %q", body)
	}
	w.git.RequireAuth("ada", "changed")
	w.Call(t, http.MethodPost, "/api/v1/repositories/"+repository.ID+"/fetch", struct{}{})
	slipwaytest.Await(t, w.Client, "/api/v1/repositories/"+repository.ID, "the fetch was refused", func(r slipwaytest.Repository) bool { return r.State == "failed" })

	for _, path := range []string{
		"/api/v1/me", "/api/v1/teams", "/api/v1/teams/acme", "/api/v1/repositories", "/api/v1/repositories/" + repository.ID,
		"/api/v1/apps", "/api/v1/apps/" + app.ID, "/api/v1/builds", "/api/v1/builds/" + b.ID, "/api/v1/builds/" + b.ID + "/logs",
		"/api/v1/images/" + b.Image.Digest, "/api/v1/environments", "/api/v1/environments/" + w.live.ID,
		"/api/v1/environments/" + w.live.ID + "/variables", "/api/v1/environments/" + w.live.ID + "/plan?app_id=" + app.ID,
		"/api/v1/deployments", "/api/v1/deployments/" + d.ID, "/api/v1/deployments/" + d.ID + "/logs",
		"/api/v1/targets", "/api/v1/audit", "/api/v1/tokens", "/api/v1/users", "/metrics", "/readyz",
	} {
		answer := w.Call(t, http.MethodGet, path, nil)
		if answer.Status != http.StatusOK {
			t.Errorf("GET %s answered %d: %s", path, answer.Status, answer.Body)
		}
		clean(t, "GET "+path, answer.Body)
	}
	clean(t, "the program's log", []byte(w.Output()))
	w.Stop(t)
	clean(t, "the program's log", []byte(w.Output()))
	cleanFolder(t, w.Data)
}

// clean fails the test where the text has a canary.
func clean(t *testing.T, what string, text []byte) {
	t.Helper()
	for _, canary := range []string{gitCanary, secretCanary} {
		if bytes.Contains(text, []byte(canary)) {
			t.Errorf("%s has %s", what, canary)
		}
	}
}

// cleanFolder fails the test where a file below the folder has a canary: the database, mirrors, logs.
func cleanFolder(t *testing.T, folder string) {
	t.Helper()
	var seen []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		clean(t, path, text)
		seen = append(seen, filepath.Base(path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(seen, "slipway.db") {
		t.Errorf("the database was not among %v", seen)
	}
}
