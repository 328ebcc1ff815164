package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/services/registry"
	"slipway.dev/views/admin"
	"slipway.dev/views/layout"
)

// Registry is the admin's page about where the layers of images are.
type Registry struct {
	*Base
	Registry *registry.Service
}

const registryPath = "/admin/registry"

// Page shows the storage and what the collector freed there.
func (h *Registry) Page(c echo.Context) error {
	ctx := c.Request().Context()
	storage, err := h.Registry.Storage(ctx)
	if err != nil {
		return err
	}
	runs, err := h.Registry.Collections(ctx, cursor(c))
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Admin", Window: "Registry storage", Nav: "admin", Tabs: admin.Tabs("registry"), Live: []string{"registry"}})
	v := admin.StorageView{Storage: *storage, Runs: runs.Items, Curl: p.Curl("POST", "/api/v1/registry/collections", "")}
	v.First, v.Next = pages(c, runs.Next)
	return Render(c, http.StatusOK, admin.Storage(p, v))
}

// Collect has a worker delete what no image needs.
func (h *Registry) Collect(c echo.Context) error {
	if err := h.Registry.CollectNow(c.Request().Context()); err != nil {
		return err
	}
	notify(c, "Collecting; what it frees stands here in a moment")
	return c.Redirect(http.StatusSeeOther, registryPath)
}
