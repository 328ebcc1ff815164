package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/previews"
)

// Preview is an app at the head of a pull request, in an environment of its own.
type Preview struct {
	ID            string              `json:"id"`
	TeamID        string              `json:"team_id"`
	Team          string              `json:"team,omitempty" doc:"Slug."`
	AppID         string              `json:"app_id"`
	App           string              `json:"app,omitempty" doc:"The app's name."`
	EnvironmentID string              `json:"environment_id" doc:"Empty while it has none."`
	State         models.PreviewState `json:"state" enum:"building,queued,live,ending,ended"`
	Status        string              `json:"status" enum:"building,waiting,failed,canceled,queued,deploying,ready,stopped,removing,ended" doc:"The state with what its builds and deployments say, in one word."`
	PullRequest   PreviewPullRequest  `json:"pull_request"`
	Commit        string              `json:"commit" doc:"Of the newest good build."`
	BuildID       string              `json:"build_id" doc:"The newest good build."`
	LastBuildID   string              `json:"last_build_id" doc:"The newest build, however it went."`
	DeploymentID  string              `json:"deployment_id" doc:"The newest deployment."`
	URL           string              `json:"url"`
	Note          string              `json:"note,omitempty" doc:"Why it waits, or was not deployed."`
	ExpiresAt     time.Time           `json:"expires_at" doc:"When it ends, where nothing is pushed."`
	StartedAt     *time.Time          `json:"started_at"`
	EndedAt       *time.Time          `json:"ended_at"`
	EndReason     models.PreviewEnd   `json:"end_reason" enum:",closed,expired,removed,off"`
	CreatedAt     time.Time           `json:"created_at"`
}

// PreviewPullRequest is the pull request that a preview is of.
type PreviewPullRequest struct {
	Number int64  `json:"number"`
	Title  string `json:"title"`
	URL    string `json:"url"`
	Branch string `json:"branch"`
	Author string `json:"author"`
	Fork   bool   `json:"fork" doc:"It comes from another repository: its preview never gets a secret."`
	Closed bool   `json:"closed"`
}

// PreviewSettings say what previews of an app are.
type PreviewSettings struct {
	Enabled    bool      `json:"enabled"`
	TargetID   string    `json:"target_id" doc:"Where they run."`
	TemplateID string    `json:"template_id" doc:"The environment whose variables and scale they take; empty: none."`
	Secrets    bool      `json:"secrets" doc:"They get its secrets too; those of forks never do."`
	Hours      int       `json:"hours" doc:"That one lives after the last push."`
	AtMost     int       `json:"at_most" doc:"At once; 0: as many as the team may have."`
	UpdatedBy  string    `json:"updated_by"`
	UpdatedAt  time.Time `json:"updated_at"`
}

// SetPreviewSettings is what previews of an app are to be.
type SetPreviewSettings struct {
	Enabled    bool   `json:"enabled" doc:"Off ends those that there are."`
	TargetID   string `json:"target_id,omitempty" maxLength:"100" doc:"A target that the team may use."`
	TemplateID string `json:"template_id,omitempty" maxLength:"100" doc:"An environment of the team."`
	Secrets    bool   `json:"secrets,omitempty"`
	Hours      int    `json:"hours,omitempty" minimum:"0" maximum:"2160" doc:"72 where 0."`
	AtMost     int    `json:"at_most,omitempty" minimum:"0" maximum:"100"`
}

// PreviewLimit is how many previews a team has and may have.
type PreviewLimit struct {
	Team     string `json:"team" doc:"Slug."`
	Previews int    `json:"previews" doc:"The team's own limit; 0 where the settings decide."`
	Limit    int    `json:"limit" doc:"The limit that holds; 0: any number."`
	Live     int    `json:"live" doc:"With those that are being removed."`
	Queued   int    `json:"queued" doc:"That wait for a place."`
}

// SetPreviewLimit sets a team's limit.
type SetPreviewLimit struct {
	Previews int `json:"previews" minimum:"0" maximum:"1000" doc:"At once; 0 leaves it to the settings."`
}

