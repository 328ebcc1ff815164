package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Target is a place that runs containers.
type Target struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Kind      string            `json:"kind" example:"docker"`
	Settings  map[string]string `json:"settings,omitempty" doc:"For admins; secret settings are never shown."`
	AllTeams  bool              `json:"all_teams" doc:"Every team may use it."`
	TeamIDs   []string          `json:"team_ids,omitempty" doc:"The teams that may use it; only for admins, and not in lists."`
	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
}

// NewTarget is what an admin says of a target.
type NewTarget struct {
	Name     string            `json:"name"`
	Kind     string            `json:"kind" doc:"One of the kinds that this Slipway knows."`
	Settings map[string]string `json:"settings,omitempty" doc:"Those that the kind declares."`
	AllTeams bool              `json:"all_teams,omitempty"`
	TeamIDs  []string          `json:"team_ids,omitempty"`
}

// UpdateTarget is what may change of a target. What is absent is emptied, but for secret settings, which stay.
type UpdateTarget struct {
	Name     string            `json:"name"`
	Settings map[string]string `json:"settings,omitempty"`
	AllTeams bool              `json:"all_teams,omitempty"`
	TeamIDs  []string          `json:"team_ids,omitempty"`
}

// TargetKind is a way to run containers.
type TargetKind struct {
	Name   string        `json:"name"`
	Title  string        `json:"title"`
	Help   string        `json:"help"`
	Fields []TargetField `json:"fields" nullable:"false"`
}

// TargetField is one setting of a kind of target.
type TargetField struct {
	Name     string `json:"name"`
	Label    string `json:"label"`
	Help     string `json:"help"`
	Example  string `json:"example,omitempty"`
	Secret   bool   `json:"secret"`
	Required bool   `json:"required"`
	Check    bool   `json:"check" doc:"A box to check: true, or empty."`
	Made     bool   `json:"made" doc:"By Slipway; it stands in the target's settings and can't be set."`
	Registry bool   `json:"registry" doc:"The id of an external registry, embedded for the portal's own, or empty."`
	Price    bool   `json:"price" doc:"US dollars; empty for the list price."`
}

// TargetInfo is what a target says of itself.
type TargetInfo struct {
	Version  string `json:"version" example:"Docker Engine 28.5"`
	Platform string `json:"platform" doc:"Empty where instances may run anywhere." example:"linux/amd64"`
	Disk     int64  `json:"disk" doc:"Free bytes for images and volumes; 0: not known."`
}

func (a *API) targets() {
	get(a, "/targets", "list-targets", "Places that run containers", a.listTargets, about("All for admins; with ?team= those that the team may use, for its members."))
	post(a, "/targets", "create-target", "Add a target", a.createTarget, admin, status(http.StatusCreated))
	get(a, "/targets/kinds", "list-target-kinds", "Kinds of targets and their settings", a.listTargetKinds, admin)
	get(a, "/targets/{id}", "get-target", "A target", a.getTarget, admin)
	put(a, "/targets/{id}", "update-target", "Change a target", a.updateTarget, admin)
	remove(a, "/targets/{id}", "delete-target", "Remove a target that no environment uses", a.deleteTarget, admin)
	get(a, "/targets/{id}/cloud-init", "get-target-cloud-init", "User data that makes a new machine a target's host", a.targetCloudInit, admin, about("For targets whose kind is a host over SSH; 409 for others."))
	post(a, "/targets/{id}/check", "check-target", "Reach a target", a.checkTarget, admin)
}

func (a *API) listTargets(ctx context.Context, in *struct {
	Team string `query:"team" maxLength:"100" doc:"Slug of a team."`
}) (*answer[List[Target]], error) {
	if in.Team == "" {
		all, err := a.Deploy.Targets(ctx)
		if err != nil {
			return nil, err
		}
		return whole(all, targetOf), nil
	}
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	all, err := a.Deploy.GrantedTargets(ctx, team)
	if err != nil {
		return nil, err
	}
	return whole(all, targetOf), nil
}

func (a *API) createTarget(ctx context.Context, in *struct{ Body NewTarget }) (*answer[Target], error) {
	b := in.Body
	t, err := a.Deploy.CreateTarget(ctx, deploy.TargetInput{Name: b.Name, Kind: b.Kind, Settings: b.Settings, AllTeams: b.AllTeams, TeamIDs: b.TeamIDs})
	return replyWith(t, targetOf, err)
}

func (a *API) getTarget(ctx context.Context, in *IDIn) (*answer[Target], error) {
	t, teams, err := a.Deploy.Target(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := targetOf(t)
	out.TeamIDs = teams
	return reply(out), nil
}

func (a *API) updateTarget(ctx context.Context, in *struct {
	IDIn
	Body UpdateTarget
}) (*answer[Target], error) {
	b := in.Body
	t, err := a.Deploy.UpdateTarget(ctx, in.ID, deploy.TargetInput{Name: b.Name, Settings: b.Settings, AllTeams: b.AllTeams, TeamIDs: b.TeamIDs})
	return replyWith(t, targetOf, err)
}

func (a *API) deleteTarget(ctx context.Context, in *IDIn) error {
	return a.Deploy.DeleteTarget(ctx, in.ID)
}

func (a *API) checkTarget(ctx context.Context, in *IDIn) (*answer[TargetInfo], error) {
	info, err := a.Deploy.CheckTarget(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return reply(TargetInfo{info.Version, info.Platform, info.Disk}), nil
}

func (a *API) listTargetKinds(context.Context, *struct{}) (*answer[List[TargetKind]], error) {
	return whole(a.Deploy.Kinds, func(k *deploy.Kind) TargetKind {
		return TargetKind{k.Name, k.Title, k.Help, sliceOf(k.AllFields(), func(f *deploy.Field) TargetField {
			return TargetField{f.Name, f.Label, f.Help, f.Example, f.Secret, f.Required, f.Check, f.Made, f.Registry, f.Price}
		})}
	}), nil
}

func targetOf(t *models.Target) Target {
	return Target{ID: t.ID, Name: t.Name, Kind: t.Kind, Settings: t.Settings, AllTeams: t.AllTeams, CreatedAt: t.CreatedAt.UTC(), UpdatedAt: t.UpdatedAt.UTC()}
}
