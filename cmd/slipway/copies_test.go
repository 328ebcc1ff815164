package main_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/registries/registriestest"
)

// copied is what the API says of a copy.
type copied struct {
	ID, State, Digest, From, To, Error string
	Blobs                              struct{ Total, Done, There int64 }
}

func TestABaseImageComesThroughTheCacheAndTheImageIsCopiedElsewhere(t *testing.T) {
	t.Parallel()
	server := registriestest.Start(t)
	valve := server.Valve(t)
	forgetImages(t, valve.Host)
	base, err := name.ParseReference(server.Host + "/acme/base:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(base, dockertest.Base(t)); err != nil {
		t.Fatal(err)
	}
	repo := gittest.New(t).Repository(t, "acme/shop.git", gittest.Files{"Dockerfile": "FROM " + valve.Host + "/acme/base:1\nRUN echo shop > /shop\n"})
	p := slipwaytest.Start(t, nil)
	p.Team(t, "acme")
	slipwaytest.Post[struct{ ID string }](t, p.Client, "/api/v1/cache/upstreams", map[string]any{"host": valve.Host, "enabled": true})
	house := slipwaytest.Post[connected](t, p.Client, "/api/v1/registries", map[string]any{"kind": "generic", "name": "House", "host": server.Host, "plain_http": true, "all_teams": "push"})
	app := p.App(t, p.Repository(t, "acme", "shop", repo.URL).ID, "shop")
	b := p.Build(t, app.ID, "main")
	if b.State != "succeeded" {
		t.Fatalf("the build is %s: %+v", b.State, b.Error)
	}
	awaitLog(t, p, b.ID, "comes through the portal's cache")
	cache := string(p.Call(t, http.MethodGet, "/api/v1/cache/repositories", nil).Body)
	if !strings.Contains(cache, `"cache/`+strings.Replace(valve.Host, ":", "-", 1)+`/acme/base"`) {
		t.Errorf("the cache has %s", cache)
	}

	c := slipwaytest.Post[copied](t, p.Client, "/api/v1/copies", map[string]any{"from": b.Image.Repository + "@" + b.Image.Digest, "to": house.Host + "/acme/shop:released"})
	for late := time.Now().Add(3 * time.Minute); c.State == "queued" || c.State == "running"; <-time.After(100 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("the copy is %+v", c)
		}
		c = slipwaytest.Get[copied](t, p.Client, "/api/v1/copies/"+c.ID)
	}
	if c.State != "succeeded" || c.Digest != b.Image.Digest || c.Blobs.Done != c.Blobs.Total {
		t.Fatalf("the copy is %+v", c)
	}
	released, err := name.ParseReference(server.Host + "/acme/shop:released")
	if err != nil {
		t.Fatal(err)
	}
	if found, err := remote.Head(released); err != nil || found.Digest.String() != b.Image.Digest {
		t.Errorf("the tag names %+v, %v", found, err)
	}
}
