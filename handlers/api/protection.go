package api

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Protection is what has to hold before something new is deployed to an environment.
type Protection struct {
	Approvals int      `json:"approvals" minimum:"0" doc:"By maintainers other than the one who asks; 0: none is needed."`
	Branches  []string `json:"branches" nullable:"false" doc:"Globs: only builds of these branches. Empty: any image."`
	After     string   `json:"after" maxLength:"100" doc:"Id of the environment in which the image must have succeeded before. Empty: none."`
	Freezes   []Freeze `json:"freezes" nullable:"false" doc:"Times in which nothing is deployed."`
}

// Freeze is a time in which nothing is deployed: once from start to end, or every week.
type Freeze struct {
	ID       string     `json:"id,omitempty" maxLength:"64" doc:"Where it is left out, Slipway gives one."`
	Name     string     `json:"name" maxLength:"100"`
	Start    *time.Time `json:"start,omitempty" doc:"Once: from."`
	End      *time.Time `json:"end,omitempty" doc:"Once: to."`
	Zone     string     `json:"zone,omitempty" maxLength:"100" example:"Europe/Berlin"`
	FromDay  int        `json:"from_day,omitempty" minimum:"0" maximum:"6" doc:"Every week: 0 is Sunday."`
	FromTime string     `json:"from_time,omitempty" maxLength:"5" example:"16:00"`
	ToDay    int        `json:"to_day,omitempty" minimum:"0" maximum:"6"`
	ToTime   string     `json:"to_time,omitempty" maxLength:"5" example:"08:00"`
}

// Decision is a maintainer's word on a deployment that waits for it.
type Decision struct {
	Digest     string `json:"digest,omitempty" maxLength:"200" doc:"Refuse where it is another image."`
	ConfigHash string `json:"config_hash,omitempty" maxLength:"100" doc:"Refuse where it is another configuration."`
	Comment    string `json:"comment,omitempty" maxLength:"500"`
}

// Approval is a word that was given.
type Approval struct {
	By      string    `json:"by" doc:"A name, for people."`
	Comment string    `json:"comment,omitempty"`
	At      time.Time `json:"at"`
}

// BadImage is an image that is deployed nowhere in the team any more.
type BadImage struct {
	Team      string    `json:"team" doc:"The team's slug."`
	Digest    string    `json:"digest"`
	Reason    string    `json:"reason,omitempty"`
	MarkedBy  string    `json:"marked_by"`
	CreatedAt time.Time `json:"created_at"`
}

