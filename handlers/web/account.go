package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/auth"
	"slipway.dev/views/account"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// Account is the page about the person who is signed in.
type Account struct {
	*Base
	Auth *auth.Service
}

// Page shows who they are here, and where they are signed in.
func (h *Account) Page(c echo.Context) error { return h.show(c, http.StatusOK, components.Form{}) }

func (h *Account) show(c echo.Context, status int, password components.Form) error {
	ctx := c.Request().Context()
	who := models.PrincipalFrom(ctx)
	user, err := h.Auth.User(ctx, who.UserID)
	if err != nil {
		return err
	}
	sessions, err := h.Auth.Sessions(ctx, user.ID)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Your account", Nav: "account"})
	v := account.View{
		User: *user, Issuer: h.Auth.IssuerName(user.Issuer), Sessions: sessions, Current: who.ID,
		HasPassword: h.Auth.HasPassword(user), Password: password, Curl: p.Curl("GET", "/api/v1/me", ""),
	}
	return Render(c, status, account.Page(p, v))
}

// ChangePassword replaces the password that is kept here.
func (h *Account) ChangePassword(c echo.Context) error {
	var in auth.ChangePassword
	if err := bind(c, &in); err != nil {
		return err
	}
	if err := h.Auth.ChangePassword(c.Request().Context(), in); err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.show(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Password changed; your other sessions ended")
	return c.Redirect(http.StatusSeeOther, "/account")
}

// EndSession signs one of the person's browsers out.
func (h *Account) EndSession(c echo.Context) error {
	ctx := c.Request().Context()
	if err := h.Auth.EndSession(ctx, models.PrincipalFrom(ctx).UserID, c.Param("session")); err != nil {
		return err
	}
	notify(c, "Session ended")
	return c.Redirect(http.StatusSeeOther, "/account")
}

// EndAll signs the person out everywhere, here too.
func (h *Account) EndAll(c echo.Context) error {
	ctx := c.Request().Context()
	if err := h.Auth.EndAll(ctx, models.PrincipalFrom(ctx).UserID); err != nil {
		return err
	}
	c.SetCookie(h.Auth.ClearSessionCookie())
	return c.Redirect(http.StatusSeeOther, "/login?out=1")
}
