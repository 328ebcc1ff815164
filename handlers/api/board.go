package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// BoardApp is an app with what runs in each environment of its team.
type BoardApp struct {
	AppID string      `json:"app_id"`
	App   string      `json:"app" doc:"The app's name."`
	Team  string      `json:"team" doc:"The owner's slug."`
	Cells []BoardCell `json:"cells" nullable:"false" doc:"One for each environment, from left to right."`
}

// BoardCell is an app in an environment.
type BoardCell struct {
	EnvironmentID string           `json:"environment_id"`
	Environment   string           `json:"environment" doc:"The environment's name."`
	Serving       *BoardDeployment `json:"serving" doc:"What serves; null: nothing yet."`
	Latest        *BoardDeployment `json:"latest" doc:"The newest attempt, where it is not what serves."`
	Health        *BoardHealth     `json:"health" doc:"Of what serves."`
	Phase         string           `json:"phase,omitempty" doc:"What the rollout of latest does now." example:"health"`
	Frozen        string           `json:"frozen,omitempty" doc:"The name of the freeze that keeps deployments out now."`
	FrozenUntil   *time.Time       `json:"frozen_until,omitempty"`
	Held          string           `json:"held,omitempty" doc:"Why good builds don't come by themselves, after a rollback."`
	Maintenance   bool             `json:"maintenance,omitempty" doc:"Visitors get the maintenance page."`
	Left          *BoardStep       `json:"left" doc:"How it differs from the environment to its left; null where nothing serves there."`
}

// BoardDeployment is a deployment as the board shows it.
type BoardDeployment struct {
	ID        string                 `json:"id"`
	Number    int64                  `json:"number"`
	State     models.DeploymentState `json:"state" enum:"waiting,pending,running,succeeded,failed,canceled,rolled_back"`
	Digest    string                 `json:"digest"`
	Tag       string                 `json:"tag,omitempty"`
	BuildID   *string                `json:"build_id,omitempty"`
	Build     int64                  `json:"build,omitempty" doc:"The build's number."`
	Commit    string                 `json:"commit,omitempty"`
	Subject   string                 `json:"subject,omitempty" doc:"The commit's first line."`
	Shift     *Shift                 `json:"shift" doc:"How far visitors have moved to it in steps; null: they don't move now."`
	CreatedBy string                 `json:"created_by" doc:"A name, for people."`
	CreatedAt time.Time              `json:"created_at"`
	Since     *time.Time             `json:"since" doc:"When it ended; of what serves, since when it does."`
}

// BoardHealth is how well a deployment serves.
type BoardHealth struct {
	State  models.InstanceState `json:"state" enum:"starting,healthy,failing,stopped,unknown" doc:"Of the instance that is worst off."`
	Ready  int                  `json:"ready" doc:"Instances that are healthy."`
	Wanted int                  `json:"wanted"`
	Reason string               `json:"reason,omitempty" doc:"What is not well."`
}

// BoardStep is how a place differs from the one to its left.
type BoardStep struct {
	EnvironmentID string   `json:"environment_id" doc:"The one to the left."`
	SameImage     bool     `json:"same_image"`
	Counting      bool     `json:"counting" doc:"The commits are being counted and are known in a moment."`
	Ahead         *int     `json:"commits_ahead" doc:"Commits that the left one has and this one has not; null: not known."`
	Behind        *int     `json:"commits_behind" doc:"Commits that this one has and the left one has not; null: not known."`
	Note          string   `json:"note,omitempty" doc:"Why the commits can't be counted."`
	Config        []string `json:"config" nullable:"false" doc:"Settings that differ, and variables that only one has. Values and scales are each environment's own."`
	Promotable    bool     `json:"promotable" doc:"What the left one runs is not older, and not on its way here."`
}

// DeploymentComparison is what changes from one deployment of an app to another.
type DeploymentComparison struct {
	A           Deployment    `json:"a"`
	B           Deployment    `json:"b"`
	SameImage   bool          `json:"same_image"`
	Ahead       int           `json:"commits_ahead" doc:"Commits that b has and a has not."`
	Behind      int           `json:"commits_behind" doc:"Commits that a has and b has not."`
	Commits     []Commit      `json:"commits" nullable:"false" doc:"Some of those ahead, newest first; where there are none, of those behind."`
	CommitsNote string        `json:"commits_note,omitempty" doc:"Why there are none."`
	Settings    []PlanSetting `json:"settings" nullable:"false"`
	Variables   []PlanChange  `json:"variables" nullable:"false"`
	Secrets     []PlanChange  `json:"secrets" nullable:"false" doc:"By their fingerprints."`
	Seconds     [2]float64    `json:"seconds" doc:"How long each took; 0 where it has not ended."`
}

