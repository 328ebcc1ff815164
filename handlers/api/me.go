package api

import (
	"context"
	"slices"
	"strings"

	"slipway.dev/models"
)

// Me is the principal of a call.
type Me struct {
	Kind   string         `json:"kind" enum:"session,token" doc:"How it proved who it is."`
	ID     string         `json:"id" doc:"The user's id; of a token without a user, the token's."`
	Name   string         `json:"name"`
	Admin  bool           `json:"admin" doc:"Whether it is a site admin here."`
	Teams  []Membership   `json:"teams"`
	Scopes []models.Scope `json:"scopes" doc:"What the credential may do; a session may do all."`
}

// Membership is a principal's role in a team.
type Membership struct {
	ID   string      `json:"id"`
	Slug string      `json:"team" doc:"The team's slug."`
	Name string      `json:"name"`
	Role models.Role `json:"role" enum:"viewer,developer,maintainer"`
}

var allScopes = []models.Scope{models.ScopeRead, models.ScopeWrite, models.ScopeAdmin, models.ScopeRegistryRead, models.ScopeRegistryWrite}

func (a *API) me() {
	get(a, "/me", "get-me", "The principal, its teams and scopes", a.getMe)
}

func (a *API) getMe(ctx context.Context, _ *struct{}) (*answer[Me], error) {
	p := models.PrincipalFrom(ctx)
	me := Me{Kind: string(p.Kind), ID: p.UserID, Name: p.Name, Admin: p.Admin, Teams: []Membership{}, Scopes: p.Scopes}
	if me.ID == "" {
		me.ID = p.ID
	}
	if me.Scopes == nil {
		me.Scopes = allScopes
	}
	for id, role := range p.Teams {
		me.Teams = append(me.Teams, Membership{ID: id, Role: role})
	}
	slices.SortFunc(me.Teams, func(x, y Membership) int { return strings.Compare(x.Slug, y.Slug) })
	return reply(me), nil
}
