package handlers

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/services/identity"
)

// issuer publishes what clouds read of the portal as their issuer of tokens. Anyone may, and may keep it for a while.
type issuer struct{ identity *identity.Service }

func (r *routes) issuer(i *issuer) {
	open := r.group(accessOpen)
	open.GET(identity.DiscoveryPath, i.discovery)
	open.GET(identity.KeysPath, i.keys)
}

func (i *issuer) discovery(c echo.Context) error {
	return published(c, i.identity.Discovery())
}

func (i *issuer) keys(c echo.Context) error {
	set, err := i.identity.Keys(c.Request().Context())
	if err != nil {
		return err
	}
	return published(c, set)
}

func published(c echo.Context, document any) error {
	c.Response().Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(identity.CacheFor.Seconds())))
	return c.JSON(http.StatusOK, document)
}
