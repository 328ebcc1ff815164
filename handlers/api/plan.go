package api

import (
	"context"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/git"
)

// Plan says what a deployment would change, and whether it can work.
type Plan struct {
	Image       string            `json:"image" doc:"Repository and digest."`
	Digest      string            `json:"digest"`
	Tag         string            `json:"tag,omitempty"`
	BuildID     string            `json:"build_id,omitempty"`
	URL         string            `json:"url"`
	Current     *string           `json:"current_id" doc:"The deployment that serves now."`
	Commits     []Commit          `json:"commits" nullable:"false" doc:"What it brings, newest first."`
	MoreCommits bool              `json:"more_commits"`
	Back        bool              `json:"back" doc:"The commits are taken away: the image is older than what runs."`
	Note        string            `json:"commits_note,omitempty" doc:"Why no commits are shown."`
	Settings    []PlanSetting     `json:"settings" nullable:"false" doc:"Scale, port and health check where they differ from what runs."`
	Variables   []PlanChange      `json:"variables" nullable:"false"`
	Secrets     []PlanChange      `json:"secrets" nullable:"false"`
	Port        int               `json:"port"`
	Health      models.HealthKind `json:"health" enum:"http,tcp,image"`
	HealthPath  string            `json:"health_path"`
	Checks      []PlanCheck       `json:"checks" nullable:"false"`
	Gradual     []GradualStep     `json:"gradual" nullable:"false" doc:"The steps in which visitors would move; none: all at once."`
	AtOnce      string            `json:"at_once,omitempty" doc:"Why all would move at once although the app's settings have steps."`
	Ready       bool              `json:"ready" doc:"Whether every check passed."`
	Cost        *Cost             `json:"cost,omitempty" doc:"Of what would run, where Slipway knows the prices of the environment's target."`
	CostBefore  *Cost             `json:"cost_before,omitempty" doc:"Of what runs now."`
	ConfigHash  string            `json:"config_hash" doc:"Send it along to deploy exactly this."`
}

// PlanChange is a variable or a secret that differs from what runs. Values are not shown.
type PlanChange struct {
	Name   string               `json:"name"`
	Change string               `json:"change" enum:"added,removed,changed"`
	Origin models.VariableLevel `json:"origin,omitempty" enum:"team,environment,app" doc:"Where the new value is set."`
}

// PlanSetting is a setting that differs from what runs.
type PlanSetting struct {
	Name   string `json:"name"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// PlanCheck is one thing that was looked at.
type PlanCheck struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
	Rule    bool   `json:"rule" doc:"A rule of the environment: nothing is deployed while it fails."`
}

func (a *API) plans() {
	get(a, "/environments/{id}/plan", "plan-deployment", "What a deployment would change", a.plan)
}

func (a *API) plan(ctx context.Context, in *struct {
	IDIn
	AppID   string `query:"app_id" required:"true" maxLength:"100"`
	Image   string `query:"image" maxLength:"500"`
	BuildID string `query:"build_id" maxLength:"100"`
	Tag     string `query:"tag" maxLength:"200"`
}) (*answer[Plan], error) {
	p, err := a.Deploy.Plan(ctx, deploy.Input{EnvironmentID: in.ID, AppID: in.AppID, Image: in.Image, BuildID: in.BuildID, Tag: in.Tag})
	return replyWith(p, planOf, err)
}

func planOf(p *deploy.Plan) Plan {
	out := Plan{
		Image: p.Image.Repository + "@" + p.Image.Digest, Digest: p.Image.Digest, Tag: p.Image.Tag, URL: p.URL,
		Commits:     sliceOf(p.Commits, func(c *git.Commit) Commit { return Commit{c.ID, c.Subject, c.Author, c.Email, c.Time.UTC()} }),
		MoreCommits: p.More, Back: p.Back, Note: p.CommitsNote,
		Settings:  sliceOf(p.Settings, func(d *deploy.Difference) PlanSetting { return PlanSetting{d.Name, d.Before, d.After} }),
		Variables: sliceOf(p.Variables, changeOf), Secrets: sliceOf(p.Secrets, changeOf),
		Port: p.Port, Health: p.Health, HealthPath: p.HealthPath, Gradual: gradualOf(p.Gradual), AtOnce: p.AtOnce, Ready: p.Ready(), ConfigHash: p.ConfigHash, Cost: costOf(p.Cost), CostBefore: costOf(p.CostBefore),
		Checks: sliceOf(p.Checks, func(c *deploy.Check) PlanCheck { return PlanCheck{c.Name, c.OK, c.Message, c.Gate} }),
	}
	if p.Current != nil {
		out.Current = &p.Current.ID
	}
	if p.Image.Build != nil {
		out.BuildID = p.Image.Build.ID
	}
	return out
}

func changeOf(c *deploy.Change) PlanChange { return PlanChange{c.Name, c.Kind, c.Origin} }
