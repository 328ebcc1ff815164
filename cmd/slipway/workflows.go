package main

import (
	"context"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
	"slipway.dev/services/builds/actions"
	"slipway.dev/services/workflows"
	"slipway.dev/services/workload"
)

// openWorkloads is what exchanges the tokens of CI systems, and what the registry and the API ask about runs.
func (p *process) openWorkloads() {
	p.workloads = &workload.Service{DB: p.db, External: p.external, Issuers: p.settings.ActionsIssuers, Client: p.guard.HTTPClient(), Registry: p.registry}
	p.auth.Workload, p.auth.ReloadWorkload = p.registry.Workload, p.workloads.Reload
}

// openWorkflows is what Slipway does with GitHub Actions.
func (p *process) openWorkflows() {
	p.builds.Builders[models.BuilderActions] = &actions.Builder{DB: p.db, GitHub: p.gitHub, Logs: p.guard.HTTPClient(), Every: p.settings.ActionsPoll}
	p.workflows = &workflows.Service{
		DB: p.db, External: p.external, Issuer: p.settings.ActionsIssuers[0], Issuers: p.settings.ActionsIssuers,
		Registry: p.registry, Builds: p.builds, Workloads: p.workloads, GitHub: p.gitHub,
	}
}

// gitHub returns a client of the repository's connection, for Slipway's own
// work: who may have it done was asked before. Conflict: there is none.
func (p *process) gitHub(ctx context.Context, r *models.Repository) (*github.Client, error) {
	ctx = models.WithPrincipal(ctx, models.System("workflows"))
	opened, err := p.forges.Connection(ctx, r)
	if models.IsCode(err, models.NotFound) {
		return nil, models.Errorf(models.Conflict, "The repository %s has no connection with GitHub. Choose one in its settings.", r.Name)
	}
	if err != nil {
		return nil, err
	}
	return p.forges.GitHub(ctx, opened)
}
