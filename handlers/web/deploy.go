package web

import (
	"context"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/catalog"
	"slipway.dev/services/deploy"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
	views "slipway.dev/views/deployments"
	"slipway.dev/views/layout"
)

// maxChoices is how many builds the deploy page offers; others can be named.
const maxChoices = 8

// Deploy is the page that says what a deployment would change, and does it.
type Deploy struct {
	*Base
	Catalog *catalog.Service
	Builds  *builds.Service
	Deploy  *deploy.Service
}

// Form shows what a deployment would change.
func (h *Deploy) Form(c echo.Context) error {
	return h.form(c, c.Param("id"), c.QueryParam("environment"), c.QueryParams(), nil)
}

// form is the page for the app in the environment; asked says which image, and
// failed why a deployment was not possible.
func (h *Deploy) form(c echo.Context, appID, environmentID string, asked url.Values, failed error) error {
	ctx := c.Request().Context()
	app, err := h.Catalog.App(ctx, appID)
	if err != nil {
		return err
	}
	if err := models.Authorize(ctx, app.TeamID, models.RoleDeveloper, "app"); err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Deploy " + app.Name, Nav: "apps", Crumbs: []layout.Link{{Label: "Apps", Href: "/apps"}, {Label: app.Name, Href: "/apps/" + app.ID}}})
	v := views.NewView{App: *app, CanDeploy: true, Form: components.Form{Values: asked}}
	v.CanOverride = models.PrincipalFrom(ctx).RoleIn(app.TeamID).AtLeast(models.RoleMaintainer)
	if err := h.place(ctx, &v, environmentID); err != nil {
		return err
	}
	status := http.StatusOK
	if v.Environment != nil {
		v.Curl = p.Curl("POST", "/api/v1/environments/"+v.Environment.ID+"/deployments", `{"app_id": "`+app.ID+`"}`)
		if status, err = h.fill(c, &v, asked, failed); err != nil {
			return err
		}
	}
	return Render(c, status, views.New(p, v))
}

// place finds the team's environments and which of them is meant: the first where none is named.
func (h *Deploy) place(ctx context.Context, v *views.NewView, id string) error {
	all, err := h.Deploy.Environments(ctx, deploy.EnvironmentFilter{TeamID: v.App.TeamID})
	if err != nil {
		return err
	}
	for i, e := range all {
		current := e.ID == id || (id == "" && i == 0)
		if current {
			v.Environment = &all[i]
		}
		v.Environments = append(v.Environments, components.FilterLink{Label: e.Name, Href: "/apps/" + v.App.ID + "/deploy?environment=" + e.ID, Current: current})
	}
	if id == "" || v.Environment != nil {
		return nil
	}
	e, err := h.Deploy.Environment(ctx, id) // a preview: what served there can be rolled back to
	if err == nil && e.TeamID != v.App.TeamID {
		err = models.Errorf(models.NotFound, "No such environment.")
	}
	v.Environment = e
	return err
}

// fill adds the plan, or why there is none, and the builds to choose from.
func (h *Deploy) fill(c echo.Context, v *views.NewView, asked url.Values, failed error) (int, error) {
	ctx := c.Request().Context()
	plan, err := h.plan(ctx, *v, asked)
	if failed != nil {
		err = failed
	}
	status := http.StatusOK
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return 0, fault
		}
		v.Form.Err = form.Err
		if failed != nil || asked.Has("image") || asked.Has("build") || asked.Has("deployment") {
			status = problem.Of(ctx, err).Status
		}
	}
	chosen, serving := "", ""
	if plan != nil {
		view := planView(plan)
		v.Plan, chosen = &view, plan.Image.Digest
		if plan.Current != nil {
			serving = plan.Current.ImageDigest
		}
		if v.Origin, err = h.origin(ctx, plan, asked.Get("from")); err != nil {
			return 0, err
		}
	}
	list, err := h.Builds.List(ctx, builds.Filter{AppID: v.App.ID, State: models.BuildSucceeded, Page: models.Page{Limit: maxChoices}})
	for _, b := range list.Items {
		href := "/apps/" + v.App.ID + "/deploy?environment=" + v.Environment.ID + "&build=" + b.ID
		v.Choices = append(v.Choices, views.Choice{Build: b, Href: href, Current: b.ImageDigest == chosen, Serving: b.ImageDigest == serving && serving != ""})
	}
	return status, err
}

