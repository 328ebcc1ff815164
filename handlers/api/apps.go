package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/catalog"
)

// App is one Dockerfile in a repository.
type App struct {
	ID           string               `json:"id"`
	Team         string               `json:"team" doc:"The owner's slug."`
	TeamID       string               `json:"team_id"`
	RepositoryID string               `json:"repository_id"`
	Name         string               `json:"name"`
	Dockerfile   string               `json:"dockerfile"`
	Context      string               `json:"context"`
	Builder      models.BuilderKind   `json:"builder"`
	Port         int                  `json:"port" doc:"0: what the image exposes."`
	Health       models.HealthKind    `json:"health" enum:"http,tcp,image"`
	HealthPath   string               `json:"health_path"`
	Protocol     models.Protocol      `json:"protocol" enum:",h2c" doc:"What it speaks on its port; empty: HTTP/1.1."`
	Command      string               `json:"release_command,omitempty" doc:"Runs once before a new version takes over."`
	BuildTimeout int                  `json:"build_timeout" doc:"Seconds."`
	Triggers     models.Triggers      `json:"triggers" doc:"What builds it by itself."`
	WorkerLabels []string             `json:"worker_labels" nullable:"false" doc:"Only workers that have all of these labels build it."`
	Build        models.BuildSettings `json:"build"`
	RegistryID   string               `json:"registry_id" doc:"The external registry that its images go to; empty: the portal's own."`
	ImageRepo    string               `json:"image_repository" doc:"In the external registry, without its host."`
	Image        string               `json:"image" doc:"Where its builds push to." example:"localhost:8080/payments/checkout"`
	CreatedAt    time.Time            `json:"created_at"`
	UpdatedAt    time.Time            `json:"updated_at"`
}

func (a *API) apps() {
	get(a, "/apps", "list-apps", "Apps of your teams", a.listApps)
	post(a, "/apps", "create-app", "Create an app", a.createApp, status(http.StatusCreated), repeatable)
	get(a, "/apps/{id}", "get-app", "An app", a.getApp)
	get(a, "/apps/{id}/stages", "list-stages", "Stages of an app's Dockerfile on the default branch", a.listStages)
	patch(a, "/apps/{id}", "update-app", "Change an app", a.updateApp)
	remove(a, "/apps/{id}", "delete-app", "Delete an app with its builds and deployments", a.deleteApp)
}

func (a *API) listApps(ctx context.Context, in *struct {
	PageIn
	Team         string `query:"team" maxLength:"100" doc:"Slug of a team."`
	RepositoryID string `query:"repository_id" maxLength:"100"`
	Text         string `query:"q" maxLength:"100" doc:"Beginning of the name."`
}) (*answer[List[App]], error) {
	l, err := a.Catalog.Apps(ctx, catalog.AppFilter{Page: in.page(), Team: in.Team, RepositoryID: in.RepositoryID, Text: in.Text})
	if err != nil {
		return nil, err
	}
	return listOf(l, a.appOf), nil
}

func (a *API) createApp(ctx context.Context, in *struct{ Body catalog.NewApp }) (*answer[App], error) {
	app, err := a.Catalog.CreateApp(ctx, in.Body)
	return replyWith(app, a.appOf, err)
}

func (a *API) getApp(ctx context.Context, in *IDIn) (*answer[App], error) {
	app, err := a.Catalog.App(ctx, in.ID)
	return replyWith(app, a.appOf, err)
}

func (a *API) listStages(ctx context.Context, in *IDIn) (*answer[List[string]], error) {
	names, err := a.Catalog.Stages(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(names, func(name *string) string { return *name }), nil
}

func (a *API) updateApp(ctx context.Context, in *struct {
	IDIn
	Body catalog.UpdateApp
}) (*answer[App], error) {
	app, err := a.Catalog.UpdateApp(ctx, in.ID, in.Body)
	return replyWith(app, a.appOf, err)
}

func (a *API) deleteApp(ctx context.Context, in *IDIn) error {
	return a.Catalog.DeleteApp(ctx, in.ID)
}

func (a *API) appOf(app *models.App) App {
	out := App{
		ID: app.ID, Team: slugOf(app.Team), TeamID: app.TeamID, RepositoryID: app.RepositoryID, Name: app.Name,
		Dockerfile: app.Dockerfile, Context: app.Context, Builder: app.Builder, Port: app.Port, Health: app.Health, HealthPath: app.HealthPath, Protocol: app.Protocol, Command: app.ReleaseCommand,
		BuildTimeout: app.BuildTimeout, WorkerLabels: append([]string{}, app.WorkerLabels...), Build: app.BuildSettings,
		CreatedAt: app.CreatedAt.UTC(), UpdatedAt: app.UpdatedAt.UTC(),
	}
	out.Triggers = app.Triggers
	for _, list := range []*[]string{&out.Triggers.Branches, &out.Triggers.Tags, &out.Triggers.Paths} {
		*list = append([]string{}, *list...)
	}
	out.RegistryID, out.ImageRepo, out.Image = app.RegistryID, app.ImageRepository, app.ImageName(a.Registry.Host())
	return out
}
