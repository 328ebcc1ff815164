package web

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/forges"
	"slipway.dev/services/previews"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
	views "slipway.dev/views/previews"
)

// Previews is the pages about previews of pull requests.
type Previews struct {
	*Apps
	Previews *previews.Service
	Forges   *forges.Service
}

var previewCrumbs = []layout.Link{{Label: "Environments", Href: "/environments"}, {Label: "Previews", Href: "/previews"}}

// List shows the previews of the reader's teams, or of one of them.
func (h *Previews) List(c echo.Context) error {
	ctx := c.Request().Context()
	f := previewFilter(c)
	slug := c.QueryParam("team")
	if slug != "" {
		team, err := h.Catalog.Team(ctx, slug)
		if err != nil {
			return err
		}
		f.TeamID = team.ID
	}
	list, err := h.Previews.List(ctx, f)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Previews", Nav: "environments", Crumbs: previewCrumbs[:1], Live: []string{"previews"}})
	v := views.ListView{Previews: list.Items, Filters: previewLinks(c), Team: slug, Curl: p.Curl("GET", "/api/v1/previews", "")}
	if v.Usages, err = h.Previews.Usages(ctx); err != nil {
		return err
	}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, views.List(p, v))
}

// previewFilter reads which previews the address asks for: those that go on, unless it says ended.
func previewFilter(c echo.Context) previews.Filter {
	f := previews.Filter{Page: cursor(c), Going: true}
	if c.QueryParam("state") == string(models.PreviewEnded) {
		f.State, f.Going = models.PreviewEnded, false
	}
	return f
}

// previewLinks narrow the list by state.
func previewLinks(c echo.Context) []components.FilterLink {
	q := c.QueryParams()
	q.Del("cursor")
	ended := q.Get("state") == string(models.PreviewEnded)
	q.Del("state")
	open := c.Request().URL.Path + "?" + q.Encode()
	q.Set("state", string(models.PreviewEnded))
	return []components.FilterLink{{Label: "Open", Href: open, Current: !ended}, {Label: "Ended", Href: c.Request().URL.Path + "?" + q.Encode(), Current: ended}}
}

// Page shows one preview.
func (h *Previews) Page(c echo.Context) error {
	ctx := c.Request().Context()
	x, err := h.Previews.Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	frame := layout.Page{Title: views.Name(*x), Window: "Preview of " + views.Name(*x), State: x.Status(), Nav: "environments", Crumbs: previewCrumbs, Meta: views.Meta(*x),
		Live: []string{previews.Topic(x.ID)}}
	if x.State != models.PreviewEnded {
		frame.Reload = 5
	}
	p := h.page(c, frame)
	v := views.PageView{Preview: *x, CanAct: models.PrincipalFrom(ctx).RoleIn(x.TeamID).AtLeast(models.RoleDeveloper), Curl: p.Curl("POST", "/api/v1/previews/"+x.ID+"/redeploy", "")}
	if v.Comment, v.Told, err = h.Forges.Comment(ctx, x.TeamID, x.RepositoryID, x.Number); err != nil {
		return err
	}
	return Render(c, http.StatusOK, views.Page(p, v))
}

// Redeploy has the newest good build deployed again.
func (h *Previews) Redeploy(c echo.Context) error {
	return h.act(c, h.Previews.Redeploy, "It is deployed in a moment")
}

// Extend gives a preview its whole time again.
func (h *Previews) Extend(c echo.Context) error {
	return h.act(c, h.Previews.Extend, "It has its whole time again")
}

// Remove ends a preview until the next push.
func (h *Previews) Remove(c echo.Context) error {
	return h.act(c, h.Previews.Remove, "It is being removed")
}

func (h *Previews) act(c echo.Context, do func(context.Context, string) (*models.Preview, error), done string) error {
	x, err := do(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	notify(c, done)
	return c.Redirect(http.StatusSeeOther, views.URL(*x))
}

// App shows an app's previews, and what they are.
func (h *Previews) App(c echo.Context) error { return h.app(c, http.StatusOK, components.Form{}) }

func (h *Previews) app(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	header, err := h.header(c)
	if err != nil {
		return err
	}
	f := previewFilter(c)
	f.AppID = header.App.ID
	list, err := h.Previews.List(ctx, f)
	if err != nil {
		return err
	}
	v := views.AppView{Header: header, Previews: list.Items, Filters: previewLinks(c), Form: form}
	if err := h.settingsOf(ctx, &v); err != nil {
		return err
	}
	v.First, v.Next = pages(c, list.Next)
	p := h.frame(c, header, "previews", "Previews")
	if header.CanDelete {
		p.Live = nil // a form is being filled in
	}
	v.Curl = p.Curl("PUT", "/api/v1/apps/"+header.App.ID+"/preview-settings", `{"enabled": true, "target_id": "…", "template_id": "…", "hours": 72}`)
	return Render(c, status, views.App(p, v))
}

// settingsOf fills in what previews are, and what they can be.
func (h *Previews) settingsOf(ctx context.Context, v *views.AppView) error {
	settings, err := h.Previews.Settings(ctx, v.Header.App.ID)
	if err != nil {
		return err
	}
	v.Settings = *settings
	if v.Usage, err = h.Previews.Usage(ctx, v.Header.App.TeamID); err != nil {
		return err
	}
	if v.Targets, err = h.Deploy.GrantedTargets(ctx, v.Header.App.TeamID); err != nil {
		return err
	}
	v.Environments, err = h.Deploy.Environments(ctx, deploy.EnvironmentFilter{TeamID: v.Header.App.TeamID})
	return err
}

// SetSettings says what previews of an app are.
func (h *Previews) SetSettings(c echo.Context) error {
	ctx := c.Request().Context()
	in := previews.SettingsInput{Enabled: ticked(c, "enabled"), TargetID: c.FormValue("target_id"), TemplateID: c.FormValue("template_id"), Secrets: ticked(c, "secrets")}
	var err error
	if in.Hours, err = number(c, "hours"); err == nil {
		in.AtMost, err = number(c, "at_most")
	}
	if err == nil {
		_, err = h.Previews.SetSettings(ctx, c.Param("id"), in)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.app(c, problem.Of(ctx, err).Status, form)
	}
	notify(c, "Saved")
	return c.Redirect(http.StatusSeeOther, "/apps/"+c.Param("id")+"/previews")
}

// Limits shows how many previews each team has and may have.
func (h *Previews) Limits(c echo.Context) error {
	return h.limits(c, http.StatusOK, components.Form{}, "")
}

func (h *Previews) limits(c echo.Context, status int, form components.Form, team string) error {
	all, err := h.Previews.Limits(c.Request().Context())
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Admin", Nav: "admin", Tabs: admin.Tabs("previews"), Live: []string{"previews"}})
	v := admin.PreviewsView{Usages: all, Form: form, FormTeam: team, Curl: p.Curl("PUT", "/api/v1/preview-limits/payments", `{"previews": 20}`)}
	return Render(c, status, admin.Previews(p, v))
}

// SetLimit sets how many previews a team has at once.
func (h *Previews) SetLimit(c echo.Context) error {
	limit, err := number(c, "previews")
	if err == nil {
		_, err = h.Previews.SetLimit(c.Request().Context(), c.Param("team"), limit)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.limits(c, problem.Of(c.Request().Context(), err).Status, form, c.Param("team"))
	}
	notify(c, "Limit of "+c.Param("team")+" saved")
	return c.Redirect(http.StatusSeeOther, "/admin/previews")
}
