package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"slipway.dev/services/identity"
	"slipway.dev/services/registry"
	"slipway.dev/views/admin"
	"slipway.dev/views/layout"
)

// Keys is the page about the keys that Slipway signs with.
type Keys struct {
	*Base
	Registry *registry.Service
	Identity *identity.Service
}

// List shows the keys.
func (h *Keys) List(c echo.Context) error {
	ctx := c.Request().Context()
	p := h.page(c, layout.Page{Title: "Admin", Window: "Signing keys", Nav: "admin", Tabs: admin.Tabs("keys")})
	v := admin.KeysView{Issuer: h.Identity.Issuer(), Public: h.ExternalURL + identity.KeysPath}
	var err error
	if v.Registry, err = h.ofRegistry(ctx); err != nil {
		return err
	}
	if v.Clouds, err = h.ofIssuer(ctx); err != nil {
		return err
	}
	v.Registry.Curl = p.Curl("POST", "/api/v1/registry/keys/rotate", `{}`)
	v.Clouds.Curl = p.Curl("POST", "/api/v1/targets/trust/keys/rotate", `{}`)
	return Render(c, http.StatusOK, admin.Keys(p, v))
}

func (h *Keys) ofRegistry(ctx context.Context) (admin.KeySet, error) {
	keys, err := h.Registry.Keys(ctx)
	v := admin.KeySet{
		ID: "registry", Title: "The registry",
		About:  fmt.Sprintf("They sign what docker login and builds get for a few minutes. One is replaced by itself after %d days; what it signed stays good until it expires, a day at most.", days(registry.KeyLife)),
		Asks:   "The new key signs from now on. Nobody notices: what the former one signed stays good until it expires.",
		Leaked: "They are deleted: pushes and pulls that are under way have to sign in anew, within half a minute everywhere.",
	}
	for _, k := range keys {
		v.Keys = append(v.Keys, admin.Key{ID: k.ID, CreatedAt: k.CreatedAt, RetiredAt: k.RetiredAt, GoodUntil: k.GoodUntil})
	}
	return v, err
}

func (h *Keys) ofIssuer(ctx context.Context) (admin.KeySet, error) {
	keys, err := h.Identity.KeyList(ctx)
	v := admin.KeySet{
		ID: "issuer", Title: "The issuer for clouds",
		About: fmt.Sprintf("They sign the tokens by which AWS, Google Cloud and Azure know this portal. One is followed by another after %d days, which is published %d days before it signs.",
			days(identity.KeyLife), days(identity.KeyAhead)),
		Asks:   fmt.Sprintf("The new key is published now and signs in %d days, so that no cache is surprised. Where keys were uploaded to Google Cloud, upload them again before that.", days(identity.KeyAhead)),
		Leaked: "They are deleted, and the new one signs at once. Until their caches end, clouds may believe what the deleted ones signed, and refuse the new one. Uploaded keys have to be uploaded again.",
	}
	for _, k := range keys {
		v.Keys = append(v.Keys, admin.Key{ID: k.ID, CreatedAt: k.CreatedAt, SignsFrom: k.SignsFrom, RetiredAt: k.RetiredAt})
	}
	return v, err
}

func days(d time.Duration) int { return int(d.Hours() / 24) }

// RotateRegistry makes a new key of the registry.
func (h *Keys) RotateRegistry(c echo.Context) error {
	return h.rotate(c, h.Registry.RotateKeys, "A new key of the registry signs from now on")
}

// RotateIssuer makes a new key of the issuer for clouds.
func (h *Keys) RotateIssuer(c echo.Context) error {
	said := "The next key of the issuer for clouds is published"
	if c.FormValue("leaked") != "" {
		said = "A new key of the issuer for clouds signs from now on"
	}
	return h.rotate(c, h.Identity.Rotate, said)
}

func (h *Keys) rotate(c echo.Context, rotate func(ctx context.Context, leaked bool) error, said string) error {
	if err := rotate(c.Request().Context(), c.FormValue("leaked") != ""); err != nil {
		return err
	}
	notify(c, said)
	return c.Redirect(http.StatusSeeOther, "/admin/keys")
}
