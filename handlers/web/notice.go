package web

import (
	"encoding/base64"
	"net/http"

	"github.com/labstack/echo/v4"
)

// notify tells the next page what was done, such as "Token revoked".
func notify(c echo.Context, text string) {
	c.SetCookie(&http.Cookie{
		Name: noticeCookie, Value: base64.RawURLEncoding.EncodeToString([]byte(text)), Path: "/", MaxAge: 60,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.Scheme() == "https",
	})
}

// notice returns what the action before told, once.
func notice(c echo.Context) string {
	cookie, err := c.Cookie(noticeCookie)
	if err != nil || cookie.Value == "" {
		return ""
	}
	c.SetCookie(&http.Cookie{Name: noticeCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	text, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil || len(text) > 300 {
		return ""
	}
	return string(text)
}
