package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/forges"
)

// Connection is what a team has with a forge.
type Connection struct {
	ID         string                      `json:"id"`
	Team       string                      `json:"team" doc:"The owner's slug."`
	TeamID     string                      `json:"team_id"`
	Kind       models.ForgeKind            `json:"kind" enum:"github,gitlab,gitea,generic" doc:"gitea is Forgejo's too."`
	Name       string                      `json:"name"`
	BaseURL    string                      `json:"base_url" doc:"Of the forge; empty for generic."`
	Credential models.ConnectionCredential `json:"credential" enum:"none,token,github_app"`
	Settings   map[string]string           `json:"settings,omitempty" doc:"Of the credential; secret ones are never shown."`
	HookURL    string                      `json:"hook_url" doc:"Where the forge sends its webhooks."`
	CreatedAt  time.Time                   `json:"created_at"`
	UpdatedAt  time.Time                   `json:"updated_at"`
}

// ConnectionSecret is a connection with the new secret of its webhooks.
type ConnectionSecret struct {
	Connection
	WebhookSecret string `json:"webhook_secret" doc:"What the forge signs its webhooks with. It can't be shown again."`
}

// ForgeType is a kind of forge and how it is called.
type ForgeType struct {
	Name        models.ForgeKind  `json:"name"`
	Title       string            `json:"title"`
	Help        string            `json:"help"`
	BaseURL     string            `json:"base_url,omitempty" doc:"The one that is taken where none is given."`
	Credentials []ForgeCredential `json:"credentials" nullable:"false"`
	Steps       []string          `json:"steps" nullable:"false" doc:"How its webhooks are set up."`
}

// ForgeCredential is a way to call a forge, with its settings. All are needed.
type ForgeCredential struct {
	Kind   models.ConnectionCredential `json:"kind"`
	Title  string                      `json:"title"`
	Help   string                      `json:"help"`
	Fields []ForgeField                `json:"fields" nullable:"false"`
}

// ForgeField is one setting of a credential.
type ForgeField struct {
	Name    string `json:"name"`
	Label   string `json:"label"`
	Help    string `json:"help"`
	Example string `json:"example,omitempty"`
	Secret  bool   `json:"secret"`
}

func (a *API) connections() {
	get(a, "/connections", "list-connections", "Connections to forges of the teams whose maintainer you are", a.listConnections)
	post(a, "/connections", "create-connection", "Connect a team with a forge", a.createConnection, status(http.StatusCreated),
		about("The answer holds the secret of its webhooks, once. So that it is stored nowhere, this call takes no Idempotency-Key. "+
			"The team's repositories on the forge's host that have no connection get this one."))
	get(a, "/connections/kinds", "list-connection-kinds", "Kinds of forges and their credentials", a.listConnectionKinds)
	get(a, "/connections/{id}", "get-connection", "A connection", a.getConnection)
	patch(a, "/connections/{id}", "update-connection", "Change a connection", a.updateConnection)
	remove(a, "/connections/{id}", "delete-connection", "Delete a connection; its repositories stay without one", a.deleteConnection)
	post(a, "/connections/{id}/secret", "rotate-connection-secret", "Give the webhooks a new secret", a.rotateConnectionSecret,
		about("The answer holds it, once. What is signed with the old one is refused from then on."))
	post(a, "/connections/{id}/check", "check-connection", "Find out what the connection's credential may do", a.checkConnection,
		about("Slipway asks the forge whether it accepts the credential and what it may do. Nothing is changed there. A forge that does not answer is a finding too."))
}

// ConnectionCheck is one thing that a check of a connection looked at.
type ConnectionCheck struct {
	Name    string         `json:"name" example:"Commit statuses"`
	Verdict forges.Verdict `json:"verdict" enum:"pass,fail,unknown"`
	Text    string         `json:"text" doc:"What that means, or what to do."`
}

func (a *API) checkConnection(ctx context.Context, in *IDIn) (*answer[List[ConnectionCheck]], error) {
	found, err := a.Forges.Check(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(found, func(f *forges.Finding) ConnectionCheck { return ConnectionCheck{f.Name, f.Verdict, f.Text} }), nil
}

func (a *API) listConnections(ctx context.Context, in *struct {
	PageIn
	Team string `query:"team" maxLength:"100" doc:"Slug of a team."`
}) (*answer[List[Connection]], error) {
	l, err := a.Forges.List(ctx, forges.ConnectionFilter{Page: in.page(), Team: in.Team})
	if err != nil {
		return nil, err
	}
	return listOf(l, a.connectionOf), nil
}

func (a *API) createConnection(ctx context.Context, in *struct{ Body forges.NewConnection }) (*answer[ConnectionSecret], error) {
	c, secret, err := a.Forges.Create(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	return reply(ConnectionSecret{a.connectionOf(c), secret}), nil
}

func (a *API) getConnection(ctx context.Context, in *IDIn) (*answer[Connection], error) {
	c, err := a.Forges.Get(ctx, in.ID)
	return replyWith(c, a.connectionOf, err)
}

func (a *API) updateConnection(ctx context.Context, in *struct {
	IDIn
	Body forges.UpdateConnection
}) (*answer[Connection], error) {
	c, err := a.Forges.Update(ctx, in.ID, in.Body)
	return replyWith(c, a.connectionOf, err)
}

func (a *API) deleteConnection(ctx context.Context, in *IDIn) error {
	return a.Forges.Delete(ctx, in.ID)
}

func (a *API) rotateConnectionSecret(ctx context.Context, in *IDIn) (*answer[ConnectionSecret], error) {
	c, secret, err := a.Forges.RotateSecret(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return reply(ConnectionSecret{a.connectionOf(c), secret}), nil
}

func (a *API) listConnectionKinds(context.Context, *struct{}) (*answer[List[ForgeType]], error) {
	return whole(forges.Kinds, func(k *forges.Kind) ForgeType {
		return ForgeType{Name: k.Name, Title: k.Title, Help: k.Help, BaseURL: k.BaseURL, Steps: k.Steps, Credentials: sliceOf(k.Credentials, forgeCredentialOf)}
	}), nil
}

func forgeCredentialOf(c *forges.Credential) ForgeCredential {
	return ForgeCredential{c.Kind, c.Title, c.Help, sliceOf(c.Fields, func(f *forges.Field) ForgeField {
		return ForgeField{f.Name, f.Label, f.Help, f.Example, f.Secret}
	})}
}

func (a *API) connectionOf(c *models.Connection) Connection {
	return Connection{
		ID: c.ID, Team: slugOf(c.Team), TeamID: c.TeamID, Kind: c.Kind, Name: c.Name, BaseURL: c.BaseURL, Credential: c.Credential,
		Settings: c.Settings, HookURL: a.Forges.HookURL(c), CreatedAt: c.CreatedAt.UTC(), UpdatedAt: c.UpdatedAt.UTC(),
	}
}
