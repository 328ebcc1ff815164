package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/services/idp"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
	"slipway.dev/views/signin"
)

// SetupForm is the page that creates the first admin. Looking at it uses nothing up.
func (h *Login) SetupForm(c echo.Context) error {
	if err := h.Auth.CheckSetup(c.Request().Context(), c.Param("token")); err != nil {
		return err
	}
	return h.setup(c, http.StatusOK, components.Form{})
}

func (h *Login) setup(c echo.Context, status int, form components.Form) error {
	at := "/setup/" + c.Param("token")
	v := signin.SetupView{Action: at, Form: form, Local: h.Auth.Accounts != nil}
	for _, w := range h.ways(at+"/with/", "") {
		if !w.Here {
			v.Ways = append(v.Ways, w)
		}
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	c.Response().Header().Set("Referrer-Policy", "no-referrer")
	return Render(c, status, signin.Setup(h.page(c, layout.Page{Title: "Set up Slipway"}), v))
}

// Setup creates the first admin, who then signs in like anyone else.
func (h *Login) Setup(c echo.Context) error {
	var in idp.NewAccount
	if err := bind(c, &in); err != nil {
		return err
	}
	err := h.Auth.Setup(c.Request().Context(), c.Param("token"), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.setup(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	return c.Redirect(http.StatusSeeOther, "/login")
}

// SetupWith makes whoever signs in at the issuer the first admin.
func (h *Login) SetupWith(c echo.Context) error {
	to, err := h.Auth.BeginSetup(c.Request().Context(), c.Param("token"), c.Param("issuer"), h.browser(c))
	return h.follow(c, to, err)
}

// InviteForm is the page where an invited person sets a password. Looking at it uses nothing up.
func (h *Login) InviteForm(c echo.Context) error {
	return h.invite(c, http.StatusOK, components.Form{})
}

func (h *Login) invite(c echo.Context, status int, form components.Form) error {
	account, err := h.Auth.CheckInvite(c.Request().Context(), c.Param("token"))
	if err != nil {
		return err
	}
	v := signin.InviteView{Action: "/invites/" + c.Param("token"), UserName: account.UserName, Name: account.Name, Form: form}
	c.Response().Header().Set("Cache-Control", "no-store")
	c.Response().Header().Set("Referrer-Policy", "no-referrer")
	return Render(c, status, signin.Invite(h.page(c, layout.Page{Title: "Welcome to Slipway"}), v))
}

// AcceptInvite sets the password.
func (h *Login) AcceptInvite(c echo.Context) error {
	err := h.Auth.AcceptInvite(c.Request().Context(), c.Param("token"), c.FormValue("password"), c.FormValue("password_again"))
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.invite(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	return c.Redirect(http.StatusSeeOther, "/login")
}
