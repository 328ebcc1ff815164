package api

import (
	"context"

	"slipway.dev/models"
	"slipway.dev/services/catalog"
)

// Me is the principal of a call.
type Me struct {
	Kind   string         `json:"kind" enum:"session,token" doc:"How it proved who it is."`
	ID     string         `json:"id" doc:"The user's id; of a token without a user, the token's."`
	Name   string         `json:"name"`
	Admin  bool           `json:"admin" doc:"Whether it is a site admin here."`
	Teams  []Team         `json:"teams" nullable:"false" doc:"At most the first 100 by slug; an admin's are all."`
	Scopes []models.Scope `json:"scopes" nullable:"false" doc:"What the credential may do; a session may do all."`
}

var allScopes = []models.Scope{models.ScopeRead, models.ScopeWrite, models.ScopeAdmin, models.ScopeRegistryRead, models.ScopeRegistryWrite}

func (a *API) me() {
	get(a, "/me", "get-me", "The principal, its teams and scopes", a.getMe)
}

func (a *API) getMe(ctx context.Context, _ *struct{}) (*answer[Me], error) {
	p := models.PrincipalFrom(ctx)
	me := Me{Kind: string(p.Kind), ID: p.UserID, Name: p.Name, Admin: p.Admin, Teams: []Team{}, Scopes: p.Scopes}
	if me.ID == "" {
		me.ID = p.ID
	}
	if me.Scopes == nil {
		me.Scopes = allScopes
	}
	if p.HasScope(models.ScopeRead) {
		l, err := a.Catalog.Teams(ctx, catalog.TeamFilter{Page: models.Page{Limit: models.MaxLimit}})
		if err != nil {
			return nil, err
		}
		me.Teams = sliceOf(l.Items, func(t *models.Team) Team { return teamOf(ctx, t) })
	}
	return reply(me), nil
}
