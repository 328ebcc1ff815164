package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Environment is a stage of a team on one target.
type Environment struct {
	ID         string     `json:"id"`
	Team       string     `json:"team" doc:"The owner's slug."`
	TeamID     string     `json:"team_id"`
	Name       string     `json:"name"`
	TargetID   string     `json:"target_id"`
	Target     string     `json:"target" doc:"The target's name."`
	Position   int        `json:"position" doc:"From left to right on the board, from 0."`
	Protection Protection `json:"protection"`
	CreatedAt  time.Time  `json:"created_at"`
	UpdatedAt  time.Time  `json:"updated_at"`
}

// NewEnvironment is what makes an environment.
type NewEnvironment struct {
	Team     string `json:"team" doc:"Slug of the team that will own it."`
	Name     string `json:"name" doc:"A DNS label: it becomes part of addresses."`
	TargetID string `json:"target_id" doc:"A target that the team may use."`
}

// UpdateEnvironment is what may change of an environment.
type UpdateEnvironment struct {
	Position int `json:"position" minimum:"0" doc:"On the board, from 0."`
}

// Scale is how much of an app runs in an environment.
type Scale struct {
	AppID    string `json:"app_id"`
	Replicas int    `json:"replicas" doc:"Instances."`
	CPU      int64  `json:"cpu" doc:"Thousandths of a processor that each may take; 0: no limit."`
	Memory   int64  `json:"memory" doc:"Bytes that each may take; 0: no limit."`

	Max       int `json:"max" doc:"Instances that the target may run by the load; 0: always as many as replicas."`
	CPUTarget int `json:"cpu_target" doc:"Percent of its CPU that an instance takes on average before the target adds another one."`
}

// SetScale says how much of an app is to run.
type SetScale struct {
	Replicas int   `json:"replicas" minimum:"1"`
	CPU      int64 `json:"cpu,omitempty" doc:"Thousandths of a processor; 0: no limit." example:"500"`
	Memory   int64 `json:"memory,omitempty" doc:"Bytes; 0: no limit." example:"268435456"`

	Max       int `json:"max,omitempty" minimum:"0" doc:"Instances that a target which can may run by the load; 0: always as many as replicas."`
	CPUTarget int `json:"cpu_target,omitempty" minimum:"0" maximum:"100" doc:"Percent of its CPU that an instance takes on average before the target adds another one; 80 where not said."`
}

func (a *API) listScales(ctx context.Context, in *IDIn) (*answer[List[Scale]], error) {
	all, err := a.Deploy.Scales(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(all, scaleOf), nil
}

func (a *API) setScale(ctx context.Context, in *struct {
	IDIn
	AppID string `path:"app_id" maxLength:"100"`
	Body  SetScale
}) (*answer[Scale], error) {
	set := deploy.ScaleInput{EnvironmentID: in.ID, AppID: in.AppID, Scale: models.Scale{
		Replicas: in.Body.Replicas, CPU: in.Body.CPU, Memory: in.Body.Memory, Max: in.Body.Max, CPUTarget: in.Body.CPUTarget}}
	row, err := a.Deploy.SetScale(ctx, set)
	return replyWith(row, scaleOf, err)
}

func scaleOf(s *models.AppScale) Scale {
	return Scale{s.AppID, s.Replicas, s.CPU, s.Memory, s.Max, s.CPUTarget}
}

func (a *API) environments() {
	get(a, "/environments", "list-environments", "Environments of your teams", a.listEnvironments)
	post(a, "/environments", "create-environment", "Create an environment", a.createEnvironment, status(http.StatusCreated), repeatable)
	get(a, "/environments/{id}", "get-environment", "An environment", a.getEnvironment)
	patch(a, "/environments/{id}", "update-environment", "Move an environment on the board", a.updateEnvironment)
	remove(a, "/environments/{id}", "delete-environment", "Delete an environment in which nothing runs", a.deleteEnvironment)
	get(a, "/environments/{id}/scales", "list-scales", "How much of each app runs", a.listScales, about("Apps that are not listed run once, without limits."))
	put(a, "/environments/{id}/scales/{app_id}", "set-scale", "Set how much of an app runs", a.setScale,
		about("What runs keeps its scale until the next deployment."))
}

func (a *API) listEnvironments(ctx context.Context, in *struct {
	Team string `query:"team" maxLength:"100" doc:"Slug of a team."`
}) (*answer[List[Environment]], error) {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	all, err := a.Deploy.Environments(ctx, deploy.EnvironmentFilter{TeamID: team})
	if err != nil {
		return nil, err
	}
	return whole(all, environmentOf), nil
}

func (a *API) createEnvironment(ctx context.Context, in *struct{ Body NewEnvironment }) (*answer[Environment], error) {
	team, err := a.teamID(ctx, in.Body.Team)
	if err != nil {
		return nil, err
	}
	e, err := a.Deploy.CreateEnvironment(ctx, deploy.EnvironmentInput{TeamID: team, TargetID: in.Body.TargetID, Name: in.Body.Name})
	if err != nil {
		return nil, err
	}
	return a.getEnvironment(ctx, &IDIn{e.ID})
}

func (a *API) getEnvironment(ctx context.Context, in *IDIn) (*answer[Environment], error) {
	e, err := a.Deploy.Environment(ctx, in.ID)
	return replyWith(e, environmentOf, err)
}

func (a *API) updateEnvironment(ctx context.Context, in *struct {
	IDIn
	Body UpdateEnvironment
}) (*answer[Environment], error) {
	if err := a.Deploy.MoveEnvironment(ctx, in.ID, in.Body.Position); err != nil {
		return nil, err
	}
	return a.getEnvironment(ctx, &in.IDIn)
}

func (a *API) deleteEnvironment(ctx context.Context, in *IDIn) error {
	return a.Deploy.DeleteEnvironment(ctx, in.ID)
}

func environmentOf(e *models.Environment) Environment {
	out := Environment{
		ID: e.ID, Team: slugOf(e.Team), TeamID: e.TeamID, Name: e.Name, TargetID: e.TargetID, Position: e.Position, Protection: protectionOf(e.Protection),
		CreatedAt: e.CreatedAt.UTC(), UpdatedAt: e.UpdatedAt.UTC(),
	}
	if e.Target != nil {
		out.Target = e.Target.Name
	}
	return out
}
