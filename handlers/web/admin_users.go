package web

import (
	"errors"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/auth"
	"slipway.dev/services/idp"
	"slipway.dev/views/admin"
	"slipway.dev/views/layout"
)

// Admin is the pages of the site's admins.
type Admin struct {
	*Base
	Auth  *auth.Service
	Audit *audit.Service
}

// Home leads to the people.
func (h *Admin) Home(c echo.Context) error {
	return c.Redirect(http.StatusSeeOther, "/admin/users")
}

// Users shows everyone.
func (h *Admin) Users(c echo.Context) error {
	list, err := h.Auth.Users(c.Request().Context(), auth.UserFilter{Page: cursor(c), Query: c.QueryParam("q")})
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Admin", Nav: "admin", Tabs: admin.Tabs("users")})
	v := admin.UsersView{Users: list.Items, Query: c.QueryParam("q"), CanInvite: h.Auth.Accounts != nil, Curl: p.Curl("GET", "/api/v1/users", "")}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, admin.Users(p, v))
}

// NewUser is the form that lets a person in.
func (h *Admin) NewUser(c echo.Context) error {
	return h.inviteForm(c, http.StatusOK, admin.InviteView{})
}

func (h *Admin) inviteForm(c echo.Context, status int, v admin.InviteView) error {
	p := h.page(c, layout.Page{Title: "Add person", Nav: "admin", Crumbs: peopleCrumbs})
	return Render(c, status, admin.Invite(p, v))
}

var peopleCrumbs = []layout.Link{{Label: "Admin", Href: "/admin"}, {Label: "People", Href: "/admin/users"}}

// Invite makes the person's account and shows the link, this once.
func (h *Admin) Invite(c echo.Context) error {
	in := idp.NewAccount{UserName: c.FormValue("user_name"), Name: c.FormValue("name"), Email: c.FormValue("email")}
	made, err := h.Auth.Invite(c.Request().Context(), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.inviteForm(c, problem.Of(c.Request().Context(), err).Status, admin.InviteView{Form: form})
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return h.inviteForm(c, http.StatusCreated, admin.InviteView{Made: made.User, Link: h.ExternalURL + made.Path})
}

// User shows one person.
func (h *Admin) User(c echo.Context) error { return h.user(c, http.StatusOK, admin.UserView{}) }

func (h *Admin) user(c echo.Context, status int, v admin.UserView) error {
	ctx := c.Request().Context()
	user, err := h.Auth.User(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if v.Sessions, err = h.Auth.Sessions(ctx, user.ID); err != nil {
		return err
	}
	v.User, v.Issuer, v.Here, v.Me = *user, h.Auth.IssuerName(user.Issuer), h.Auth.HasPassword(user), models.PrincipalFrom(ctx).UserID == user.ID
	p := h.page(c, layout.Page{Title: user.Name, Nav: "admin", Crumbs: peopleCrumbs, Live: []string{"user:" + user.ID}})
	return Render(c, status, admin.User(p, v))
}

// InviteAgain makes a new link for setting the password, and shows it, this once.
func (h *Admin) InviteAgain(c echo.Context) error {
	made, err := h.Auth.InviteAgain(c.Request().Context(), c.Param("id"))
	if err != nil {
		return h.done(c, "", err)
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return h.user(c, http.StatusCreated, admin.UserView{Link: h.ExternalURL + made.Path})
}

// MakeAdmin makes the person an admin.
func (h *Admin) MakeAdmin(c echo.Context) error {
	return h.done(c, "Made an admin", h.Auth.SetAdmin(c.Request().Context(), c.Param("id"), true))
}

// RevokeAdmin takes the admin role away.
func (h *Admin) RevokeAdmin(c echo.Context) error {
	return h.done(c, "No admin any more", h.Auth.SetAdmin(c.Request().Context(), c.Param("id"), false))
}

// Disable lets the person in no more.
func (h *Admin) Disable(c echo.Context) error {
	return h.done(c, "Disabled", h.Auth.SetDisabled(c.Request().Context(), c.Param("id"), true))
}

// Enable lets the person in again.
func (h *Admin) Enable(c echo.Context) error {
	return h.done(c, "Enabled", h.Auth.SetDisabled(c.Request().Context(), c.Param("id"), false))
}

// EndSessions signs the person out everywhere.
func (h *Admin) EndSessions(c echo.Context) error {
	return h.done(c, "Sessions ended", h.Auth.EndAll(c.Request().Context(), c.Param("id")))
}

// EndSession signs the person out in one browser.
func (h *Admin) EndSession(c echo.Context) error {
	return h.done(c, "Session ended", h.Auth.EndSession(c.Request().Context(), c.Param("id"), c.Param("session")))
}

// done leads back to the person's page, and says there what was done or why it was not.
func (h *Admin) done(c echo.Context, text string, err error) error {
	if err == nil {
		notify(c, text)
		return c.Redirect(http.StatusSeeOther, "/admin/users/"+c.Param("id"))
	}
	e, ok := errors.AsType[*models.Error](err)
	if !ok || !slices.Contains(correctable, e.Code) {
		return err
	}
	return h.user(c, problem.Of(c.Request().Context(), err).Status, admin.UserView{Err: e})
}

// AuditLog shows what was done anywhere.
func (h *Admin) AuditLog(c echo.Context) error {
	list, err := h.Audit.List(c.Request().Context(), audit.Filter{Page: cursor(c), Subject: c.QueryParam("subject"), Action: c.QueryParam("action")})
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Admin", Nav: "admin", Tabs: admin.Tabs("audit")})
	v := admin.AuditView{Entries: list.Items, Subject: c.QueryParam("subject"), Actions: auditActions(c)}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, admin.Audit(p, v))
}
