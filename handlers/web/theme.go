package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// SetTheme keeps how the reader wants the portal to look.
func (b *Base) SetTheme(c echo.Context) error {
	theme := c.FormValue("theme")
	if theme != "light" && theme != "dark" {
		theme = ""
	}
	c.SetCookie(&http.Cookie{
		Name: themeCookie, Value: theme, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.Scheme() == "https",
	})
	return c.Redirect(http.StatusSeeOther, b.back(c, "/"))
}
