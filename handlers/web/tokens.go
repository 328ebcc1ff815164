package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/auth"
	"slipway.dev/views/layout"
	"slipway.dev/views/tokens"
)

// Tokens is the page about a person's own tokens.
type Tokens struct {
	*Base
	Auth *auth.Service
}

// List shows the tokens and the form that makes one.
func (h *Tokens) List(c echo.Context) error {
	return h.list(c, http.StatusOK, tokens.View{})
}

func (h *Tokens) list(c echo.Context, status int, v tokens.View) error {
	v, err := tokensView(c, h.Base, h.Auth, "", v)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Tokens", Lead: "A token lets a program act for you, within its scopes.", Nav: "tokens"})
	v.Action, v.Curl = "/tokens", p.Curl("POST", "/api/v1/tokens", `{"name": "release pipeline", "scopes": ["read", "write"], "days": 90}`)
	return Render(c, status, tokens.Page(p, v))
}

// tokensView fills in what the pages of a person's and of a team's tokens share.
func tokensView(c echo.Context, b *Base, s *auth.Service, teamID string, v tokens.View) (tokens.View, error) {
	ctx := c.Request().Context()
	list, err := s.Tokens(ctx, auth.TokenFilter{Page: cursor(c), TeamID: teamID})
	if err != nil {
		return v, err
	}
	v.Tokens, v.Team, v.Host = list.Items, teamID != "", host(b.ExternalURL)
	v.Scopes = auth.TokenScopes(models.PrincipalFrom(ctx), v.Team)
	v.First, v.Next = pages(c, list.Next)
	return v, nil
}

// Create makes a token and shows its text, this once.
func (h *Tokens) Create(c echo.Context) error {
	var in auth.NewToken
	if err := bind(c, &in); err != nil {
		return err
	}
	in.TeamID = "" // a team's tokens are made on the team's page
	v, status, err := makeToken(c, h.Auth, in)
	if err != nil {
		return err
	}
	return h.list(c, status, v)
}

// makeToken makes the token, and returns what to show of it: its text, or the form again.
func makeToken(c echo.Context, s *auth.Service, in auth.NewToken) (tokens.View, int, error) {
	made, secret, err := s.CreateToken(c.Request().Context(), in)
	if err != nil {
		form, fault := again(c, err)
		return tokens.View{Form: form}, problem.Of(c.Request().Context(), err).Status, fault
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return tokens.View{Made: made, Secret: secret}, http.StatusCreated, nil
}

// Revoke makes a token of the person or of their team worthless.
func (h *Tokens) Revoke(c echo.Context) error {
	if err := h.Auth.RevokeToken(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	notify(c, "Token revoked")
	return c.Redirect(http.StatusSeeOther, h.Back(c.Request(), "/tokens"))
}
