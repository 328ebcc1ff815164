package main_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/registries/registriestest"
)

// connected is what the API says of a registry.
type connected struct {
	ID     string
	Host   string
	Checks []struct{ Step, Result, Message string }
}

// forgetImages removes what the engine has of the registry when the test ends.
func forgetImages(t *testing.T, host string) {
	engine := dockertest.Engine(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		left, err := engine.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", host+"/*/*"))})
		if err != nil {
			t.Error(err)
		}
		for _, i := range left {
			if _, err := engine.ImageRemove(ctx, i.ID, image.RemoveOptions{Force: true, PruneChildren: true}); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAnAppIsBuiltToAnExternalRegistryAndRunsFromThere(t *testing.T) {
	t.Parallel()
	dockertest.BaseImage(t)
	server := registriestest.StartWithLogin(t)
	forgetImages(t, server.Host)
	repo := gittest.New(t).Repository(t, "acme/shop.git", shop("outside"))
	p := slipwaytest.Start(t, nil)
	p.Team(t, "acme")
	r := slipwaytest.Post[connected](t, p.Client, "/api/v1/registries", map[string]any{"kind": "generic", "name": "House", "host": server.Host, "plain_http": true,
		"check_repository": "acme/check", "settings": map[string]string{"username": registriestest.User, "password": registriestest.Password}})
	for _, c := range r.Checks {
		if c.Result == "failed" {
			t.Errorf("%s failed: %s", c.Step, c.Message)
		}
	}
	repository := p.Repository(t, "acme", "shop", repo.URL)
	app := p.App(t, repository.ID, "shop")
	to := map[string]string{"registry_id": r.ID, "image_repository": "acme/shop"}
	refused := slipwaytest.Refused(t, p.Client, http.StatusUnprocessableEntity, http.MethodPatch, "/api/v1/apps/"+app.ID, to)
	if !strings.Contains(refused.Detail+refused.Title, "attention") {
		t.Errorf("without a grant it says %+v", refused)
	}
	if a := p.Call(t, http.MethodPut, "/api/v1/registries/"+r.ID+"/grants", map[string]string{"team": "acme", "prefix": "acme", "access": "push"}); a.Status != http.StatusOK {
		t.Fatalf("granting answers %d: %s", a.Status, a.Body)
	}
	if a := p.Call(t, http.MethodPatch, "/api/v1/apps/"+app.ID, to); a.Status != http.StatusOK || !strings.Contains(string(a.Body), server.Host+"/acme/shop") {
		t.Fatalf("choosing the registry answers %d: %s", a.Status, a.Body)
	}
	b := p.Build(t, app.ID, "main")
	if b.State != "succeeded" {
		t.Fatalf("the build is %s: %+v", b.State, b.Error)
	}
	staging := p.Environment(t, "acme", "staging")
	sees(t, deploy(t, p, staging.ID, app.ID, b).URL, "Shop outside")

	repo.Commit(t, "main", "Second version", shop("again"))
	second := p.Build(t, app.ID, "main")
	for _, named := range []string{server.Host + "/acme/shop:main", server.Host + "/acme/shop@" + b.Image.Digest} {
		d := slipwaytest.Post[slipwaytest.Deployment](t, p.Client, "/api/v1/environments/"+staging.ID+"/deployments", map[string]string{"app_id": app.ID, "image": named})
		want, words := second.Image.Digest, "Shop again"
		if strings.Contains(named, "@") {
			want, words = b.Image.Digest, "Shop outside"
		}
		if d = p.DeploymentEnd(t, d.ID); d.State != "succeeded" || d.Digest != want {
			t.Fatalf("%s: the deployment is %s of %s: %+v", named, d.State, d.Digest, d.Error)
		}
		sees(t, d.URL, words)
	}
	for what, text := range map[string]string{
		"the portal's log": p.Output(),
		"a build's log":    string(p.Call(t, http.MethodGet, "/api/v1/builds/"+b.ID+"/logs", nil).Body),
		"the registry":     string(p.Call(t, http.MethodGet, "/api/v1/registries/"+r.ID, nil).Body),
		"the audit log":    string(p.Call(t, http.MethodGet, "/api/v1/audit", nil).Body),
	} {
		if strings.Contains(text, registriestest.Password) {
			t.Errorf("%s holds the registry's password", what)
		}
	}
	if a := p.Call(t, http.MethodDelete, "/api/v1/registries/"+r.ID, nil); a.Status != http.StatusConflict {
		t.Errorf("removing a registry that is used answers %d", a.Status)
	}
}
