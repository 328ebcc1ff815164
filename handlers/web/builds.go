package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/handlers/sse"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/catalog"
	"slipway.dev/services/deploy"
	"slipway.dev/services/events"
	"slipway.dev/services/forges"
	views "slipway.dev/views/builds"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Builds is the pages about builds.
type Builds struct {
	*Base
	Catalog *catalog.Service
	Builds  *builds.Service
	Deploy  *deploy.Service
	Forges  *forges.Service
	Events  *events.Service
	Streams *sse.Streams
}

// buildPage is the list's page that the address asks for; builds' rows are tall.
func buildPage(c echo.Context) models.Page {
	p := cursor(c)
	p.Limit = 25
	return p
}

// stateLinks narrow a list of builds.
func stateLinks(c echo.Context, current models.BuildState) []components.FilterLink {
	path := c.Request().URL.Path
	links := []components.FilterLink{{Label: "All", Href: path, Current: current == ""}}
	for _, s := range []models.BuildState{models.BuildWaiting, models.BuildRunning, models.BuildQueued, models.BuildSucceeded, models.BuildFailed, models.BuildCanceled} {
		links = append(links, components.FilterLink{Label: components.Word(s), Href: path + "?state=" + string(s), Current: current == s})
	}
	return links
}

// List shows the builds of all of the reader's teams.
func (h *Builds) List(c echo.Context) error {
	ctx := c.Request().Context()
	f := builds.Filter{State: models.BuildState(c.QueryParam("state")), Page: buildPage(c)}
	list, err := h.Builds.List(ctx, f)
	if err != nil {
		return err
	}
	if err := h.Builds.AddSteps(ctx, list.Items); err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Builds", Nav: "builds", Live: []string{"builds"}})
	v := views.ListView{Builds: list.Items, ShowApp: true, Filters: stateLinks(c, f.State), Curl: p.Curl("POST", "/api/v1/apps/APP_ID/builds", `{"ref": "main"}`)}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, views.List(p, v))
}

// Page shows one build.
func (h *Builds) Page(c echo.Context) error {
	ctx := c.Request().Context()
	b, err := h.Builds.Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	p := h.page(c, buildFrame(b))
	v := views.PageView{
		Build: *b, CanBuild: models.PrincipalFrom(ctx).RoleIn(b.TeamID).AtLeast(models.RoleDeveloper),
		BuildCurl:   p.Curl("POST", "/api/v1/apps/"+b.AppID+"/builds", `{"ref": "`+askedRef(b)+`"}`).For("Build this"),
		ApproveCurl: p.Curl("POST", "/api/v1/builds/"+b.ID+"/approve", `{"commit": "`+b.Commit+`"}`).For("Approve this commit"),
		LogCurl:     p.Curl("GET", "/api/v1/builds/"+b.ID+"/logs", "").For("Read the log"),
	}
	deployable, err := h.Deploy.Deployable(ctx, b)
	if err != nil {
		return err
	}
	v.Elsewhere = !deployable
	if v.Reason, err = h.Builds.WhyWaiting(ctx, b); err != nil {
		return err
	}
	if v.Deployed, err = h.deployed(ctx, b); err != nil {
		return err
	}
	if b.State.Ended() {
		if v.Changes, err = h.Builds.ChangesOf(ctx, b); err != nil {
			return err
		}
	}
	if told, ok, err := h.Forges.Report(ctx, b); err != nil {
		return err
	} else if ok {
		v.Told = &views.Told{ForgeReport: told.ForgeReport, Forge: told.Forge, Word: told.Word}
	}
	if v.Log, err = h.log(c, b); err != nil {
		return err
	}
	if v.File, err = h.Builds.Findings(ctx, b.ID); err != nil && !models.IsCode(err, models.NotFound) {
		return err
	}
	return Render(c, http.StatusOK, views.Page(p, v))
}

// askedRef is what to ask for to get the same build again; the head of a pull request is asked for by its commit.
func askedRef(b *models.Build) string {
	if b.RefKind == models.RefPullRequest {
		return b.Commit
	}
	return b.Ref
}