func (a *API) board() {
	get(a, "/board", "get-board", "What runs where, app by app", a.getBoard,
		about("In the order of the teams' slugs and the apps' names. The counts of commits are made in the background: `counting` tells that they are not there yet."))
	get(a, "/deployments/compare", "compare-deployments", "What changes from one deployment of an app to another", a.compareDeployments)
	get(a, "/environments/{id}/promotions", "list-promotions", "What promoting would bring, app by app", a.listPromotions,
		about("The apps of which the environment to the left (or `from_id`) runs another image, each with its plan."))
	post(a, "/environments/{id}/promotions", "promote", "Promote apps from another environment", a.promote, status(http.StatusAccepted), repeatable,
		about("Each becomes a deployment of its own, of the very digest that serves there. What is refused says why and keeps nothing else back."))
	get(a, "/environments/{id}/changes", "list-changes", "What came to an environment, deployment by deployment", a.listNews)
	get(a, "/environments/{id}/changes.atom", "follow-changes", "The same as a feed", a.newsFeed, feedAnswer)
}

func (a *API) getBoard(ctx context.Context, in *struct {
	PageIn
	Team      string `query:"team" maxLength:"100" doc:"Slug of a team."`
	Text      string `query:"q" maxLength:"100" doc:"A part of the app's name."`
	Differs   bool   `query:"differs" doc:"Only apps of which an environment does not run the image of the one to its left."`
	Unhealthy bool   `query:"unhealthy" doc:"Only apps that don't serve as they should somewhere."`
}) (*answer[List[BoardApp]], error) {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	b, err := a.Deploy.Board(ctx, deploy.BoardFilter{Page: in.page(), TeamID: team, Text: in.Text, Differs: in.Differs, Unhealthy: in.Unhealthy})
	if err != nil {
		return nil, err
	}
	out := List[BoardApp]{Items: make([]BoardApp, 0, len(b.Apps)), Next: b.Next}
	for _, app := range b.Apps {
		row := BoardApp{AppID: app.ID, App: app.Name, Team: slugOf(app.Team), Cells: []BoardCell{}}
		for _, e := range b.Stages(app.TeamID) {
			row.Cells = append(row.Cells, boardCellOf(b, e, app.ID))
		}
		out.Items = append(out.Items, row)
	}
	return reply(out), nil
}

func boardCellOf(b *deploy.Board, e models.Environment, appID string) BoardCell {
	cell := b.Cell(e.ID, appID)
	out := BoardCell{EnvironmentID: e.ID, Environment: e.Name, Serving: boardDeploymentOf(cell.Active), Latest: boardDeploymentOf(cell.Latest), Phase: cell.Phase, Maintenance: cell.Closed}
	if cell.Active != nil {
		h := deploy.HealthOf(cell.Active)
		out.Health = &BoardHealth{h.State, h.Ready, h.Wanted, h.Reason}
	}
	if f, frozen := b.Frozen(e.ID); frozen {
		out.Frozen, out.FrozenUntil = f.Name, utc(&f.Until)
	}
	if cell.Held != nil {
		out.Held = cell.Held.HeldWhy
	}
	if s := cell.Step; s != nil {
		out.Left = &BoardStep{EnvironmentID: s.From.ID, SameImage: s.SameImage, Counting: s.Counting(), Note: s.Note, Config: append([]string{}, s.Config...), Promotable: s.Promote}
		if s.Counted {
			out.Left.Ahead, out.Left.Behind = &s.Ahead, &s.Behind
		}
	}
	return out
}

func boardDeploymentOf(d *models.Deployment) *BoardDeployment {
	if d == nil {
		return nil
	}
	out := &BoardDeployment{ID: d.ID, Number: d.Number, State: d.State, Digest: d.ImageDigest, Tag: d.ImageTag, BuildID: d.BuildID, Shift: shiftOf(d), CreatedBy: d.CreatedByName,
		CreatedAt: d.CreatedAt.UTC(), Since: utc(d.FinishedAt)}
	if d.Build != nil {
		out.Build, out.Commit, out.Subject = d.Build.Number, d.Build.Commit, d.Build.CommitSubject
	}
	return out
}

func (a *API) compareDeployments(ctx context.Context, in *struct {
	A string `query:"a" required:"true" maxLength:"100" doc:"A deployment."`
	B string `query:"b" required:"true" maxLength:"100" doc:"Another one of the same app, in any environment."`
}) (*answer[DeploymentComparison], error) {
	c, err := a.Deploy.Compare(ctx, in.A, in.B)
	return replyWith(c, comparisonOf, err)
}

func comparisonOf(c *deploy.Comparison) DeploymentComparison {
	return DeploymentComparison{
		A: deploymentOf(c.A), B: deploymentOf(c.B), SameImage: c.SameImage(), Ahead: c.Range.Ahead, Behind: c.Range.Behind,
		Commits: sliceOf(c.Range.Commits, changeCommitOf), CommitsNote: c.CommitsNote, Settings: sliceOf(c.Settings, planSettingOf),
		Variables: sliceOf(c.Variables, changeOf), Secrets: sliceOf(c.Secrets, changeOf), Seconds: [2]float64{deploy.Took(c.A).Seconds(), deploy.Took(c.B).Seconds()},
	}
}

func planSettingOf(d *deploy.Difference) PlanSetting { return PlanSetting{d.Name, d.Before, d.After} }

func changeCommitOf(c *models.ChangeCommit) Commit {
	return Commit{c.ID, c.Subject, c.Author, c.Email, c.Time.UTC()}
}
