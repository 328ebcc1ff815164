package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/pullthrough"
)

// Cache is the cache of base images in the portal's registry.
type Cache struct {
	Bytes        int64           `json:"bytes" doc:"That its images take."`
	MaxBytes     int64           `json:"max_bytes" doc:"That they may take; what was pulled longest ago goes first."`
	KeepDays     int             `json:"keep_days" doc:"An image that nobody pulled for so many days goes."`
	Images       int64           `json:"images"`
	Repositories int64           `json:"repositories"`
	Upstreams    []CacheUpstream `json:"upstreams" nullable:"false"`
}

// CacheUpstream is a registry that the cache may fetch from.
type CacheUpstream struct {
	ID           string     `json:"id"`
	Host         string     `json:"host" example:"docker.io"`
	Prefix       string     `json:"prefix" doc:"What the names of its images begin with in the portal's registry." example:"cache/docker.io/"`
	RegistryID   string     `json:"registry_id,omitempty" doc:"The connected registry whose login is used; empty: none."`
	Enabled      bool       `json:"enabled"`
	FreshSeconds int64      `json:"fresh_seconds" doc:"How long what a tag names is not looked up anew."`
	Error        string     `json:"error,omitempty" doc:"What went wrong last."`
	ErrorAt      *time.Time `json:"error_at"`
}

// CacheRepository is a repository of the cache.
type CacheRepository struct {
	Name     string     `json:"name" example:"cache/docker.io/library/alpine"`
	Images   int64      `json:"images"`
	Bytes    int64      `json:"bytes"`
	Hits     int64      `json:"hits" doc:"Manifests that were answered without the upstream."`
	Misses   int64      `json:"misses" doc:"Manifests that were fetched."`
	Fetched  int64      `json:"fetched_bytes" doc:"Bytes of layers that were fetched."`
	Error    string     `json:"error,omitempty" doc:"What went wrong last."`
	ErrorAt  *time.Time `json:"error_at"`
	PulledAt time.Time  `json:"pulled_at"`
}

func (a *API) cache() {
	get(a, "/cache", "get-cache", "The cache of base images and its upstreams", a.getCache, admin)
	patch(a, "/cache", "update-cache", "Bound the cache", a.updateCache, admin)
	get(a, "/cache/repositories", "list-cache-repositories", "What is in the cache", a.listCacheRepositories, admin)
	post(a, "/cache/clear", "clear-cache-repository", "Take a repository out of the cache", a.clearCache, admin, status(http.StatusNoContent))
	post(a, "/cache/upstreams", "create-cache-upstream", "Let the cache fetch from a registry", a.createUpstream, admin, status(http.StatusCreated))
	put(a, "/cache/upstreams/{id}", "update-cache-upstream", "Turn an upstream on or off", a.updateUpstream, admin)
	remove(a, "/cache/upstreams/{id}", "delete-cache-upstream", "Forget an upstream with what was cached from it", a.deleteUpstream, admin)
}

func (a *API) getCache(ctx context.Context, _ *struct{}) (*answer[Cache], error) {
	o, err := a.Cache.Overview(ctx)
	return replyWith(o, cacheOf, err)
}

func (a *API) updateCache(ctx context.Context, in *struct {
	Body struct {
		MaxBytes int64 `json:"max_bytes" minimum:"1"`
		KeepDays int   `json:"keep_days" minimum:"1"`
	}
}) (*answer[Cache], error) {
	if _, err := a.Cache.UpdateSettings(ctx, pullthrough.Settings{MaxBytes: in.Body.MaxBytes, KeepDays: in.Body.KeepDays}); err != nil {
		return nil, err
	}
	return a.getCache(ctx, nil)
}

func (a *API) listCacheRepositories(ctx context.Context, in *PageIn) (*answer[List[CacheRepository]], error) {
	l, err := a.Cache.Repositories(ctx, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, cacheRepositoryOf), nil
}

func (a *API) clearCache(ctx context.Context, in *struct {
	Body struct {
		Repository string `json:"repository" example:"cache/docker.io/library/alpine" maxLength:"300"`
	}
}) (*nothing, error) {
	return nil, a.Cache.Clear(ctx, in.Body.Repository)
}

func (a *API) createUpstream(ctx context.Context, in *struct{ Body pullthrough.UpstreamInput }) (*answer[CacheUpstream], error) {
	u, err := a.Cache.AddUpstream(ctx, in.Body)
	return replyWith(u, upstreamOf, err)
}

func (a *API) updateUpstream(ctx context.Context, in *struct {
	IDIn
	Body struct {
		Enabled      bool  `json:"enabled"`
		FreshSeconds int64 `json:"fresh_seconds,omitempty" doc:"6 hours where 0."`
	}
}) (*answer[CacheUpstream], error) {
	u, err := a.Cache.UpdateUpstream(ctx, in.ID, pullthrough.UpstreamInput{Enabled: in.Body.Enabled, FreshSeconds: in.Body.FreshSeconds})
	return replyWith(u, upstreamOf, err)
}

func (a *API) deleteUpstream(ctx context.Context, in *IDIn) error {
	return a.Cache.DeleteUpstream(ctx, in.ID)
}

func cacheOf(o *pullthrough.Overview) Cache {
	return Cache{Bytes: o.Bytes, MaxBytes: o.MaxBytes, KeepDays: o.KeepDays, Images: o.Images, Repositories: o.Repositories, Upstreams: sliceOf(o.Upstreams, upstreamOf)}
}

func upstreamOf(u *models.CacheUpstream) CacheUpstream {
	return CacheUpstream{ID: u.ID, Host: u.Host, Prefix: u.Repository(""), RegistryID: u.RegistryID, Enabled: u.Enabled,
		FreshSeconds: int64(pullthrough.Fresh(*u).Seconds()), Error: u.Error, ErrorAt: utc(u.ErrorAt)}
}

func cacheRepositoryOf(r *pullthrough.Repository) CacheRepository {
	return CacheRepository{Name: r.Name, Images: r.Images, Bytes: r.Bytes, Hits: r.Hits, Misses: r.Misses, Fetched: r.Fetched,
		Error: r.Error, ErrorAt: utc(r.ErrorAt), PulledAt: r.PulledAt.UTC()}
}
