package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/workflows"
	"slipway.dev/services/workload"
)

// Workflow says how GitHub Actions builds an app, and which runs are trusted.
type Workflow struct {
	AppID        string               `json:"app_id"`
	Repository   string               `json:"repository" doc:"owner/name at GitHub."`
	RepositoryID int64                `json:"repository_id" doc:"GitHub's number of it; this is what is trusted."`
	Issuer       string               `json:"issuer"`
	Path         string               `json:"path" doc:"Of the workflow's file."`
	Refs         []string             `json:"refs" nullable:"false" doc:"Empty: the default branch."`
	Environment  string               `json:"environment,omitempty"`
	Destination  models.Destination   `json:"destination" enum:"portal,ghcr,ecr,gar,acr"`
	Image        string               `json:"image" doc:"What it pushes, without a tag."`
	Settings     map[string]string    `json:"settings,omitempty"`
	Cache        models.WorkflowCache `json:"cache" enum:"actions,registry,none"`
	OnPush       bool                 `json:"on_push"`
	Connected    bool                 `json:"connected" doc:"Slipway can start and follow runs, and open a pull request."`
	File         string               `json:"file" doc:"As it should be in the repository."`
	PullRequest  string               `json:"pull_request,omitempty" doc:"The last one that Slipway opened."`
	CreatedAt    time.Time            `json:"created_at"`
	UpdatedAt    time.Time            `json:"updated_at"`
}

// Comparison is the file in the repository beside Slipway's.
type Comparison struct {
	There bool   `json:"there" doc:"The default branch has the file."`
	Same  bool   `json:"same" doc:"It is what Slipway would write."`
	Diff  string `json:"diff,omitempty" doc:"Unified, from the repository's file to Slipway's."`
}

// ProposedWorkflow is where a proposed file waits to be merged.
type ProposedWorkflow struct {
	URL string `json:"url"`
}

// Exchange is one attempt of a run to get a credential.
type Exchange struct {
	ID           string     `json:"id"`
	Granted      bool       `json:"granted"`
	Reason       string     `json:"reason,omitempty" doc:"Why it was refused."`
	Repository   string     `json:"repository"`
	RepositoryID int64      `json:"repository_id"`
	Ref          string     `json:"ref"`
	Commit       string     `json:"commit"`
	Event        string     `json:"event"`
	Workflow     string     `json:"workflow"`
	Environment  string     `json:"environment,omitempty"`
	Actor        string     `json:"actor"`
	RunID        int64      `json:"run_id"`
	RunAttempt   int64      `json:"run_attempt"`
	ExpiresAt    *time.Time `json:"expires_at,omitempty"`
	CreatedAt    time.Time  `json:"created_at"`
}

func (a *API) workflows() {
	get(a, "/apps/{id}/workflow", "get-workflow", "How GitHub Actions builds an app", a.getWorkflow)
	put(a, "/apps/{id}/workflow", "put-workflow", "Set how GitHub Actions builds an app, and which runs are trusted", a.putWorkflow)
	remove(a, "/apps/{id}/workflow", "delete-workflow", "End the trust in an app's runs", a.deleteWorkflow)
	get(a, "/apps/{id}/workflow/comparison", "compare-workflow", "The workflow's file in the repository, compared", a.compareWorkflow)
	post(a, "/apps/{id}/workflow/pull-request", "propose-workflow", "Open a pull request with the workflow's file", a.proposeWorkflow, repeatable)
	get(a, "/apps/{id}/exchanges", "list-exchanges", "Runs that asked for a credential", a.listExchanges)
	post(a, "/workflow-runs", "report-workflow-run", "Say what a run has pushed", a.reportRun, run, status(http.StatusCreated),
		about("The last step of the generated workflow makes this call, with the token that the exchange at /oauth/token gave it."))
}

func (a *API) getWorkflow(ctx context.Context, in *IDIn) (*answer[Workflow], error) {
	d, err := a.Workflows.Get(ctx, in.ID)
	return replyWith(d, workflowOf, err)
}

func (a *API) putWorkflow(ctx context.Context, in *struct {
	IDIn
	Body workflows.WorkflowInput
}) (*answer[Workflow], error) {
	d, err := a.Workflows.Save(ctx, in.ID, in.Body)
	return replyWith(d, workflowOf, err)
}

func (a *API) deleteWorkflow(ctx context.Context, in *IDIn) error {
	return a.Workflows.Delete(ctx, in.ID)
}

func (a *API) compareWorkflow(ctx context.Context, in *IDIn) (*answer[Comparison], error) {
	c, err := a.Workflows.Compare(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return reply(Comparison{c.There, c.Same, c.Diff}), nil
}

func (a *API) proposeWorkflow(ctx context.Context, in *IDIn) (*answer[ProposedWorkflow], error) {
	url, err := a.Workflows.Propose(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return reply(ProposedWorkflow{url}), nil
}

func (a *API) listExchanges(ctx context.Context, in *struct {
	IDIn
	PageIn
}) (*answer[List[Exchange]], error) {
	l, err := a.Workloads.List(ctx, workload.Filter{Page: in.page(), AppID: in.ID})
	if err != nil {
		return nil, err
	}
	return listOf(l, exchangeOf), nil
}

func (a *API) reportRun(ctx context.Context, in *struct{ Body workflows.Report }) (*answer[Build], error) {
	b, err := a.Workflows.Report(ctx, in.Body)
	return replyWith(b, buildOf, err)
}

func workflowOf(d *workflows.Detail) Workflow {
	return Workflow{
		AppID: d.AppID, Repository: d.Repository, RepositoryID: d.GitHubID, Issuer: d.Issuer, Path: d.Path, Refs: append([]string{}, d.Refs...),
		Environment: d.Environment, Destination: d.Destination, Image: d.Image, Settings: d.Settings, Cache: d.Cache, OnPush: d.OnPush,
		Connected: d.Connected, File: d.File, PullRequest: d.PullURL, CreatedAt: d.CreatedAt.UTC(), UpdatedAt: d.UpdatedAt.UTC(),
	}
}

func exchangeOf(x *models.Exchange) Exchange {
	return Exchange{
		ID: x.ID, Granted: x.Granted, Reason: x.Reason, Repository: x.Repository, RepositoryID: x.GitHubID, Ref: x.Ref, Commit: x.Commit, Event: x.Event,
		Workflow: x.Workflow, Environment: x.Environment, Actor: x.Actor, RunID: x.RunID, RunAttempt: x.RunAttempt, ExpiresAt: utc(x.ExpiresAt), CreatedAt: x.CreatedAt.UTC(),
	}
}
