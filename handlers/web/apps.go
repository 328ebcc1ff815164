package web

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/catalog"
	"slipway.dev/services/deploy"
	"slipway.dev/services/images"
	"slipway.dev/services/registries"
	"slipway.dev/services/registry"
	"slipway.dev/views/apps"
	views "slipway.dev/views/builds"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Apps is the pages about apps.
type Apps struct {
	*Base
	Catalog  *catalog.Service
	Builds   *builds.Service
	Images   *images.Service
	Deploy   *deploy.Service
	Registry *registry.Service

	Registries *registries.Service
}

// List is the catalog.
func (h *Apps) List(c echo.Context) error {
	ctx := c.Request().Context()
	f := catalog.AppFilter{Page: cursor(c), Team: c.QueryParam("team"), Text: c.QueryParam("q")}
	list, err := h.Catalog.Apps(ctx, f)
	if err != nil {
		return err
	}
	v := apps.ListView{Term: f.Text, Team: f.Team}
	if v.Items, err = items(ctx, h.Builds, h.Deploy, list.Items); err != nil {
		return err
	}
	if v.Teams, v.CanMake, err = h.teamLinks(ctx, f.Team); err != nil {
		return err
	}
	v.First, v.Next = pages(c, list.Next)
	p := h.page(c, layout.Page{Title: "Apps", Nav: "apps", Live: []string{"apps", "builds", "deployments"}})
	v.Curl = p.Curl("POST", "/api/v1/repositories", `{"team": "payments", "clone_url": "https://git.example.com/payments/checkout.git"}`)
	return Render(c, http.StatusOK, apps.List(p, v))
}

// teamLinks are the teams to narrow the list by, and whether the reader may register in one of them.
func (h *Apps) teamLinks(ctx context.Context, current string) ([]components.FilterLink, bool, error) {
	teams, err := h.Catalog.Teams(ctx, catalog.TeamFilter{Page: models.Page{Limit: 20}})
	if err != nil {
		return nil, false, err
	}
	links := []components.FilterLink{{Label: "All", Href: "/apps", Current: current == ""}}
	can := false
	for _, t := range teams.Items {
		links = append(links, components.FilterLink{Label: t.Name, Href: "/apps?team=" + t.Slug, Current: current == t.Slug})
		can = can || models.PrincipalFrom(ctx).RoleIn(t.ID).AtLeast(models.RoleMaintainer)
	}
	return links, can, nil
}

// header reads the app that the address names, and what its pages share.
func (h *Apps) header(c echo.Context) (apps.Header, error) {
	ctx := c.Request().Context()
	app, err := h.Catalog.App(ctx, c.Param("id"))
	if err != nil {
		return apps.Header{}, err
	}
	role := models.PrincipalFrom(ctx).RoleIn(app.TeamID)
	header := apps.Header{App: *app, CanBuild: role.AtLeast(models.RoleDeveloper), CanEdit: role.AtLeast(models.RoleDeveloper), CanDelete: role.AtLeast(models.RoleMaintainer)}
	if header.CanBuild {
		header.Build, err = newBuild(ctx, h.Base, h.Catalog, app)
	}
	return header, err
}

// frame is the page around the app's tab of the name.
func (h *Apps) frame(c echo.Context, header apps.Header, tab, title string) layout.Page {
	p := layout.Page{
		Title: header.App.Name, Nav: "apps", Meta: apps.Meta(header.App), Tabs: apps.Tabs(header, tab),
		Crumbs: []layout.Link{{Label: "Apps", Href: "/apps"}}, Live: []string{"app:" + header.App.ID},
	}
	if title != "" {
		p.Window = title + " of " + header.App.Name
	}
	return h.page(c, p)
}

// Overview shows what runs where, and the last builds.
func (h *Apps) Overview(c echo.Context) error {
	ctx := c.Request().Context()
	header, err := h.header(c)
	if err != nil {
		return err
	}
	v := apps.OverviewView{Header: header}
	board, err := h.Deploy.Board(ctx, deploy.BoardFilter{TeamID: header.App.TeamID, AppIDs: []string{header.App.ID}})
	if err != nil {
		return err
	}
	v.Stages = stages(board, header.App)
	list, err := h.builds(ctx, builds.Filter{AppID: header.App.ID, Page: models.Page{Limit: 6}})
	if err != nil {
		return err
	}
	v.Builds = list.Items
	if v.Registry, err = h.repository(ctx, &header.App); err != nil {
		return err
	}
	return Render(c, http.StatusOK, apps.Overview(h.frame(c, header, "overview", ""), v))
}

