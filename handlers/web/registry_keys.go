package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/services/registry"
	"slipway.dev/views/admin"
	"slipway.dev/views/layout"
)

// RegistryKeys is the page about the keys that sign the registry's tokens.
type RegistryKeys struct {
	*Base
	Registry *registry.Service
}

// List shows the keys.
func (h *RegistryKeys) List(c echo.Context) error {
	keys, err := h.Registry.Keys(c.Request().Context())
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Admin", Nav: "admin", Tabs: admin.Tabs("registry-keys")})
	v := admin.RegistryKeysView{Days: int(registry.KeyLife.Hours() / 24), Curl: p.Curl("POST", "/api/v1/registry/keys/rotate", `{}`)}
	for _, k := range keys {
		v.Keys = append(v.Keys, admin.RegistryKey(k))
	}
	return Render(c, http.StatusOK, admin.RegistryKeys(p, v))
}

// Rotate makes a new key.
func (h *RegistryKeys) Rotate(c echo.Context) error {
	if err := h.Registry.RotateKeys(c.Request().Context(), c.FormValue("drop_old") != ""); err != nil {
		return err
	}
	notify(c, "A new key signs from now on")
	return c.Redirect(http.StatusSeeOther, "/admin/registry-keys")
}