func (a *API) previews() {
	accepted := []option{status(http.StatusAccepted), repeatable}
	get(a, "/previews", "list-previews", "Previews of pull requests of your teams, newest first", a.listPreviews)
	get(a, "/previews/{id}", "get-preview", "A preview", a.getPreview)
	post(a, "/previews/{id}/redeploy", "redeploy-preview", "Deploy the newest good build of a pull request again", a.actOnPreview((*previews.Service).Redeploy), append(accepted,
		about("With variables as they are now. One that has ended begins again."))...)
	post(a, "/previews/{id}/extend", "extend-preview", "Give a preview its whole time again", a.actOnPreview((*previews.Service).Extend))
	remove(a, "/previews/{id}", "remove-preview", "Remove a preview until the next push", func(ctx context.Context, in *IDIn) error {
		_, err := a.Previews.Remove(ctx, in.ID)
		return err
	})
	get(a, "/apps/{id}/preview-settings", "get-preview-settings", "What previews of an app are", a.getPreviewSettings)
	put(a, "/apps/{id}/preview-settings", "set-preview-settings", "Set what previews of an app are", a.setPreviewSettings,
		about("For maintainers: they decide whether code of pull requests gets secrets."))
	get(a, "/preview-usage", "list-preview-usage", "How many previews your teams have and may have", a.listPreviewUsage)
	put(a, "/preview-limits/{team}", "set-preview-limit", "Set how many previews a team has at once", a.setPreviewLimit, admin)
}

func (a *API) listPreviews(ctx context.Context, in *struct {
	PageIn
	Team  string              `query:"team" maxLength:"100" doc:"Slug of a team."`
	AppID string              `query:"app_id" maxLength:"100"`
	State models.PreviewState `query:"state" enum:"building,queued,live,ending,ended"`
}) (*answer[List[Preview]], error) {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	l, err := a.Previews.List(ctx, previews.Filter{Page: in.page(), TeamID: team, AppID: in.AppID, State: in.State})
	if err != nil {
		return nil, err
	}
	return listOf(l, previewOfPull), nil
}

func (a *API) getPreview(ctx context.Context, in *IDIn) (*answer[Preview], error) {
	p, err := a.Previews.Get(ctx, in.ID)
	return replyWith(p, previewOfPull, err)
}

// actOnPreview makes a call of one of the service's actions on a preview.
func (a *API) actOnPreview(do func(*previews.Service, context.Context, string) (*models.Preview, error)) func(context.Context, *IDIn) (*answer[Preview], error) {
	return func(ctx context.Context, in *IDIn) (*answer[Preview], error) {
		p, err := do(a.Previews, ctx, in.ID)
		return replyWith(p, previewOfPull, err)
	}
}

func (a *API) getPreviewSettings(ctx context.Context, in *IDIn) (*answer[PreviewSettings], error) {
	s, err := a.Previews.Settings(ctx, in.ID)
	return replyWith(s, previewSettingsOf, err)
}

func (a *API) setPreviewSettings(ctx context.Context, in *struct {
	IDIn
	Body SetPreviewSettings
}) (*answer[PreviewSettings], error) {
	s, err := a.Previews.SetSettings(ctx, in.ID, previews.SettingsInput(in.Body))
	return replyWith(s, previewSettingsOf, err)
}

func (a *API) listPreviewUsage(ctx context.Context, _ *struct{}) (*answer[List[PreviewLimit]], error) {
	all, err := a.Previews.Usages(ctx)
	if err != nil {
		return nil, err
	}
	return whole(all, previewLimitOf), nil
}

func (a *API) setPreviewLimit(ctx context.Context, in *struct {
	Team string `path:"team" maxLength:"100"`
	Body SetPreviewLimit
}) (*answer[PreviewLimit], error) {
	u, err := a.Previews.SetLimit(ctx, in.Team, in.Body.Previews)
	return replyWith(&u, previewLimitOf, err)
}

func previewOfPull(p *models.Preview) Preview {
	out := Preview{
		ID: p.ID, TeamID: p.TeamID, AppID: p.AppID, State: p.State, Status: p.Status(), Commit: p.Commit, BuildID: p.BuildID, LastBuildID: p.HeadID, DeploymentID: p.DeploymentID,
		PullRequest: PreviewPullRequest{p.Number, p.Title, p.PullURL, p.Branch, p.Author, p.Fork, p.Closed},
		URL:         p.URL, Note: p.Note, ExpiresAt: p.ExpiresAt.UTC(), StartedAt: utc(p.StartedAt), EndedAt: utc(p.EndedAt), EndReason: p.EndReason, CreatedAt: p.CreatedAt.UTC(),
	}
	if p.EnvironmentID != nil {
		out.EnvironmentID = *p.EnvironmentID
	}
	if p.Team != nil {
		out.Team = p.Team.Slug
	}
	if p.App != nil {
		out.App = p.App.Name
	}
	return out
}

func previewSettingsOf(s *models.PreviewSettings) PreviewSettings {
	return PreviewSettings{s.Enabled, s.TargetID, s.TemplateID, s.Secrets, s.Hours, s.AtMost, s.UpdatedBy, s.UpdatedAt.UTC()}
}

func previewLimitOf(u *models.PreviewUsage) PreviewLimit {
	return PreviewLimit{u.Team.Slug, u.Team.PreviewLimit, u.Limit, u.Live, u.Queued}
}
