package web

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// notify tells the next page what was done, such as "Token revoked".
func notify(c echo.Context, text string) { notifyUndo(c, text, "") }

// notifyUndo is notify with the page that a POST to takes back what was done..
func notifyUndo(c echo.Context, text, undo string) {
	if undo != "" {
		text += "\n" + undo
	}
	c.SetCookie(&http.Cookie{
		Name: noticeCookie, Value: base64.RawURLEncoding.EncodeToString([]byte(text)), Path: "/", MaxAge: 60,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.Scheme() == "https",
	})
}

// What all addresses that take something back begin with; others are not believed.
const (
	undoDeletion = "/images/deleted/"
	undoVariable = "/variable-changes/"
)

// notice returns what the action before told, once, and what takes it back.
func notice(c echo.Context) (text, undo string) {
	cookie, err := c.Cookie(noticeCookie)
	if err != nil || cookie.Value == "" {
		return "", ""
	}
	c.SetCookie(&http.Cookie{Name: noticeCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	raw, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil || len(raw) > 400 {
		return "", ""
	}
	text, undo, _ = strings.Cut(string(raw), "\n")
	known := strings.HasPrefix(undo, undoDeletion) || strings.HasPrefix(undo, undoVariable)
	if !known || strings.Contains(undo, "..") {
		undo = ""
	}
	return text, undo
}
