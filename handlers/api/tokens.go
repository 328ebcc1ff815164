package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/auth"
)

// Token is a credential for programs; its text is shown only when it is made.
type Token struct {
	ID         string           `json:"id"`
	Kind       models.TokenKind `json:"kind" enum:"personal,team,bootstrap"`
	Name       string           `json:"name"`
	TeamID     string           `json:"team_id,omitempty"`
	Role       models.Role      `json:"role,omitempty" doc:"In the team, of a team's token."`
	Hint       string           `json:"hint" doc:"The first characters, to recognise it by."`
	Scopes     []models.Scope   `json:"scopes" nullable:"false"`
	CreatedAt  time.Time        `json:"created_at"`
	ExpiresAt  *time.Time       `json:"expires_at"`
	LastUsedAt *time.Time       `json:"last_used_at"`
}

// MadeToken is a new token with its text.
type MadeToken struct {
	Token
	Secret string `json:"token" doc:"The token itself. It can't be shown again."`
}

// NewToken is what makes a token.
type NewToken struct {
	Name   string         `json:"name" doc:"What it is for."`
	Scopes []models.Scope `json:"scopes" nullable:"false" doc:"Of read, write, admin, registry:read, registry:write."`
	Days   int            `json:"days,omitempty" doc:"Until it expires; 90 where 0."`
	Team   string         `json:"team,omitempty" doc:"Slug of the team that it stands for; empty: yours."`
	Role   models.Role    `json:"role,omitempty" enum:"viewer,developer,maintainer" doc:"In the team."`
}

func (a *API) tokens() {
	get(a, "/tokens", "list-tokens", "Your tokens, or a team's", a.listTokens)
	post(a, "/tokens", "create-token", "Make a token", a.createToken, status(http.StatusCreated),
		about("The answer holds the token's text, once. So that it is stored nowhere, this call takes no Idempotency-Key."))
	remove(a, "/tokens/{id}", "revoke-token", "Revoke a token", a.revokeToken)
}

func (a *API) listTokens(ctx context.Context, in *struct {
	PageIn
	Team string `query:"team" maxLength:"100" doc:"Slug of a team whose maintainer you are."`
}) (*answer[List[Token]], error) {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	l, err := a.Auth.Tokens(ctx, auth.TokenFilter{Page: in.page(), TeamID: team})
	if err != nil {
		return nil, err
	}
	return listOf(l, tokenOf), nil
}

func (a *API) createToken(ctx context.Context, in *struct{ Body NewToken }) (*answer[MadeToken], error) {
	team, err := a.teamID(ctx, in.Body.Team)
	if err != nil {
		return nil, err
	}
	t, secret, err := a.Auth.CreateToken(ctx, auth.NewToken{
		Name: in.Body.Name, Scopes: in.Body.Scopes, Days: in.Body.Days, TeamID: team, Role: in.Body.Role,
	})
	if err != nil {
		return nil, err
	}
	return reply(MadeToken{tokenOf(t), secret}), nil
}

func (a *API) revokeToken(ctx context.Context, in *IDIn) error { return a.Auth.RevokeToken(ctx, in.ID) }

func tokenOf(t *models.Token) Token {
	out := Token{
		ID: t.ID, Kind: t.Kind, Name: t.Name, Role: t.Role, Hint: t.Hint, Scopes: append([]models.Scope{}, t.Scopes...),
		CreatedAt: t.CreatedAt.UTC(), ExpiresAt: utc(t.ExpiresAt), LastUsedAt: utc(t.LastUsedAt),
	}
	if t.TeamID != nil {
		out.TeamID = *t.TeamID
	}
	return out
}
