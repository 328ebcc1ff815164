package views_test

import (
	"time"

	"slipway.dev/models"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/copies"
	"slipway.dev/views/layout"
)

const copyDigest = "sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"

func aCopy(state models.CopyState) models.Copy {
	return models.Copy{
		ID: "c1", TeamID: "t1", Team: payments, State: state, Digest: copyDigest, SourceTag: "main", TargetTag: "1.4", Referrers: true, Manifests: 5,
		Source: models.ImagePlaceName{Host: "slipway.acme.example", Repository: "payments/checkout-api"},
		Target: models.ImagePlaceName{Registry: "r1", Host: "ghcr.io", Repository: "acme/checkout-api"},
		Blobs:  14, BlobsDone: 9, BlobsThere: 4, Bytes: 184_000_000, BytesDone: 97_000_000, BytesThere: 31_000_000,
		CreatedByName: "Mira Kovač", CreatedAt: now.Add(-2 * time.Minute), StartedAt: before(100 * time.Second),
	}
}

func copySamples() []sample {
	frame := func(c models.Copy) layout.Page {
		p := testPage(c.From())
		p.State, p.Nav, p.Meta = copies.State(c), "images", copies.Meta(c)
		p.Crumbs = []layout.Link{{Label: "Images", Href: "/images"}, {Label: "Copies", Href: "/copies"}}
		return p
	}
	p := testPage("Copies")
	running, failed, waiting := aCopy(models.CopyRunning), aCopy(models.CopyFailed), aCopy(models.CopyQueued)
	failed.ID, waiting.ID = "c2", "c3"
	failed.Error, failed.FinishedAt = "ghcr.io/acme/checkout-api does not let Slipway write there: DENIED.", before(time.Minute)
	next := now.Add(20 * time.Second)
	waiting.Note, waiting.NextTryAt = "ghcr.io/acme/checkout-api can't be reached, or broke the connection.", &next
	page := func(name string, c models.Copy) sample {
		f := frame(c)
		return sample{name, copies.Page(f, copies.PageView{Copy: c, MayAct: true, Curl: f.Curl("GET", "/api/v1/copies/c1", ""), RetryCurl: f.Curl("POST", "/api/v1/copies/c1/retry", "").For("Retry")})}
	}
	curl := p.Curl("POST", "/api/v1/copies", `{"from": "slipway.acme.example/payments/checkout-api:main", "to": "ghcr.io/acme/checkout-api:1.4"}`)
	cache := testPage("Admin")
	cache.Nav, cache.Tabs = "admin", admin.Tabs("cache")
	hub := admin.CacheUpstream{Hours: 6, CacheUpstream: models.CacheUpstream{ID: "u1", Host: "docker.io", Prefix: "docker.io", Enabled: true,
		Error: "docker.io limits how often images are fetched from it.", ErrorAt: before(time.Hour)}}
	return []sample{
		page("copy-running", running), page("copy-failed", failed), page("copy-waiting", waiting),
		{"copies", copies.List(p, copies.ListView{Copies: []models.Copy{running, failed}, Filters: []components.FilterLink{{Label: "All", Href: "/copies", Current: true}}, Curl: curl})},
		{"copies-empty", copies.List(p, copies.ListView{Curl: curl})},
		{"copy-new", copies.New(testPage("Copy an image"), copies.NewView{From: "slipway.acme.example/payments/checkout-api:main", Host: "slipway.acme.example", Teams: []components.Option{{Value: "payments", Label: "Payments"}}, Curl: curl})},
		{"cache", admin.Cache(cache, admin.CacheView{
			Bytes: 8_400_000_000, MaxBytes: 50_000_000_000, KeepDays: 30, Images: 12, Repositories: 1, Host: "slipway.acme.example",
			Upstreams: []admin.CacheUpstream{hub, {Hours: 6, CacheUpstream: models.CacheUpstream{ID: "u2", Host: "ghcr.io", Prefix: "ghcr.io"}}}, Offered: []string{"quay.io", "mcr.microsoft.com"},
			Connected: []components.Option{{Value: "r1", Label: "GitHub (ghcr.io)"}},
			Rows:      []admin.CacheRow{{Images: 3, Bytes: 240_000_000, CacheRepository: models.CacheRepository{Name: "cache/docker.io/library/golang", Hits: 1204, Misses: 9, PulledAt: now.Add(-time.Hour)}}},
			Curl:      cache.Curl("GET", "/api/v1/cache", ""), AddCurl: cache.Curl("POST", "/api/v1/cache/upstreams", `{"host": "docker.io", "enabled": true}`).For("Turn one on")})},
		{"cache-empty", admin.Cache(cache, admin.CacheView{MaxBytes: 50_000_000_000, KeepDays: 30, Host: "slipway.acme.example", Offered: []string{"docker.io", "ghcr.io"}})},
	}
}