// MarkBadImage says why an image is bad.
type MarkBadImage struct {
	Team   string `json:"team" maxLength:"100" doc:"Slug of the team."`
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// AutoDeploy deploys the good builds of a branch by itself.
type AutoDeploy struct {
	AppID   string     `json:"app_id"`
	Branch  string     `json:"branch" doc:"A glob."`
	Note    string     `json:"note,omitempty" doc:"Why the last good build was not deployed."`
	HeldAt  *time.Time `json:"held_at" doc:"Since when it is off, after a rollback."`
	HeldBy  string     `json:"held_by,omitempty"`
	HeldWhy string     `json:"held_why,omitempty"`
}

// SetAutoDeploy says which builds are deployed by themselves.
type SetAutoDeploy struct {
	Branch string `json:"branch" maxLength:"200" example:"main"`
}

func (a *API) protections() {
	put(a, "/environments/{id}/protection", "protect-environment", "Set what has to hold before a deployment", a.protect,
		about("Rollbacks and restarts pass: they repeat what held before."))
	post(a, "/environments/{id}/freezes", "add-freeze", "Add a time in which nothing is deployed", a.addFreeze)
	remove(a, "/environments/{id}/freezes/{freeze}", "delete-freeze", "Take a freeze away", a.deleteFreeze)
	get(a, "/environments/{id}/automatic", "list-automatic-deployments", "Apps that are deployed by themselves", a.listAutoDeploys)
	put(a, "/environments/{id}/automatic/{app_id}", "set-automatic-deployment", "Deploy good builds of a branch by themselves", a.setAutoDeploy)
	remove(a, "/environments/{id}/automatic/{app_id}", "unset-automatic-deployment", "Leave an app's deployments to people", a.unsetAutoDeploy)
	post(a, "/environments/{id}/automatic/{app_id}/resume", "resume-automatic-deployment", "Deploy by itself again after a rollback", a.resumeAutoDeploy)
	get(a, "/bad-images", "list-bad-images", "Images that are deployed nowhere any more", a.listBadImages)
	put(a, "/bad-images/{digest}", "mark-bad-image", "Keep an image from being deployed", a.markBad)
	remove(a, "/bad-images/{digest}", "unmark-bad-image", "Let an image be deployed again", a.unmarkBad)
}

func (a *API) protect(ctx context.Context, in *struct {
	IDIn
	Body Protection
}) (*answer[Environment], error) {
	rules := models.Protection{Approvals: in.Body.Approvals, Branches: in.Body.Branches, After: in.Body.After}
	for _, f := range in.Body.Freezes {
		rules.Freezes = append(rules.Freezes, f.model())
	}
	e, err := a.Deploy.Protect(ctx, in.ID, rules)
	return replyWith(e, environmentOf, err)
}

func (f Freeze) model() models.Freeze {
	return models.Freeze{ID: f.ID, Name: f.Name, Start: f.Start, End: f.End, Zone: f.Zone,
		FromDay: time.Weekday(f.FromDay), FromTime: f.FromTime, ToDay: time.Weekday(f.ToDay), ToTime: f.ToTime}
}

func (a *API) addFreeze(ctx context.Context, in *struct {
	IDIn
	Body Freeze
}) (*answer[Environment], error) {
	e, err := a.Deploy.AddFreeze(ctx, in.ID, in.Body.model())
	return replyWith(e, environmentOf, err)
}

func (a *API) deleteFreeze(ctx context.Context, in *struct {
	IDIn
	Freeze string `path:"freeze" maxLength:"64"`
}) error {
	_, err := a.Deploy.DeleteFreeze(ctx, in.ID, in.Freeze)
	return err
}

func protectionOf(p models.Protection) Protection {
	return Protection{Approvals: p.Approvals, Branches: append([]string{}, p.Branches...), After: p.After, Freezes: sliceOf(p.Freezes, freezeOf)}
}

func freezeOf(f *models.Freeze) Freeze {
	return Freeze{f.Key(), f.Name, utc(f.Start), utc(f.End), f.Zone, int(f.FromDay), f.FromTime, int(f.ToDay), f.ToTime}
}

func (a *API) decide(do func(*deploy.Service, context.Context, string, deploy.ApprovalInput) (*models.Deployment, error)) func(context.Context, *decisionIn) (*answer[Deployment], error) {
	return func(ctx context.Context, in *decisionIn) (*answer[Deployment], error) {
		var said deploy.ApprovalInput
		if in.Body != nil {
			said = deploy.ApprovalInput{Digest: in.Body.Digest, ConfigHash: in.Body.ConfigHash, Comment: in.Body.Comment}
		}
		d, err := do(a.Deploy, ctx, in.ID, said)
		return replyWith(d, deploymentOf, err)
	}
}

type decisionIn struct {
	IDIn
	Body *Decision
}

func approvalOf(x *models.Approval) Approval {
	return Approval{x.UserName, x.Comment, x.CreatedAt.UTC()}
}

// autoIn names an app in an environment.
type autoIn struct {
	IDIn
	AppID string `path:"app_id" maxLength:"100"`
}

func (a *API) listAutoDeploys(ctx context.Context, in *IDIn) (*answer[List[AutoDeploy]], error) {
	all, err := a.Deploy.AutoDeploys(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(all, autoDeployOf), nil
}

func (a *API) setAutoDeploy(ctx context.Context, in *struct {
	IDIn
	AppID string `path:"app_id" maxLength:"100"`
	Body  SetAutoDeploy
}) (*answer[AutoDeploy], error) {
	row, err := a.Deploy.SetAuto(ctx, deploy.AutoInput{EnvironmentID: in.ID, AppID: in.AppID, Branch: in.Body.Branch})
	return replyWith(row, autoDeployOf, err)
}

func (a *API) unsetAutoDeploy(ctx context.Context, in *autoIn) error {
	return a.Deploy.UnsetAuto(ctx, in.ID, in.AppID)
}

func (a *API) resumeAutoDeploy(ctx context.Context, in *autoIn) (*answer[List[AutoDeploy]], error) {
	if err := a.Deploy.LiftHold(ctx, in.ID, in.AppID); err != nil {
		return nil, err
	}
	return a.listAutoDeploys(ctx, &in.IDIn)
}

func autoDeployOf(x *models.AutoDeploy) AutoDeploy {
	return AutoDeploy{x.AppID, x.Branch, x.Note, utc(x.HeldAt), x.HeldByName, x.HeldWhy}
}

func (a *API) listBadImages(ctx context.Context, in *struct {
	Team string `query:"team" required:"true" maxLength:"100" doc:"Slug of the team."`
}) (*answer[List[BadImage]], error) {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	all, err := a.Deploy.BadImages(ctx, team)
	if err != nil {
		return nil, err
	}
	return whole(all, badImageOf(in.Team)), nil
}

func (a *API) markBad(ctx context.Context, in *struct {
	Digest string `path:"digest" maxLength:"200"`
	Body   MarkBadImage
}) (*answer[BadImage], error) {
	team, err := a.teamID(ctx, in.Body.Team)
	if err != nil {
		return nil, err
	}
	row, err := a.Deploy.MarkBad(ctx, team, in.Digest, in.Body.Reason)
	return replyWith(row, badImageOf(in.Body.Team), err)
}

func (a *API) unmarkBad(ctx context.Context, in *struct {
	Digest string `path:"digest" maxLength:"200"`
	Team   string `query:"team" required:"true" maxLength:"100" doc:"Slug of the team."`
}) error {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return err
	}
	return a.Deploy.UnmarkBad(ctx, team, in.Digest)
}

func badImageOf(team string) func(*models.BadImage) BadImage {
	return func(b *models.BadImage) BadImage {
		return BadImage{team, b.Digest, b.Reason, b.MarkedByName, b.CreatedAt.UTC()}
	}
}