// plan looks at what would change: to the deployment, the build or the image that is asked for.
func (h *Deploy) plan(ctx context.Context, v views.NewView, asked url.Values) (*deploy.Plan, error) {
	if id := asked.Get("deployment"); id != "" {
		p, err := h.Deploy.PlanRollback(ctx, id)
		if err == nil && (p.App.ID != v.App.ID || p.Environment.ID != v.Environment.ID) {
			return nil, models.Errorf(models.NotFound, "No such deployment.")
		}
		return p, err
	}
	return h.Deploy.Plan(ctx, deploy.Input{
		EnvironmentID: v.Environment.ID, AppID: v.App.ID, BuildID: asked.Get("build"), Image: asked.Get("image"), Tag: asked.Get("tag"),
	})
}

// origin is where the image is promoted from; nil where it is not, or does not run there any more.
func (h *Deploy) origin(ctx context.Context, plan *deploy.Plan, environmentID string) (*views.Origin, error) {
	if environmentID == "" {
		return nil, nil
	}
	o, err := h.Deploy.Origin(ctx, plan, environmentID)
	if models.IsCode(err, models.NotFound) || models.IsCode(err, models.Conflict) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := &views.Origin{Deployment: *o.Deployment, OnlyThere: o.OnlyThere, OnlyHere: o.OnlyHere}
	for _, d := range o.Settings {
		v.Settings = append(v.Settings, views.Difference(d))
	}
	if plan.Current != nil {
		v.Compare = views.CompareURL(plan.App.ID, plan.Current.ID, o.Deployment.ID)
	}
	return v, nil
}

// planView is the plan as its page takes it.
func planView(p *deploy.Plan) views.Plan {
	v := views.Plan{
		Digest: p.Image.Digest, Tag: p.Image.Tag, Build: p.Image.Build, Current: p.Current, RollbackTo: p.To, More: p.More, Back: p.Back, CommitsNote: p.CommitsNote,
		Repository: p.App.Repository, Size: p.Image.Size, Before: p.SizeBefore, URL: p.URL, Ready: p.Ready(), Open: p.Open(), ConfigHash: p.ConfigHash,
		NeedsApproval: p.To == nil && p.Environment.Protection.Approvals > 0,
		Image:         apps.Version(models.Deployment{Build: p.Image.Build, ImageTag: p.Image.Tag, ImageDigest: p.Image.Digest}),
	}
	v.Cost = costView(p.Cost)
	v.Cost.Before, v.Cost.HasBefore = p.CostBefore.Month, p.CostBefore.Known()
	for _, c := range p.Commits {
		v.Commits = append(v.Commits, models.ChangeCommit{ID: c.ID, Subject: c.Subject, Author: c.Author, Email: c.Email, Time: c.Time})
	}
	for _, d := range p.Settings {
		v.Settings = append(v.Settings, views.Difference(d))
	}
	for _, c := range p.Variables {
		v.Variables = append(v.Variables, views.Change(c))
	}
	for _, c := range p.Secrets {
		v.Secrets = append(v.Secrets, views.Change(c))
	}
	for _, c := range p.Checks {
		v.Checks = append(v.Checks, views.Check{Name: c.Name, OK: c.OK, Message: c.Message, Gate: c.Gate})
		v.Frozen = v.Frozen || c.Name == "Freeze" && !c.OK
	}
	return v
}

// Create deploys what the form showed, or shows why that is not possible.
func (h *Deploy) Create(c echo.Context) error {
	in := deploy.Input{EnvironmentID: c.Param("id"), AppID: c.FormValue("app_id"), Image: c.FormValue("image"), BuildID: c.FormValue("build_id"), Tag: c.FormValue("tag"), ConfigHash: c.FormValue("config_hash"), Reason: c.FormValue("reason")}
	d, err := h.Deploy.Deploy(c.Request().Context(), in)
	if err != nil {
		if _, fault := again(c, err); fault != nil || in.AppID == "" {
			return err
		}
		asked := url.Values{"image": {in.Image}}
		if in.Tag != "" { // what it names by now
			asked = url.Values{"image": {in.Tag}}
		}
		return h.form(c, in.AppID, in.EnvironmentID, asked, err)
	}
	return c.Redirect(http.StatusSeeOther, views.URL(*d))
}
