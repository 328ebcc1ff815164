package api

import (
	"context"

	"slipway.dev/models"
	"slipway.dev/services/registry"
)

// ImageSettings is who may pull from a repository of images without a login, and which of its tags never move.
type ImageSettings struct {
	Repository    string   `json:"repository" example:"payments/checkout"`
	TeamID        string   `json:"team_id"`
	AnonymousPull string   `json:"anonymous_pull" enum:"team,yes,no" doc:"What the repository says; team: as its team says."`
	Public        bool     `json:"public" doc:"What holds: whether anybody may pull, without a login."`
	TagsAsTeam    bool     `json:"immutable_tags_as_team" doc:"Whether the patterns are the team's."`
	ImmutableTags []string `json:"immutable_tags" nullable:"false" doc:"What holds: globs of tags that never move or go." example:"[\"v*\"]"`
}

// ChangeImageSettings says what to change of them; what is absent stays.
type ChangeImageSettings struct {
	AnonymousPull string    `json:"anonymous_pull,omitempty" enum:"team,yes,no" doc:"Whether anybody may pull, without a login; team: as its team says."`
	ImmutableTags *[]string `json:"immutable_tags,omitempty" doc:"Globs, such as v* and release-*; an empty list: every tag may move."`
	TagsAsTeam    bool      `json:"immutable_tags_as_team,omitempty" doc:"The team's patterns, and no own ones."`
}

// TeamImageSettings is what a team's repositories of images do where they say nothing themselves.
type TeamImageSettings struct {
	Team          string   `json:"team" example:"payments"`
	AnonymousPull bool     `json:"anonymous_pull" doc:"Whether anybody may pull, without a login."`
	ImmutableTags []string `json:"immutable_tags" nullable:"false" doc:"Globs of tags that never move or go."`
}

// ChangeTeamImageSettings says what to change of them; what is absent stays.
type ChangeTeamImageSettings struct {
	AnonymousPull *bool     `json:"anonymous_pull,omitempty"`
	ImmutableTags *[]string `json:"immutable_tags,omitempty"`
}

// ImageRepositoryIn names a repository of images, whose name contains slashes.
type ImageRepositoryIn struct {
	Repository string `query:"repository" required:"true" maxLength:"300" doc:"Such as payments/checkout."`
}

func (a *API) imageSettings() {
	get(a, "/image-repositories/settings", "get-image-settings", "Who may pull from a repository, and which tags never move", a.getImageSettings)
	patch(a, "/image-repositories/settings", "update-image-settings", "Change who may pull, and which tags never move", a.updateImageSettings,
		about("Holds at once, for the tags that are there too."))
	get(a, "/teams/{team}/image-settings", "get-team-image-settings", "What a team's image repositories do where they say nothing", a.getTeamImageSettings)
	patch(a, "/teams/{team}/image-settings", "update-team-image-settings", "Change what a team's image repositories do where they say nothing", a.updateTeamImageSettings)
}

func (a *API) getImageSettings(ctx context.Context, in *ImageRepositoryIn) (*answer[ImageSettings], error) {
	s, err := a.Registry.Settings(ctx, in.Repository)
	return replyWith(s, imageSettingsOf, err)
}

func (a *API) updateImageSettings(ctx context.Context, in *struct {
	ImageRepositoryIn
	Body ChangeImageSettings
}) (*answer[ImageSettings], error) {
	change := registry.ChangeSettings{ImmutableTags: in.Body.ImmutableTags, TagsAsTeam: in.Body.TagsAsTeam}
	if said := in.Body.AnonymousPull; said != "" {
		pull := models.AnonymousPull(said)
		if said == "team" {
			pull = models.AnonymousAsTeam
		}
		change.AnonymousPull = &pull
	}
	s, err := a.Registry.UpdateSettings(ctx, in.Repository, change)
	return replyWith(s, imageSettingsOf, err)
}

func (a *API) getTeamImageSettings(ctx context.Context, in *TeamIn) (*answer[TeamImageSettings], error) {
	t, err := a.Registry.TeamSettings(ctx, in.Team)
	return replyWith(t, teamImageSettingsOf, err)
}

func (a *API) updateTeamImageSettings(ctx context.Context, in *struct {
	TeamIn
	Body ChangeTeamImageSettings
}) (*answer[TeamImageSettings], error) {
	t, err := a.Registry.UpdateTeamSettings(ctx, in.Team, registry.ChangeTeamSettings(in.Body))
	return replyWith(t, teamImageSettingsOf, err)
}

func imageSettingsOf(s *registry.Settings) ImageSettings {
	out := ImageSettings{
		Repository: s.Repository.Name, TeamID: s.Repository.TeamID, AnonymousPull: string(s.Repository.AnonymousPull), Public: s.Public(),
		TagsAsTeam: s.TagsAsTeam(), ImmutableTags: append([]string{}, s.ImmutableTags()...),
	}
	if s.Repository.AnonymousPull == models.AnonymousAsTeam {
		out.AnonymousPull = "team"
	}
	return out
}

func teamImageSettingsOf(t *models.Team) TeamImageSettings {
	return TeamImageSettings{t.Slug, t.AnonymousPull, append([]string{}, t.ImmutableTags...)}
}