// repository is where the app's images are, with the registry's host.
func (h *Apps) repository(ctx context.Context, app *models.App) (string, error) {
	if app.RegistryID != "" {
		return app.ImageName(h.Registry.Host()), nil
	}
	name, err := h.Images.RepositoryOf(ctx, app)
	return h.Registry.Host() + "/" + name, err
}

// builds lists builds with the steps that their bars show.
func (h *Apps) builds(ctx context.Context, f builds.Filter) (models.List[models.Build], error) {
	list, err := h.Builds.List(ctx, f)
	if err == nil {
		err = h.Builds.AddSteps(ctx, list.Items)
	}
	return list, err
}

// BuildList shows the app's builds.
func (h *Apps) BuildList(c echo.Context) error {
	header, err := h.header(c)
	if err != nil {
		return err
	}
	f := builds.Filter{AppID: header.App.ID, State: models.BuildState(c.QueryParam("state")), Page: buildPage(c)}
	list, err := h.builds(c.Request().Context(), f)
	if err != nil {
		return err
	}
	v := apps.BuildsView{Header: header, List: views.ListView{Builds: list.Items, App: &header.App, Filters: stateLinks(c, f.State), Curl: header.Build.Curl}}
	v.List.First, v.List.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, apps.Builds(h.frame(c, header, "builds", "Builds"), v))
}

// ImageList shows the app's images.
func (h *Apps) ImageList(c echo.Context) error {
	ctx := c.Request().Context()
	header, err := h.header(c)
	if err != nil {
		return err
	}
	list, err := h.Images.ForApp(ctx, header.App.ID, cursor(c))
	if err != nil {
		return err
	}
	v := apps.ImagesView{Header: header, Images: list.Items}
	if v.Registry, err = h.repository(ctx, &header.App); err != nil {
		return err
	}
	if v.Bad, err = h.bad(ctx, header.App.TeamID); err != nil {
		return err
	}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, apps.Images(h.frame(c, header, "images", "Images"), v))
}

// bad are the images that the team deploys nowhere.
func (h *Apps) bad(ctx context.Context, teamID string) (apps.Bad, error) {
	all, err := h.Deploy.BadImages(ctx, teamID)
	bad := make(apps.Bad, len(all))
	for _, b := range all {
		bad[b.Digest] = b
	}
	return bad, err
}

// Deployments shows the app's deployments.
func (h *Apps) Deployments(c echo.Context) error {
	header, err := h.header(c)
	if err != nil {
		return err
	}
	f := deploy.Filter{AppID: header.App.ID, EnvironmentID: c.QueryParam("environment"), Page: cursor(c)}
	list, err := h.Deploy.List(c.Request().Context(), f)
	if err != nil {
		return err
	}
	v := apps.DeploymentsView{Header: header, Deployments: list.Items}
	if v.Bad, err = h.bad(c.Request().Context(), header.App.TeamID); err != nil {
		return err
	}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, apps.Deployments(h.frame(c, header, "deployments", "Deployments"), v))
}

// Settings is the form of the app's settings.
func (h *Apps) Settings(c echo.Context) error {
	return h.settings(c, http.StatusOK, apps.SettingsView{})
}

// settings adds the app to a view that may hold forms with faults.
func (h *Apps) settings(c echo.Context, status int, v apps.SettingsView) error {
	ctx := c.Request().Context()
	header, err := h.header(c)
	if err != nil {
		return err
	}
	if err := models.Authorize(ctx, header.App.TeamID, models.RoleDeveloper, "app"); err != nil {
		return err
	}
	active, err := h.Deploy.List(ctx, deploy.Filter{AppID: header.App.ID, Active: true})
	if err != nil {
		return err
	}
	p := h.frame(c, header, "settings", "Settings")
	p.Live = nil // a form is being filled in
	v.Header, v.Running = header, active.Items
	v.Curl = p.Curl("PATCH", "/api/v1/apps/"+header.App.ID, `{"port": 8080}`)
	v.TriggersCurl = p.Curl("PATCH", "/api/v1/apps/"+header.App.ID, `{"triggers": {"branches": ["main", "release/*"], "pull_requests": "same"}}`).For("Change the triggers")
	return Render(c, status, apps.Settings(p, v))
}

