package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// SetKeys keeps whether single keys are shortcuts: to some they come up by accident (WCAG 2.2, 2.1.4).
func (b *Base) SetKeys(c echo.Context) error {
	keys := ""
	if c.FormValue("keys") == "off" {
		keys = "off"
	}
	c.SetCookie(lasting(c, keysCookie, keys))
	return c.Redirect(http.StatusSeeOther, b.Back(c.Request(), "/"))
}

// lasting is a cookie that keeps how the reader likes the portal, for a year.
func lasting(c echo.Context, name, value string) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.Scheme() == "https",
	}
}

// SetTheme keeps how the reader wants the portal to look.
func (b *Base) SetTheme(c echo.Context) error {
	theme := c.FormValue("theme")
	if theme != "light" && theme != "dark" {
		theme = ""
	}
	c.SetCookie(lasting(c, themeCookie, theme))
	return c.Redirect(http.StatusSeeOther, b.Back(c.Request(), "/"))
}