// buildFrame is the page around a build.
func buildFrame(b *models.Build) layout.Page {
	app := models.App{ID: b.AppID}
	if b.App != nil {
		app = *b.App
	}
	p := layout.Page{
		Title: views.Subject(*b), Window: b.Title() + " " + views.Subject(*b) + " · " + app.Name, State: string(b.State), Nav: "builds", Meta: views.Meta(*b),
		Crumbs: []layout.Link{{Label: "Apps", Href: "/apps"}, {Label: app.Name, Href: "/apps/" + app.ID}, {Label: "Builds", Href: "/apps/" + app.ID + "/builds"}},
	}
	if !b.State.Ended() {
		p.Reload = 5 // for those without scripts; the others follow the log's stream
	}
	return p
}

// deployed is where the build's image serves now.
func (h *Builds) deployed(ctx context.Context, b *models.Build) ([]models.Deployment, error) {
	if b.ImageDigest == "" {
		return nil, nil
	}
	list, err := h.Deploy.List(ctx, deploy.Filter{AppID: b.AppID, Digest: b.ImageDigest, Active: true})
	return list.Items, err
}

// New is the form that starts a build.
func (h *Builds) New(c echo.Context) error { return h.form(c, http.StatusOK, components.Form{}) }

func (h *Builds) form(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	app, err := h.Catalog.App(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err := models.Authorize(ctx, app.TeamID, models.RoleDeveloper, "app"); err != nil {
		return err
	}
	v, err := newBuild(ctx, h.Base, h.Catalog, app)
	if err != nil {
		return err
	}
	v.Form = form
	p := h.page(c, layout.Page{Title: "Build " + app.Name, Nav: "apps", Crumbs: []layout.Link{{Label: "Apps", Href: "/apps"}, {Label: app.Name, Href: "/apps/" + app.ID}}})
	return Render(c, status, views.New(p, v))
}

// newBuild is what the form offers: branches and tags, the default branch first.
func newBuild(ctx context.Context, base *Base, names *catalog.Service, app *models.App) (views.NewView, error) {
	refs, err := names.Refs(ctx, app.RepositoryID)
	if err != nil {
		return views.NewView{}, err
	}
	v := views.NewView{App: *app, Refs: refs, Branch: "main"}
	if app.Repository != nil {
		v.Branch = app.Repository.DefaultBranch
	}
	p := layout.Page{BaseURL: base.ExternalURL}
	v.Curl = p.Curl("POST", "/api/v1/apps/"+app.ID+"/builds", `{"ref": "`+v.Branch+`"}`)
	return v, nil
}

// Queue starts a build.
func (h *Builds) Queue(c echo.Context) error {
	in := builds.QueueInput{AppID: c.Param("id"), Ref: c.FormValue("ref"), NoCache: c.FormValue("no_cache") != ""}
	if commit := strings.TrimSpace(c.FormValue("commit")); commit != "" {
		in.Ref = commit
	}
	b, err := h.Builds.Queue(c.Request().Context(), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.form(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	return c.Redirect(http.StatusSeeOther, "/builds/"+b.ID)
}

// Cancel ends a build.
func (h *Builds) Cancel(c echo.Context) error {
	b, err := h.Builds.Cancel(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/builds/"+b.ID)
}

// Approve lets the build of a fork's pull request run, of the commit that the reader has looked at.
func (h *Builds) Approve(c echo.Context) error {
	b, err := h.Builds.Approve(c.Request().Context(), c.Param("id"), c.FormValue("commit"))
	if err != nil {
		return err
	}
	notify(c, "Build "+b.Title()+" approved")
	return c.Redirect(http.StatusSeeOther, "/builds/"+b.ID)
}

// Retry builds the same commit again.
func (h *Builds) Retry(c echo.Context) error {
	b, err := h.Builds.Retry(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	notify(c, "Build "+b.Title()+" queued")
	return c.Redirect(http.StatusSeeOther, "/builds/"+b.ID)
}
