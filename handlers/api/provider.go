package api

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Resource is one thing that a target made at its provider.
type Resource struct {
	Kind string `json:"kind" doc:"As its provider calls it." example:"Task definition"`
	Name string `json:"name"`
	Link string `json:"link,omitempty" doc:"Into the provider's console."`
}

// ProviderEvent is something that a provider says happened to a deployment.
type ProviderEvent struct {
	At      time.Time `json:"at"`
	Object  string    `json:"object" doc:"What it happened to." example:"Service checkout"`
	Text    string    `json:"text"`
	Warning bool      `json:"warning"`
}

// Cost is what an app costs in a month, by an estimate.
type Cost struct {
	Month    float64    `json:"month" doc:"US dollars for 730 hours, without traffic and storage."`
	Lines    []CostLine `json:"lines" nullable:"false"`
	PricesOf string     `json:"prices_of" doc:"Which of the provider's lists the prices are of." example:"US East (N. Virginia)"`
	Edited   bool       `json:"edited" doc:"Whether an admin has entered other prices."`
}

// CostLine is a part of what an app costs.
type CostLine struct {
	Title string  `json:"title"`
	Month float64 `json:"month" doc:"US dollars."`
}

// EnvironmentCost is what runs in an environment costs in a month.
type EnvironmentCost struct {
	Known    bool      `json:"known" doc:"Whether Slipway knows the prices of the environment's target."`
	Month    float64   `json:"month" doc:"US dollars for 730 hours, without traffic and storage."`
	PricesOf string    `json:"prices_of,omitempty" doc:"Which of the provider's lists the prices are of." example:"US East (N. Virginia)"`
	Edited   bool      `json:"edited" doc:"Whether an admin has entered other prices."`
	Apps     []AppCost `json:"apps" nullable:"false"`
}

// AppCost is what an app costs in a month that runs in an environment.
type AppCost struct {
	AppID string     `json:"app_id"`
	App   string     `json:"app"`
	Month float64    `json:"month" doc:"US dollars."`
	Lines []CostLine `json:"lines" nullable:"false"`
}

// TargetRemoval is a target that was deleted and still has something at its provider.
type TargetRemoval struct {
	ID        string    `json:"id" doc:"The target's."`
	Name      string    `json:"name"`
	Kind      string    `json:"kind"`
	Error     string    `json:"error,omitempty" doc:"Why the last try failed."`
	Tries     int       `json:"tries" doc:"That failed."`
	CreatedAt time.Time `json:"created_at" doc:"When the target was deleted."`
	UpdatedAt time.Time `json:"updated_at"`
}

func (a *API) providers() {
	get(a, "/deployments/{id}/resources", "list-deployment-resources", "What was made for a deployment at its provider", a.resources,
		about("With what its app and environment keep there. On a target that keeps such a list."))
	get(a, "/deployments/{id}/events", "list-deployment-events", "What a provider says happened to a deployment", a.providerEvents,
		about("The newest first, at most 100. On a target whose provider tells of events."))
	get(a, "/environments/{id}/cost", "get-environment-cost", "What runs in an environment costs in a month", a.environmentCost)
	get(a, "/targets/{id}/kept", "list-kept-resources", "What goes at the provider together with a target", a.kept, admin)
	get(a, "/target-removals", "list-target-removals", "Deleted targets that still have something at their providers", a.targetRemovals, admin,
		about("Slipway goes on trying to remove it."))
	remove(a, "/target-removals/{id}", "forget-target-removal", "Give up removing what a deleted target kept", a.forgetRemoval, admin)
}

func (a *API) resources(ctx context.Context, in *IDIn) (*answer[List[Resource]], error) {
	found, err := a.Deploy.Resources(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(found, resourceOf), nil
}

func resourceOf(r *deploy.Resource) Resource { return Resource(*r) }

func (a *API) providerEvents(ctx context.Context, in *IDIn) (*answer[List[ProviderEvent]], error) {
	found, err := a.Deploy.Events(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(found, func(e *deploy.Event) ProviderEvent { return ProviderEvent{e.At.UTC(), e.Object, e.Text, e.Warning} }), nil
}

func (a *API) environmentCost(ctx context.Context, in *IDIn) (*answer[EnvironmentCost], error) {
	c, err := a.Deploy.EnvironmentCost(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return reply(EnvironmentCost{Known: c.PricesOf != "", Month: c.Month, PricesOf: c.PricesOf, Edited: c.Edited,
		Apps: sliceOf(c.Apps, func(x *deploy.AppCost) AppCost { return AppCost{x.AppID, x.App, x.Month, sliceOf(x.Lines, costLineOf)} })}), nil
}

// costOf is the estimate; nil where there is none.
func costOf(c deploy.Cost) *Cost {
	if !c.Known() {
		return nil
	}
	return &Cost{c.Month, sliceOf(c.Lines, costLineOf), c.PricesOf, c.Edited}
}

func costLineOf(l *deploy.CostLine) CostLine { return CostLine(*l) }

func (a *API) kept(ctx context.Context, in *IDIn) (*answer[List[Resource]], error) {
	found, err := a.Deploy.Kept(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(found, resourceOf), nil
}

func (a *API) targetRemovals(ctx context.Context, _ *struct{}) (*answer[List[TargetRemoval]], error) {
	all, err := a.Deploy.TargetRemovals(ctx)
	if err != nil {
		return nil, err
	}
	return whole(all, func(r *models.TargetRemoval) TargetRemoval {
		return TargetRemoval{r.ID, r.Name, r.Kind, r.Error, r.Tries, r.CreatedAt.UTC(), r.UpdatedAt.UTC()}
	}), nil
}

func (a *API) forgetRemoval(ctx context.Context, in *IDIn) error {
	return a.Deploy.ForgetRemoval(ctx, in.ID)
}
