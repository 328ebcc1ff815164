package web

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/auth"
	"slipway.dev/services/idp"
	"slipway.dev/views/layout"
	"slipway.dev/views/signin"
)

// Login is the pages of signing in and out.
type Login struct {
	*Base
	Auth *auth.Service
}

// Page offers the ways to sign in. Where there is one only, it leads there at once.
func (h *Login) Page(c echo.Context) error {
	next := auth.LocalPath(c.QueryParam("next"))
	if models.PrincipalFrom(c.Request().Context()) != nil {
		return c.Redirect(http.StatusSeeOther, next)
	}
	waits, err := h.Auth.NeedsSetup(c.Request().Context())
	if err != nil {
		return err
	}
	out := c.QueryParam("out")
	v := signin.LoginView{Ways: h.ways("/login/", "?next="+url.QueryEscape(next)), Out: out != "", Elsewhere: h.Auth.LogoutURL(out), NotSetUp: waits}
	if len(v.Ways) == 1 && !v.Out && !waits {
		return c.Redirect(http.StatusSeeOther, v.Ways[0].Href)
	}
	return h.render(c, http.StatusOK, v)
}

func (h *Login) render(c echo.Context, status int, v signin.LoginView) error {
	v.Host = host(h.ExternalURL)
	c.Response().Header().Set("Cache-Control", "no-store")
	return Render(c, status, signin.Login(h.page(c, layout.Page{Title: "Sign in"}), v))
}

// ways are links to the issuers: a link, for a form's answer could not lead to another origin.
func (h *Login) ways(prefix, suffix string) []signin.Way {
	list := make([]signin.Way, len(h.Auth.Issuers))
	for i, issuer := range h.Auth.Issuers {
		list[i] = signin.Way{Name: issuer.Name, Href: prefix + issuer.ID + suffix, Here: h.Auth.Embedded(issuer)}
	}
	return list
}

// Begin sends the browser to the issuer.
func (h *Login) Begin(c echo.Context) error {
	to, err := h.Auth.Begin(c.Request().Context(), c.Param("issuer"), c.QueryParam("next"), h.browser(c))
	return h.follow(c, to, err)
}

// Callback takes the issuer's answer.
func (h *Login) Callback(c echo.Context) error {
	q := c.Request().URL.Query()
	answer := auth.Callback{State: q.Get("state"), Code: q.Get("code"), Issuer: q.Get("iss"), Error: q.Get("error"), ErrorDescription: q.Get("error_description")}
	to, err := h.Auth.Finish(c.Request().Context(), c.Param("issuer"), answer, h.browser(c))
	return h.follow(c, to, err)
}

func (h *Login) browser(c echo.Context) auth.Browser {
	r := c.Request()
	return auth.Browser{Cookies: r.Cookies(), Session: h.Auth.SessionCookie(r), UserAgent: r.UserAgent()}
}

// follow sends the browser on. What went wrong stands on the sign-in page,
// which does not begin by itself again, so that nobody goes round in circles.
func (h *Login) follow(c echo.Context, to auth.Redirect, err error) error {
	for _, cookie := range to.Cookies {
		c.SetCookie(cookie)
	}
	if err == nil {
		c.Response().Header().Set("Cache-Control", "no-store")
		return c.Redirect(http.StatusSeeOther, to.URL)
	}
	e, ok := errors.AsType[*models.Error](err)
	if !ok || e.Code == models.NotFound {
		return err
	}
	slog.WarnContext(c.Request().Context(), "a sign-in was refused", "issuer", c.Param("issuer"), "error", err)
	return h.render(c, problem.Of(c.Request().Context(), err).Status, signin.LoginView{Ways: h.ways("/login/", ""), Err: e})
}

// Logout ends the session.
func (h *Login) Logout(c echo.Context) error {
	issuer, err := h.Auth.End(c.Request().Context())
	if err != nil && !models.IsCode(err, models.Unauthorized) {
		return err
	}
	if issuer == "" {
		issuer = "1"
	}
	c.SetCookie(h.Auth.ClearSessionCookie())
	return c.Redirect(http.StatusSeeOther, "/login?out="+url.QueryEscape(issuer))
}

// Password writes the embedded provider's sign-in page.
func (b *Base) Password(w http.ResponseWriter, r *http.Request, v idp.LoginPage) error {
	page := signin.Password(b.Describe(r, layout.Page{Title: "Sign in"}), signin.PasswordView{Action: v.Action, Request: v.Request, UserName: v.UserName, Error: v.Error})
	return write(w, r, v.Status, page)
}
