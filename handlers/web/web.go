// Package web holds the pages for people: each handler decodes a request, calls
// a service, and renders a view. One file per noun.
package web

import (
	"net/http"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/views/layout"
)

// Base is what every page needs.
type Base struct {
	Assets      layout.Assets
	ExternalURL string // without a slash at its end
}

const (
	themeCookie  = "slipway_theme"
	keysCookie   = "slipway_keys"
	noticeCookie = "slipway_notice"
)

// page fills in what every page is told: who looks, how, and what was just done.
func (b *Base) page(c echo.Context, p layout.Page) layout.Page {
	p = b.Describe(c.Request(), p)
	p.Notice, p.Undo = notice(c)
	return p
}

// Describe fills in who looks at the page, and how.
func (b *Base) Describe(r *http.Request, p layout.Page) layout.Page {
	p.Assets, p.BaseURL, p.Path = b.Assets, b.ExternalURL, r.URL.RequestURI()
	p.Theme = theme(r)
	if keys, err := r.Cookie(keysCookie); err == nil {
		p.NoKeys = keys.Value == "off"
	}
	if who := models.PrincipalFrom(r.Context()); who != nil {
		p.User, p.Admin = who.Name, who.Admin
	}
	return p
}

func theme(r *http.Request) string {
	c, err := r.Cookie(themeCookie)
	if err != nil || (c.Value != "light" && c.Value != "dark") {
		return ""
	}
	return c.Value
}

// Render answers with the page, but only once it has rendered whole, so that a
// failure can still become an error page.
func Render(c echo.Context, status int, page templ.Component) error {
	buf := templ.GetBuffer()
	defer templ.ReleaseBuffer(buf)
	if err := page.Render(c.Request().Context(), buf); err != nil {
		return err
	}
	return c.HTMLBlob(status, buf.Bytes())
}
