package api

import (
	"context"
	"time"

	"slipway.dev/models"
)

// ImageUsage is what a repository's or a team's images take, as last counted.
type ImageUsage struct {
	Repository   string    `json:"repository,omitempty" doc:"Empty: the whole team, where a blob of several repositories counts once."`
	Team         string    `json:"team,omitempty"`
	Bytes        int64     `json:"bytes" doc:"With what was deleted and can be restored."`
	Tags         int64     `json:"tags"`
	Images       int64     `json:"images"`
	Growth       int64     `json:"growth" doc:"Bytes more than growth_seconds before."`
	GrowthOf     int64     `json:"growth_seconds"`
	DeletedBytes int64     `json:"deleted_bytes" doc:"That only deleted images hold."`
	FreesBytes   int64     `json:"frees_bytes" doc:"That the next clean-up would free."`
	Quota        int64     `json:"quota,omitempty" doc:"Of a team, in bytes; absent: none."`
	OwnQuota     bool      `json:"own_quota,omitempty" doc:"Whether it is the team's own and not that of every team."`
	CountedAt    time.Time `json:"counted_at"`
}

// TeamImageUsage is a team and its repositories, the largest first.
type TeamImageUsage struct {
	Total ImageUsage   `json:"total"`
	Items []ImageUsage `json:"items" nullable:"false"`
	Next  string       `json:"next"`
}

// ImageQuota is how many bytes of images a team may have.
type ImageQuota struct {
	Bytes *int64 `json:"bytes" nullable:"true" doc:"Above 0: a limit; below: none. Null: as every team, and for every team: none."`
}

func (a *API) imageUsage() {
	get(a, "/teams/{team}/image-usage", "get-team-image-usage", "What a team's images take, by repository, the largest first", a.getTeamImageUsage)
	get(a, "/image-usage", "list-image-usage", "What each team's images take, the largest first", a.listImageUsage, admin)
	put(a, "/image-quota", "set-image-quota", "Set how many bytes of images every team may have", a.setImageQuota, admin)
	put(a, "/teams/{team}/image-quota", "set-team-image-quota", "Set how many bytes of images a team may have", a.setTeamImageQuota, admin)
}

func (a *API) getTeamImageUsage(ctx context.Context, in *struct {
	TeamIn
	PageIn
}) (*answer[TeamImageUsage], error) {
	u, err := a.Retention.OfTeam(ctx, in.Team, in.page())
	return replyWith(u, func(u *models.TeamImageUsage) TeamImageUsage {
		return TeamImageUsage{usageOf(&u.Total), sliceOf(u.Repositories.Items, usageOf), u.Repositories.Next}
	}, err)
}

func (a *API) listImageUsage(ctx context.Context, in *PageIn) (*answer[List[ImageUsage]], error) {
	l, err := a.Retention.OfSite(ctx, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, usageOf), nil
}

func (a *API) setImageQuota(ctx context.Context, in *struct{ Body ImageQuota }) (*answer[ImageQuota], error) {
	return &answer[ImageQuota]{in.Body}, a.Registry.SetQuota(ctx, "", in.Body.Bytes)
}

func (a *API) setTeamImageQuota(ctx context.Context, in *struct {
	TeamIn
	Body ImageQuota
}) (*answer[ImageQuota], error) {
	return &answer[ImageQuota]{in.Body}, a.Registry.SetQuota(ctx, in.Team, in.Body.Bytes)
}

func usageOf(u *models.ImageUsage) ImageUsage {
	return ImageUsage{u.Repository, u.Team, u.Bytes, u.Tags, u.Images, u.Growth, int64(u.GrowthOf.Seconds()), u.DeletedBytes, u.FreesBytes, u.Quota, u.OwnQuota, u.CountedAt.UTC()}
}
