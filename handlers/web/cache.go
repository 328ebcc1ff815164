package web

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/pullthrough"
	"slipway.dev/services/registries"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Cache is the admin's page about the cache of base images.
type Cache struct {
	*Base
	Cache      *pullthrough.Service
	Registries *registries.Service
}

const gigabyte = 1_000_000_000

// Page shows the cache.
func (h *Cache) Page(c echo.Context) error { return h.show(c, http.StatusOK, components.Form{}) }

func (h *Cache) show(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	o, err := h.Cache.Overview(ctx)
	if err != nil {
		return err
	}
	list, err := h.Cache.Repositories(ctx, cursor(c))
	if err != nil {
		return err
	}
	connected, err := h.Registries.List(ctx)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Admin", Window: "Cache of base images", Nav: "admin", Tabs: admin.Tabs("cache"), Live: []string{"cache"}})
	v := admin.CacheView{Bytes: o.Bytes, MaxBytes: o.MaxBytes, KeepDays: o.KeepDays, Images: o.Images, Repositories: o.Repositories, Offered: o.Offered(),
		Host: host(h.ExternalURL), Form: form, Curl: p.Curl("GET", "/api/v1/cache", ""),
		AddCurl: p.Curl("POST", "/api/v1/cache/upstreams", `{"host": "docker.io", "enabled": true}`).For("Turn one on")}
	for _, u := range o.Upstreams {
		v.Upstreams = append(v.Upstreams, admin.CacheUpstream{CacheUpstream: u, Hours: int(pullthrough.Fresh(u).Hours())})
	}
	for _, r := range list.Items {
		v.Rows = append(v.Rows, admin.CacheRow{CacheRepository: r.CacheRepository, Images: r.Images, Bytes: r.Bytes})
	}
	for _, r := range connected {
		v.Connected = append(v.Connected, components.Option{Value: r.ID, Label: r.Name + " (" + r.Host + ")"})
	}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, status, admin.Cache(p, v))
}

// done leads back to the page, or shows it with what is wrong.
func (h *Cache) done(c echo.Context, said string, err error) error {
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.show(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, said)
	return c.Redirect(http.StatusSeeOther, "/admin/cache")
}

// Update bounds the cache.
func (h *Cache) Update(c echo.Context) error {
	size, err := strconv.ParseFloat(strings.TrimSpace(c.FormValue("gigabytes")), 64)
	if err != nil || size <= 0 || size > 1_000_000 {
		return h.done(c, "", models.InvalidField("gigabytes", "Enter a number of gigabytes."))
	}
	days, err := number(c, "keep_days")
	if err == nil {
		_, err = h.Cache.UpdateSettings(c.Request().Context(), pullthrough.Settings{MaxBytes: int64(size * gigabyte), KeepDays: days})
	}
	return h.done(c, "Saved", err)
}

// Add lets the cache fetch from a registry.
func (h *Cache) Add(c echo.Context) error {
	u, err := h.Cache.AddUpstream(c.Request().Context(), pullthrough.UpstreamInput{Host: c.FormValue("host"), RegistryID: c.FormValue("registry_id"), Enabled: true})
	said := ""
	if err == nil {
		said = u.Host + " is turned on"
	}
	return h.done(c, said, err)
}

// Change turns an upstream on or off.
func (h *Cache) Change(c echo.Context) error {
	hours, err := number(c, "hours")
	if err == nil {
		_, err = h.Cache.UpdateUpstream(c.Request().Context(), c.Param("id"), pullthrough.UpstreamInput{Enabled: c.FormValue("enabled") != "", FreshSeconds: int64(hours) * 3600})
	}
	return h.done(c, "Saved", err)
}

// Delete forgets an upstream.
func (h *Cache) Delete(c echo.Context) error {
	return h.done(c, "Forgotten", h.Cache.DeleteUpstream(c.Request().Context(), c.Param("id")))
}

// Clear takes a repository out of the cache.
func (h *Cache) Clear(c echo.Context) error {
	return h.done(c, "Cleared", h.Cache.Clear(c.Request().Context(), c.FormValue("repository")))
}
