package web

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/catalog"
	"slipway.dev/services/hooks"
	"slipway.dev/views/components"
	"slipway.dev/views/deliveries"
	"slipway.dev/views/layout"
	"slipway.dev/views/teams"
)

// Deliveries is the pages about webhooks that arrived.
type Deliveries struct {
	*Base
	Catalog *catalog.Service
	Hooks   *hooks.Service
}

// maxPayload is how much of a payload a page shows, so that it stays a page.
const maxPayload = 24 << 10

// List shows a team's deliveries, or those of one of its repositories or connections.
func (h *Deliveries) List(c echo.Context) error {
	ctx := c.Request().Context()
	team, err := h.Catalog.Team(ctx, c.Param("team"))
	if err != nil {
		return err
	}
	f := hooks.Filter{Page: cursor(c), Team: team.Slug, RepositoryID: c.QueryParam("repository"), ConnectionID: c.QueryParam("connection"), State: models.DeliveryState(c.QueryParam("state"))}
	f.Limit = 25
	list, err := h.Hooks.List(ctx, f)
	if err != nil {
		return err
	}
	header := teams.Header{Team: *team, CanEdit: models.PrincipalFrom(ctx).RoleIn(team.ID).AtLeast(models.RoleMaintainer)}
	p := header.Frame(h.page(c, layout.Page{Live: []string{"deliveries"}}), "deliveries")
	v := deliveries.ListView{Header: header, Deliveries: list.Items, Filters: deliveryFilters(c, f.State), All: c.Request().URL.Path, Curl: p.Curl("GET", "/api/v1/deliveries?team="+team.Slug, "")}
	switch {
	case f.RepositoryID != "":
		v.Of = "one repository"
	case f.ConnectionID != "":
		v.Of = "one connection"
	}
	v.First, v.Next = pages(c, list.Next)
	if slices.ContainsFunc(list.Items, func(d models.Delivery) bool { return d.State == models.DeliveryReceived }) {
		p.Reload = 3
	}
	return Render(c, http.StatusOK, deliveries.List(p, v))
}

// deliveryFilters narrow the list by state and keep what else narrows it.
func deliveryFilters(c echo.Context, current models.DeliveryState) []components.FilterLink {
	at := func(state models.DeliveryState) string {
		q := url.Values{}
		for name, value := range map[string]string{"repository": c.QueryParam("repository"), "connection": c.QueryParam("connection"), "state": string(state)} {
			if value != "" {
				q.Set(name, value)
			}
		}
		if len(q) == 0 {
			return c.Request().URL.Path
		}
		return c.Request().URL.Path + "?" + q.Encode()
	}
	links := []components.FilterLink{{Label: "All", Href: at(""), Current: current == ""}}
	for _, s := range []models.DeliveryState{models.DeliveryHandled, models.DeliveryIgnored, models.DeliveryFailed} {
		links = append(links, components.FilterLink{Label: components.Word(s), Href: at(s), Current: current == s})
	}
	return links
}

// Page shows one delivery.
func (h *Deliveries) Page(c echo.Context) error {
	ctx := c.Request().Context()
	d, body, err := h.Hooks.Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	team, err := h.Catalog.TeamByID(ctx, d.TeamID)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: deliveries.Title(*d), State: string(d.State), Nav: "teams", Meta: deliveries.Meta(*d), Crumbs: deliveries.Crumbs(*team), Live: []string{hooks.Topic(d.ID)}})
	if d.State == models.DeliveryReceived {
		p.Reload = 2
	}
	v := deliveries.PageView{Delivery: *d, CanRedeliver: d.State != models.DeliveryReceived && models.PrincipalFrom(ctx).RoleIn(d.TeamID).AtLeast(models.RoleDeveloper)}
	v.Payload, v.Cut = hooks.Pretty(body, maxPayload)
	v.Curl = p.Curl("POST", "/api/v1/deliveries/"+d.ID+"/redeliver", "").For("Redeliver")
	return Render(c, http.StatusOK, deliveries.Page(p, v))
}

// Redeliver has the delivery's payload worked on anew.
func (h *Deliveries) Redeliver(c echo.Context) error {
	d, err := h.Hooks.Redeliver(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	notify(c, "Redelivered")
	return c.Redirect(http.StatusSeeOther, "/deliveries/"+d.ID)
}
