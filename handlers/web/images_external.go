package web

import (
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"
	"slipway.dev/views/components"
	view "slipway.dev/views/images"
	"slipway.dev/views/layout"
)

// external shows the repositories of an external registry.
func (h *Images) external(c echo.Context, registry string, form components.Form, status int) error {
	ctx := c.Request().Context()
	list, err := h.Images.External(ctx, registry, c.QueryParam("q"), cursor(c))
	if err != nil {
		return err
	}
	others, err := h.Images.Elsewhere(ctx)
	if err != nil {
		return err
	}
	r := list.Registry
	p := h.page(c, layout.Page{Title: "Images", Nav: "images", Tabs: view.Tabs(others, r.Slug)})
	v := view.ExternalView{Registry: view.Registry{Slug: r.Slug, Name: r.Name, Host: r.Host}, Items: list.Items, Text: c.QueryParam("q"),
		Prefixes: list.Prefixes, Listed: list.Listed, Away: list.Away, Problem: list.Problem, Form: form}
	call := "/api/v1/registries/" + url.PathEscape(r.Slug) + "/repositories"
	v.Curl, v.OpenCurl = p.Curl("GET", call, ""), p.Curl("POST", call, `{"repository": "NAME"}`).For("Open by name")
	v.First, v.Next = pages(c, list.Next)
	return Render(c, status, view.External(p, v))
}

// Open looks for a repository of an external registry by its name, remembers it, and leads to its page.
func (h *Images) Open(c echo.Context) error {
	registry := c.FormValue("registry")
	r, err := h.Images.OpenRepository(c.Request().Context(), registry, c.FormValue("repository"))
	if err != nil {
		form, err := again(c, err)
		if err != nil {
			return err
		}
		return h.external(c, registry, form, http.StatusUnprocessableEntity)
	}
	return c.Redirect(http.StatusSeeOther, view.HomeURL(*r))
}
