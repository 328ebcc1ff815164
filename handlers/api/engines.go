package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/services/engines"
)

// Engine is what builds run on. Its certificates are never shown.
type Engine struct {
	ID        string            `json:"id" doc:"Empty for engines of the configuration, which can't be changed here."`
	Name      string            `json:"name"`
	Address   string            `json:"address" example:"tcp://buildkit.example.com:1234"`
	MaxBuilds int               `json:"max_builds" doc:"Builds at once; 0: any number."`
	Running   int64             `json:"running" doc:"Builds that run on it now."`
	Enabled   bool              `json:"enabled"`
	Version   string            `json:"version" example:"buildkitd v0.34.2"`
	Platforms []string          `json:"platforms" nullable:"false" doc:"Its own first, then those that it emulates."`
	Labels    map[string]string `json:"labels,omitempty"`
	Error     string            `json:"error,omitempty" doc:"Why it did not answer last."`
	CheckedAt *time.Time        `json:"checked_at"`
}

func (a *API) engines() {
	get(a, "/engines", "list-engines", "Engines that builds run on", a.listEngines, admin)
	post(a, "/engines", "create-engine", "Add a buildkitd", a.createEngine, admin, status(http.StatusCreated))
	get(a, "/engines/{id}", "get-engine", "A build engine", a.getEngine, admin)
	put(a, "/engines/{id}", "update-engine", "Change a build engine", a.updateEngine, admin)
	remove(a, "/engines/{id}", "delete-engine", "Forget a build engine on which nothing runs", a.deleteEngine, admin)
	post(a, "/engines/{id}/check", "check-engine", "Look at a build engine now", a.checkEngine, admin)
}

func (a *API) listEngines(ctx context.Context, _ *struct{}) (*answer[List[Engine]], error) {
	all, err := a.Engines.List(ctx)
	if err != nil {
		return nil, err
	}
	return whole(all, engineOf), nil
}

func (a *API) createEngine(ctx context.Context, in *struct{ Body engines.EngineInput }) (*answer[Engine], error) {
	e, err := a.Engines.Create(ctx, in.Body)
	return replyWith(e, engineOf, err)
}

func (a *API) getEngine(ctx context.Context, in *IDIn) (*answer[Engine], error) {
	e, err := a.Engines.Get(ctx, in.ID)
	return replyWith(e, engineOf, err)
}

func (a *API) updateEngine(ctx context.Context, in *struct {
	IDIn
	Body engines.EngineInput
}) (*answer[Engine], error) {
	e, err := a.Engines.Update(ctx, in.ID, in.Body)
	return replyWith(e, engineOf, err)
}

func (a *API) deleteEngine(ctx context.Context, in *IDIn) error { return a.Engines.Delete(ctx, in.ID) }

func (a *API) checkEngine(ctx context.Context, in *IDIn) (*answer[Engine], error) {
	e, err := a.Engines.Check(ctx, in.ID)
	return replyWith(e, engineOf, err)
}

func engineOf(e *engines.Engine) Engine {
	return Engine{ID: e.ID, Name: e.Name, Address: e.Address, MaxBuilds: e.MaxBuilds, Running: e.Running, Enabled: e.Enabled, Version: e.Version,
		Platforms: append([]string{}, e.Platforms...), Labels: e.Labels, Error: e.Error, CheckedAt: utc(e.CheckedAt)}
}
