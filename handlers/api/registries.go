package api

import (
	"context"
	"maps"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/registries"
)

// Registry is an external registry. The portal's own has no entry: it is the one with the empty id.
type Registry struct {
	ID              string                `json:"id"`
	Slug            string                `json:"slug"`
	Name            string                `json:"name"`
	Kind            string                `json:"kind" example:"ghcr"`
	Host            string                `json:"host" doc:"First part of its images' names." example:"ghcr.io"`
	PlainHTTP       bool                  `json:"plain_http" doc:"It may be reached without TLS."`
	Realm           string                `json:"realm" doc:"Another host that gives its tokens, as an admin confirmed it."`
	Settings        map[string]string     `json:"settings,omitempty" doc:"Of the credential, for admins; secret ones are never shown."`
	AllTeams        models.RegistryAccess `json:"all_teams" enum:",pull,push" doc:"What every team may do."`
	CheckRepository string                `json:"check_repository,omitempty" doc:"That checks pull from and push to; for admins."`
	Checks          []RegistryCheck       `json:"checks" nullable:"false" doc:"Of the last check."`
	CheckedAt       *time.Time            `json:"checked_at"`
	Grants          []RegistryGrant       `json:"grants" nullable:"false" doc:"With ?team=, that team's, what every team may do among them."`
	CreatedAt       time.Time             `json:"created_at"`
	UpdatedAt       time.Time             `json:"updated_at"`
}

// RegistryCheck is one step of checking a registry.
type RegistryCheck struct {
	Step    string             `json:"step" enum:"reach,login,pull,push"`
	Result  models.CheckResult `json:"result" enum:"passed,failed,not_tried"`
	Message string             `json:"message"`
	Help    string             `json:"help,omitempty" doc:"What to do about it."`
}

// RegistryGrant lets a team use some repositories of a registry.
type RegistryGrant struct {
	Team   string                `json:"team,omitempty" doc:"Slug."`
	TeamID string                `json:"team_id"`
	Prefix string                `json:"prefix" doc:"The repository of this name and those below it; empty: all."`
	Access models.RegistryAccess `json:"access" enum:"pull,push"`
}

// NewRegistry connects a registry.
type NewRegistry struct {
	Name            string                `json:"name" maxLength:"80"`
	Slug            string                `json:"slug,omitempty" maxLength:"40" doc:"Empty: from the name."`
	Kind            string                `json:"kind" doc:"One of the kinds."`
	Host            string                `json:"host,omitempty" maxLength:"260" doc:"Needed where the kind is not always at the same one."`
	PlainHTTP       bool                  `json:"plain_http,omitempty" doc:"Allow it to be reached without TLS."`
	Realm           string                `json:"realm,omitempty" maxLength:"260" doc:"A host other than the registry's that may have the credential to give tokens for it."`
	Settings        map[string]string     `json:"settings,omitempty" doc:"Those that the kind declares, secret ones among them."`
	AllTeams        models.RegistryAccess `json:"all_teams,omitempty" enum:",pull,push"`
	CheckRepository string                `json:"check_repository,omitempty" maxLength:"260" doc:"A repository to try pulling from and pushing to; nothing stays of it."`
}

// ChangeRegistry is what may change of a registry; what is absent stays. A new host asks for the credential anew.
type ChangeRegistry struct {
	Name            *string                `json:"name,omitempty" maxLength:"80"`
	Host            *string                `json:"host,omitempty" maxLength:"260"`
	PlainHTTP       *bool                  `json:"plain_http,omitempty"`
	Realm           *string                `json:"realm,omitempty" maxLength:"260"`
	Settings        map[string]string      `json:"settings,omitempty" doc:"Fields that change; an empty value empties one that is not secret."`
	AllTeams        *models.RegistryAccess `json:"all_teams,omitempty" enum:",pull,push"`
	CheckRepository *string                `json:"check_repository,omitempty" maxLength:"260"`
}

// SetRegistryGrant says what a team may do with the repositories of a prefix.
type SetRegistryGrant struct {
	Team   string                `json:"team" maxLength:"100" doc:"Slug or id."`
	Prefix string                `json:"prefix,omitempty" maxLength:"260" doc:"Empty: all repositories."`
	Access models.RegistryAccess `json:"access" enum:",pull,push" doc:"Empty takes the grant back."`
}

// RegistryKind is a sort of registry.
type RegistryKind struct {
	Name   string          `json:"name"`
	Title  string          `json:"title"`
	Help   string          `json:"help" doc:"Which credential with which rights."`
	Host   string          `json:"host" doc:"Where it always is; empty: host is needed."`
	Fields []RegistryField `json:"fields" nullable:"false"`
}

// RegistryField is one setting of a kind of registry.
type RegistryField struct {
	Name    string `json:"name"`
	Label   string `json:"label"`
	Help    string `json:"help"`
	Example string `json:"example,omitempty"`
	Secret  bool   `json:"secret"`
}