// Update changes the app's settings.
func (h *Apps) Update(c echo.Context) error {
	in, err := appUpdate(c)
	if err == nil {
		_, err = h.Catalog.UpdateApp(c.Request().Context(), c.Param("id"), in)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.settings(c, problem.Of(c.Request().Context(), err).Status, apps.SettingsView{Form: form})
	}
	notify(c, "Settings saved; they take effect with the next build and deployment")
	return c.Redirect(http.StatusSeeOther, "/apps/"+c.Param("id")+"/settings")
}

// UpdateTriggers changes what builds the app by itself.
func (h *Apps) UpdateTriggers(c echo.Context) error {
	in := catalog.UpdateApp{Triggers: triggersOf(c)}
	if _, err := h.Catalog.UpdateApp(c.Request().Context(), c.Param("id"), in); err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.settings(c, problem.Of(c.Request().Context(), err).Status, apps.SettingsView{Triggers: form})
	}
	notify(c, "Triggers saved")
	return c.Redirect(http.StatusSeeOther, "/apps/"+c.Param("id")+"/settings#triggers")
}

// triggersOf reads the form of triggers: a box that is not ticked is off, and patterns stand one a line.
func triggersOf(c echo.Context) *catalog.UpdateTriggers {
	ticked := func(name string) *bool {
		v := c.FormValue(name) != ""
		return &v
	}
	patterns := func(name string) *[]string {
		v := strings.Split(c.FormValue(name), "\n")
		return &v
	}
	pulls := models.PullRequestTrigger(c.FormValue("pull_requests"))
	return &catalog.UpdateTriggers{Push: ticked("push"), SkipMarkers: ticked("skip_markers"), Branches: patterns("branches"), Tags: patterns("tags"), Paths: patterns("paths"), PullRequests: &pulls}
}

// appUpdate reads the form of settings.
func appUpdate(c echo.Context) (catalog.UpdateApp, error) {
	text := func(name string) *string {
		v := c.FormValue(name)
		return &v
	}
	port, err := number(c, "port")
	if err != nil {
		return catalog.UpdateApp{}, err
	}
	timeout, err := number(c, "build_timeout")
	if err != nil {
		return catalog.UpdateApp{}, err
	}
	health := models.HealthKind(c.FormValue("health"))
	var builder *models.BuilderKind
	var protocol *models.Protocol
	if form, err := c.FormParams(); err == nil && form.Has("protocol") {
		p := models.Protocol(c.FormValue("protocol"))
		protocol = &p
	}
	if kind := models.BuilderKind(c.FormValue("builder")); kind != "" {
		builder = &kind
	}
	return catalog.UpdateApp{
		Builder: builder,
		Name:    text("name"), Dockerfile: text("dockerfile"), Context: text("context"), Port: &port,
		Health: &health, HealthPath: text("health_path"), Protocol: protocol, Command: text("release_command"), BuildTimeout: &timeout, WorkerLabels: labels(c, "worker_labels"),
	}, nil
}

// labels is a field that lists labels, separated by commas or spaces; nil where the form has no such field.
func labels(c echo.Context, field string) *[]string {
	form, err := c.FormParams()
	if err != nil || !form.Has(field) {
		return nil
	}
	all := strings.FieldsFunc(form.Get(field), func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	return &all
}

// number is a field that holds a whole number; an empty one is 0.
func number(c echo.Context, field string) (int, error) {
	text := c.FormValue(field)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, models.InvalidField(field, "Enter a whole number.")
	}
	return n, nil
}

// Delete deletes the app, after its name was typed.
func (h *Apps) Delete(c echo.Context) error {
	ctx := c.Request().Context()
	app, err := h.Catalog.App(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err = confirmed(c, app.Name); err == nil {
		err = h.Catalog.DeleteApp(ctx, app.ID)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.settings(c, problem.Of(ctx, err).Status, apps.SettingsView{Form: components.Form{Err: form.Err}, Delete: form})
	}
	notify(c, "App "+app.Name+" deleted")
	return c.Redirect(http.StatusSeeOther, "/apps")
}
