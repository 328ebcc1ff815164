package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/views/apidocs"
	"slipway.dev/views/layout"
)

// Docs is the pages that describe the API.
type Docs struct {
	*Base
	Groups []apidocs.Group
}

// Show describes the calls about one noun; without one, how to start.
func (h *Docs) Show(c echo.Context) error {
	name := c.Param("noun")
	if name == "" {
		name = h.Groups[0].Name
	}
	for _, g := range h.Groups {
		if g.Name == name {
			return h.render(c, g)
		}
	}
	return models.Errorf(models.NotFound, "The API has nothing of that name.")
}

func (h *Docs) render(c echo.Context, g apidocs.Group) error {
	v := apidocs.View{Groups: h.Groups, Current: g, BaseURL: h.ExternalURL}
	p := h.page(c, layout.Page{Title: "API", Nav: "docs", Lead: "Everything that these pages do, for programs.", Tabs: v.Tabs()})
	return Render(c, http.StatusOK, apidocs.Page(p, v))
}