func (a *API) registries() {
	get(a, "/registries", "list-registries", "External registries", a.listRegistries, about("All for admins; with ?team= those that the team may use, for its members."))
	post(a, "/registries", "create-registry", "Connect a registry and check it", a.createRegistry, admin, status(http.StatusCreated))
	get(a, "/registries/kinds", "list-registry-kinds", "Kinds of registries and their credentials", a.listRegistryKinds, admin)
	get(a, "/registries/{id}", "get-registry", "A registry", a.getRegistry, admin)
	patch(a, "/registries/{id}", "update-registry", "Change a registry and check it anew", a.updateRegistry, admin)
	remove(a, "/registries/{id}", "delete-registry", "Forget a registry that no app's images go to", a.deleteRegistry, admin)
	post(a, "/registries/{id}/check", "check-registry", "Try reaching, login, pull and push", a.checkRegistry, admin)
	put(a, "/registries/{id}/grants", "set-registry-grant", "Say what a team may do there", a.setRegistryGrant, admin)
}

func (a *API) listRegistries(ctx context.Context, in *struct {
	Team string `query:"team" maxLength:"100" doc:"Slug of a team."`
}) (*answer[List[Registry]], error) {
	if in.Team == "" {
		all, err := a.Registries.List(ctx)
		if err != nil {
			return nil, err
		}
		return whole(all, registryOf), nil
	}
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	all, err := a.Registries.Granted(ctx, team)
	if err != nil {
		return nil, err
	}
	return whole(all, func(g *registries.Granted) Registry {
		g.Grants, g.CheckRepository = g.Access, ""
		return registryOf(&g.Registry)
	}), nil
}

func (a *API) createRegistry(ctx context.Context, in *struct{ Body NewRegistry }) (*answer[Registry], error) {
	b := in.Body
	r, err := a.Registries.Create(ctx, registries.Input{Name: b.Name, Slug: b.Slug, Kind: b.Kind, Host: b.Host, PlainHTTP: b.PlainHTTP,
		Realm: b.Realm, Settings: b.Settings, AllTeams: b.AllTeams, CheckRepository: b.CheckRepository})
	return replyWith(r, registryOf, err)
}

func (a *API) getRegistry(ctx context.Context, in *IDIn) (*answer[Registry], error) {
	r, err := a.Registries.Get(ctx, in.ID)
	return replyWith(r, registryOf, err)
}

func (a *API) updateRegistry(ctx context.Context, in *struct {
	IDIn
	Body ChangeRegistry
}) (*answer[Registry], error) {
	r, err := a.Registries.Get(ctx, in.ID)
	if err == nil {
		r, err = a.Registries.Update(ctx, in.ID, in.Body.of(r))
	}
	return replyWith(r, registryOf, err)
}

// of is the registry as it is to be.
func (b ChangeRegistry) of(r *models.Registry) registries.Input {
	in := registries.Input{Name: r.Name, Host: r.Host, PlainHTTP: r.PlainHTTP, Realm: r.Realm, Settings: map[string]string{}, AllTeams: r.AllTeams, CheckRepository: r.CheckRepository}
	maps.Copy(in.Settings, r.Settings)
	maps.Copy(in.Settings, b.Settings)
	take(&in.Name, b.Name)
	take(&in.Host, b.Host)
	take(&in.PlainHTTP, b.PlainHTTP)
	take(&in.Realm, b.Realm)
	take(&in.AllTeams, b.AllTeams)
	take(&in.CheckRepository, b.CheckRepository)
	return in
}

func take[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

func (a *API) deleteRegistry(ctx context.Context, in *IDIn) error {
	return a.Registries.Delete(ctx, in.ID)
}

func (a *API) checkRegistry(ctx context.Context, in *IDIn) (*answer[Registry], error) {
	if _, err := a.Registries.Check(ctx, in.ID); err != nil {
		return nil, err
	}
	r, err := a.Registries.Get(ctx, in.ID)
	return replyWith(r, registryOf, err)
}

func (a *API) setRegistryGrant(ctx context.Context, in *struct {
	IDIn
	Body SetRegistryGrant
}) (*answer[Registry], error) {
	err := a.Registries.Grant(ctx, in.ID, registries.GrantInput{TeamID: in.Body.Team, Prefix: in.Body.Prefix, Access: in.Body.Access})
	if err != nil {
		return nil, err
	}
	r, err := a.Registries.Get(ctx, in.ID)
	return replyWith(r, registryOf, err)
}

func (a *API) listRegistryKinds(context.Context, *struct{}) (*answer[List[RegistryKind]], error) {
	return whole(registries.Kinds(), func(k *registries.Kind) RegistryKind {
		return RegistryKind{k.Name, k.Title, k.Help, k.Host, sliceOf(k.Fields, func(f *registries.Field) RegistryField {
			return RegistryField{f.Name, f.Label, f.Help, f.Example, f.Secret}
		})}
	}), nil
}

func registryOf(r *models.Registry) Registry {
	return Registry{
		ID: r.ID, Slug: r.Slug, Name: r.Name, Kind: r.Kind, Host: r.Host, PlainHTTP: r.PlainHTTP, Realm: r.Realm, Settings: r.Settings, AllTeams: r.AllTeams,
		CheckRepository: r.CheckRepository, CheckedAt: utc(r.CheckedAt), CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
		Checks: sliceOf(r.Checks, func(c *models.RegistryCheck) RegistryCheck { return RegistryCheck(*c) }),
		Grants: sliceOf(r.Grants, func(g *models.RegistryGrant) RegistryGrant {
			return RegistryGrant{slugOf(g.Team), g.TeamID, g.Prefix, g.Access}
		}),
	}
}
