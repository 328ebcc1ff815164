package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/copies"
)

// Copy is an image that is brought from one registry to another.
type Copy struct {
	ID         string           `json:"id"`
	TeamID     string           `json:"team_id"`
	Team       string           `json:"team,omitempty" doc:"Slug."`
	State      models.CopyState `json:"state" enum:"queued,running,succeeded,failed,canceled"`
	From       string           `json:"from" example:"localhost:8080/payments/checkout:main"`
	To         string           `json:"to" example:"ghcr.io/acme/checkout:1.4"`
	Digest     string           `json:"digest" doc:"Of what is copied, whatever the tag names later."`
	Referrers  bool             `json:"referrers"`
	Manifests  int64            `json:"manifests" doc:"0: not known yet."`
	Blobs      CopyFigures      `json:"blobs"`
	Bytes      CopyFigures      `json:"bytes"`
	WaitingFor string           `json:"waiting_for,omitempty" doc:"Why it waits."`
	NextTryAt  *time.Time       `json:"next_try_at"`
	Error      string           `json:"error,omitempty"`
	CanceledBy string           `json:"canceled_by,omitempty"`
	CreatedBy  string           `json:"created_by" doc:"A name, for people."`
	Timings    Timings          `json:"timings"`
	CreatedAt  time.Time        `json:"created_at"`
}

// CopyFigures count what a copy consists of.
type CopyFigures struct {
	Total int64 `json:"total"`
	Done  int64 `json:"done" doc:"At the target now."`
	There int64 `json:"there" doc:"Of them, those that were there before."`
}

func (a *API) copies() {
	started := []option{status(http.StatusAccepted), repeatable}
	get(a, "/copies", "list-copies", "Copies of your teams, newest first", a.listCopies)
	post(a, "/copies", "create-copy", "Copy an image to another registry or repository", a.createCopy, append(started,
		about("What the name in from means now is copied, by its digest: an index with all its platforms. Only what the target lacks is sent; the tag is set last."))...)
	get(a, "/copies/{id}", "get-copy", "A copy with its progress", a.getCopy)
	post(a, "/copies/{id}/cancel", "cancel-copy", "Cancel a copy", a.actOnCopy((*copies.Service).Cancel), started...)
	post(a, "/copies/{id}/retry", "retry-copy", "Go on with a copy that failed or was canceled", a.actOnCopy((*copies.Service).Retry), started...)
}

func (a *API) listCopies(ctx context.Context, in *struct {
	PageIn
	Team  string           `query:"team" maxLength:"100" doc:"Slug of a team."`
	State models.CopyState `query:"state" enum:"queued,running,succeeded,failed,canceled"`
}) (*answer[List[Copy]], error) {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	l, err := a.Copies.List(ctx, copies.Filter{Page: in.page(), TeamID: team, State: in.State})
	if err != nil {
		return nil, err
	}
	return listOf(l, copyOf), nil
}

func (a *API) createCopy(ctx context.Context, in *struct{ Body copies.Named }) (*answer[Copy], error) {
	c, err := a.Copies.CreateNamed(ctx, in.Body)
	return replyWith(c, copyOf, err)
}

func (a *API) getCopy(ctx context.Context, in *IDIn) (*answer[Copy], error) {
	c, err := a.Copies.Get(ctx, in.ID)
	return replyWith(c, copyOf, err)
}

// actOnCopy makes a call of one of the service's actions on a copy.
func (a *API) actOnCopy(do func(*copies.Service, context.Context, string) (*models.Copy, error)) func(context.Context, *IDIn) (*answer[Copy], error) {
	return func(ctx context.Context, in *IDIn) (*answer[Copy], error) {
		c, err := do(a.Copies, ctx, in.ID)
		return replyWith(c, copyOf, err)
	}
}

func copyOf(c *models.Copy) Copy {
	out := Copy{
		ID: c.ID, TeamID: c.TeamID, State: c.State, From: c.From(), To: c.To(), Digest: c.Digest, Referrers: c.Referrers, Manifests: c.Manifests,
		Blobs: CopyFigures{c.Blobs, c.BlobsDone, c.BlobsThere}, Bytes: CopyFigures{c.Bytes, c.BytesDone, c.BytesThere},
		WaitingFor: c.Note, NextTryAt: utc(c.NextTryAt), Error: c.Error, CanceledBy: c.CanceledBy, CreatedBy: c.CreatedByName,
		Timings: timingsOf(c.CreatedAt, c.StartedAt, c.FinishedAt), CreatedAt: c.CreatedAt.UTC(),
	}
	if c.Team != nil {
		out.Team = c.Team.Slug
	}
	return out
}
