package web

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/catalog"
	"slipway.dev/services/copies"
	"slipway.dev/views/components"
	views "slipway.dev/views/copies"
	"slipway.dev/views/layout"
)

// Copies is the pages about images that are copied between registries.
type Copies struct {
	*Base
	Catalog *catalog.Service
	Copies  *copies.Service
}

var copyCrumbs = []layout.Link{{Label: "Images", Href: "/images"}, {Label: "Copies", Href: "/copies"}}

// List shows the copies of the reader's teams, or of one of them.
func (h *Copies) List(c echo.Context) error {
	ctx := c.Request().Context()
	f := copies.Filter{Page: cursor(c), State: models.CopyState(c.QueryParam("state"))}
	slug := c.QueryParam("team")
	if slug != "" {
		team, err := h.Catalog.Team(ctx, slug)
		if err != nil {
			return err
		}
		f.TeamID = team.ID
	}
	list, err := h.Copies.List(ctx, f)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Copies", Nav: "images", Crumbs: copyCrumbs[:1], Live: []string{"copies"}})
	v := views.ListView{Copies: list.Items, Filters: copyLinks(c, f.State), Curl: p.Curl("GET", "/api/v1/copies", "")}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, views.List(p, v))
}

// copyLinks narrow the list by state.
func copyLinks(c echo.Context, current models.CopyState) []components.FilterLink {
	q := c.QueryParams()
	q.Del("cursor")
	q.Del("state")
	links := []components.FilterLink{{Label: "All", Href: "/copies?" + q.Encode(), Current: current == ""}}
	for _, s := range []models.CopyState{models.CopyRunning, models.CopyQueued, models.CopySucceeded, models.CopyFailed, models.CopyCanceled} {
		q.Set("state", string(s))
		links = append(links, components.FilterLink{Label: components.Word(s), Href: "/copies?" + q.Encode(), Current: current == s})
	}
	return links
}

// New is the form of a copy.
func (h *Copies) New(c echo.Context) error { return h.form(c, http.StatusOK, components.Form{}) }

func (h *Copies) form(c echo.Context, status int, form components.Form) error {
	list, err := h.Catalog.Teams(c.Request().Context(), catalog.TeamFilter{Page: models.Page{Limit: models.MaxLimit}})
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Copy an image", Nav: "images", Crumbs: copyCrumbs})
	v := views.NewView{From: c.QueryParam("from"), Team: c.QueryParam("team"), Host: host(h.ExternalURL), Form: form,
		Curl: p.Curl("POST", "/api/v1/copies", `{"from": "`+host(h.ExternalURL)+`/payments/checkout:main", "to": "ghcr.io/acme/checkout:1.4", "referrers": true}`)}
	for _, t := range list.Items {
		v.Teams = append(v.Teams, components.Option{Value: t.Slug, Label: t.Name})
	}
	return Render(c, status, views.New(p, v))
}

// Create asks for a copy.
func (h *Copies) Create(c echo.Context) error {
	ctx := c.Request().Context()
	in := copies.Named{Team: c.FormValue("team"), From: c.FormValue("from"), To: c.FormValue("to"), Referrers: c.FormValue("referrers") != ""}
	made, err := h.Copies.CreateNamed(ctx, in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.form(c, problem.Of(ctx, err).Status, form)
	}
	return c.Redirect(http.StatusSeeOther, views.URL(*made))
}

// Page shows one copy.
func (h *Copies) Page(c echo.Context) error {
	ctx := c.Request().Context()
	one, err := h.Copies.Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	frame := layout.Page{Title: one.From(), Window: "Copy of " + one.From(), State: views.State(*one), Nav: "images", Crumbs: copyCrumbs,
		Meta: views.Meta(*one), Live: []string{copies.Topic(one.ID)}}
	if !one.State.Ended() {
		frame.Reload = 3
	}
	p := h.page(c, frame)
	v := views.PageView{Copy: *one, MayAct: models.PrincipalFrom(ctx).RoleIn(one.TeamID).AtLeast(models.RoleDeveloper),
		Curl: p.Curl("GET", "/api/v1/copies/"+one.ID, ""), RetryCurl: p.Curl("POST", "/api/v1/copies/"+one.ID+"/retry", "").For("Retry")}
	return Render(c, http.StatusOK, views.Page(p, v))
}

// Cancel ends a copy.
func (h *Copies) Cancel(c echo.Context) error { return h.act(c, h.Copies.Cancel) }

// Retry goes on with one that failed or was canceled.
func (h *Copies) Retry(c echo.Context) error { return h.act(c, h.Copies.Retry) }

func (h *Copies) act(c echo.Context, do func(context.Context, string) (*models.Copy, error)) error {
	one, err := do(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, views.URL(*one))
}
