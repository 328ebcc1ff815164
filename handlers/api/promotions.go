package api

import (
	"context"

	"slipway.dev/services/deploy"
)

// Promotion is an app that can be promoted, with what that would bring.
type Promotion struct {
	AppID        string `json:"app_id"`
	App          string `json:"app" doc:"The app's name."`
	FromID       string `json:"from_id" doc:"The environment that the image comes from."`
	DeploymentID string `json:"deployment_id" doc:"What serves there."`
	Digest       string `json:"digest"`
	Plan         *Plan  `json:"plan" doc:"What the deployment would change; null where refused says why there is none."`
	Refused      string `json:"refused,omitempty" doc:"Why it can't be promoted now."`
}

// NewPromotions says what to promote.
type NewPromotions struct {
	FromID string         `json:"from_id,omitempty" maxLength:"100" doc:"An environment of the same team; empty: the one to the left."`
	Apps   []PromotionApp `json:"apps" minItems:"1" maxItems:"100"`
	Reason string         `json:"reason,omitempty" maxLength:"500" doc:"Why it is asked for; a maintainer's is needed during a freeze."`
}

// PromotionApp is an app to promote.
type PromotionApp struct {
	AppID      string `json:"app_id" maxLength:"100"`
	Image      string `json:"image,omitempty" maxLength:"100" doc:"The digest that has to serve where it comes from; empty: whichever does."`
	ConfigHash string `json:"config_hash,omitempty" maxLength:"100" doc:"Of the plan that was looked at: refuse where the configuration is another one by now."`
}

// PromotedApp is what became of an app.
type PromotedApp struct {
	AppID      string      `json:"app_id"`
	App        string      `json:"app" doc:"The app's name."`
	Deployment *Deployment `json:"deployment" doc:"Null where it was refused."`
	Refused    string      `json:"refused,omitempty" doc:"Why."`
}

func (a *API) listPromotions(ctx context.Context, in *struct {
	IDIn
	Cursor string `query:"cursor" maxLength:"200" doc:"Where the page before ended: its next."`
	FromID string `query:"from_id" maxLength:"100" doc:"An environment of the same team; empty: the one to the left."`
}) (*answer[List[Promotion]], error) {
	f := deploy.PromotionFilter{EnvironmentID: in.ID, FromID: in.FromID}
	f.Cursor = in.Cursor
	p, err := a.Deploy.Promotions(ctx, f)
	if err != nil {
		return nil, err
	}
	return reply(List[Promotion]{Items: sliceOf(p.Items, promotionOf), Next: p.Next}), nil
}

func promotionOf(i *deploy.PromotionItem) Promotion {
	out := Promotion{AppID: i.App.ID, App: i.App.Name, FromID: i.Source.EnvironmentID, DeploymentID: i.Source.ID, Digest: i.Source.ImageDigest, Refused: i.Refused}
	if i.Plan != nil {
		plan := planOf(i.Plan)
		out.Plan = &plan
	}
	return out
}

func (a *API) promote(ctx context.Context, in *struct {
	IDIn
	Body NewPromotions
}) (*answer[List[PromotedApp]], error) {
	asked := deploy.PromoteInput{EnvironmentID: in.ID, FromID: in.Body.FromID, Reason: in.Body.Reason}
	for _, app := range in.Body.Apps {
		asked.Apps = append(asked.Apps, deploy.PromoteApp{AppID: app.AppID, Digest: app.Image, ConfigHash: app.ConfigHash})
	}
	all, err := a.Deploy.Promote(ctx, asked)
	if err != nil {
		return nil, err
	}
	return whole(all, promotedOf), nil
}

func promotedOf(p *deploy.Promoted) PromotedApp {
	out := PromotedApp{AppID: p.App.ID, App: p.App.Name, Refused: p.Refused}
	if p.Deployment != nil {
		d := deploymentOf(p.Deployment)
		out.Deployment = &d
	}
	return out
}
