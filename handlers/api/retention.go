package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/retention"
)

// RetentionPolicy says which images a repository keeps.
type RetentionPolicy struct {
	Repository string                 `json:"repository" doc:"Empty: the team's, for all repositories that have none of their own."`
	Set        bool                   `json:"set" doc:"Whether there is a policy; without one nothing is cleaned up."`
	Inherited  bool                   `json:"inherited" doc:"Whether it is the team's."`
	Enabled    bool                   `json:"enabled" doc:"Whether the daily clean-up follows it."`
	Rules      []models.RetentionRule `json:"rules" nullable:"false"`
	MinAgeDays int                    `json:"min_age_days" doc:"Nothing younger goes."`
	Rollbacks  int                    `json:"rollbacks" doc:"Images of so many deployments of each app and environment stay."`
	UpdatedBy  string                 `json:"updated_by"`
	UpdatedAt  *time.Time             `json:"updated_at"`
}

// RetentionEntry is a tag, or a manifest without one, and what a clean-up would do to it.
type RetentionEntry struct {
	Tag      string               `json:"tag" doc:"Empty: the manifest has none."`
	Digest   string               `json:"digest"`
	PushedAt time.Time            `json:"pushed_at"`
	Size     int64                `json:"size" doc:"Compressed bytes of the image."`
	Frees    int64                `json:"frees" doc:"Bytes that nothing but this manifest holds."`
	Goes     bool                 `json:"goes"`
	Kind     models.RetentionKind `json:"kind" enum:",runs,pending,rollback,build,protected,deleted,base,cache,rule,young,part,about" doc:"What keeps it; empty where it goes."`
	Reason   string               `json:"reason" doc:"The rule or the reference that keeps it, in words."`
}

// RetentionPreview is what a clean-up would do now.
type RetentionPreview struct {
	Plan      string           `json:"plan" doc:"Names what goes; a run is started with it."`
	Manifests int              `json:"manifests"`
	Goes      int              `json:"goes" doc:"Manifests that would go."`
	GoesTags  int              `json:"goes_tags" doc:"Tags that would go with them."`
	Bytes     int64            `json:"bytes" doc:"That are free once what goes is gone for good; what other images need does not count."`
	Items     []RetentionEntry `json:"items" nullable:"false"`
	Next      string           `json:"next"`
}

// RetentionRun is one clean-up.
type RetentionRun struct {
	ID         string                `json:"id"`
	Repository string                `json:"repository"`
	State      models.RetentionState `json:"state" enum:"queued,running,succeeded,failed"`
	Planned    int64                 `json:"planned" doc:"Manifests that its plan named."`
	Deleted    int64                 `json:"deleted"`
	Tags       int64                 `json:"tags" doc:"Deleted with them."`
	Spared     int64                 `json:"spared" doc:"That something keeps by now."`
	Bytes      int64                 `json:"bytes" doc:"That its plan would free."`
	Error      string                `json:"error"`
	StartedBy  string                `json:"started_by" doc:"A name, for people; empty: the schedule."`
	CreatedAt  time.Time             `json:"created_at"`
	FinishedAt *time.Time            `json:"finished_at"`
}

// RetentionItem is a manifest that a plan named.
type RetentionItem struct {
	Digest  string                  `json:"digest"`
	Tags    []string                `json:"tags" nullable:"false"`
	Outcome models.RetentionOutcome `json:"outcome" enum:"planned,deleted,spared"`
	Reason  string                  `json:"reason" doc:"Why it was spared."`
}

// RepositoryIn is a call about one repository of images.
type RepositoryIn struct {
	Repository string `query:"repository" required:"true" maxLength:"300" doc:"Such as payments/checkout."`
}

func (a *API) retention() {
	get(a, "/retention-policies", "get-retention-policy", "The policy that counts for a repository of images", a.getRetentionPolicy)
	put(a, "/retention-policies", "set-retention-policy", "Give a repository of images a policy of its own", a.setRetentionPolicy,
		about("Rules keep images; what no rule keeps, nothing uses and is old enough goes in the daily clean-up, or in a run. What runs, what ran in the last deployments of an environment, what a deployment or a build that has not ended names and what can't be deleted stays under any policy."))
	remove(a, "/retention-policies", "drop-retention-policy", "Have a repository inherit its team's policy", a.dropRetentionPolicy)
	get(a, "/teams/{team}/retention-policy", "get-team-retention-policy", "The policy that a team's repositories of images inherit", a.getTeamRetentionPolicy)
	put(a, "/teams/{team}/retention-policy", "set-team-retention-policy", "Set the policy that a team's repositories of images inherit", a.setTeamRetentionPolicy)
	get(a, "/retention-preview", "preview-retention", "What a clean-up of a repository would do now", a.previewRetention,
		about("Every tag, and every manifest without one, with the rule or the reference that keeps it, or that it would go. It changes nothing."))
	get(a, "/retention-runs", "list-retention-runs", "Clean-ups of a repository of images, newest first", a.listRetentionRuns)
	post(a, "/retention-runs", "start-retention-run", "Clean a repository of images up now", a.startRetentionRun, status(http.StatusAccepted), repeatable,
		about("Only what the preview named goes, and of it only what nothing keeps by then. Where the plan has changed since, 409 is answered and nothing is done."))
	get(a, "/retention-runs/{id}", "get-retention-run", "A clean-up", a.getRetentionRun)
	get(a, "/retention-runs/{id}/items", "list-retention-items", "What a clean-up named, and what became of it", a.listRetentionItems)
}

func (a *API) getRetentionPolicy(ctx context.Context, in *RepositoryIn) (*answer[RetentionPolicy], error) {
	p, err := a.Retention.Policy(ctx, in.Repository)
	return replyWith(p, policyOf, err)
}

func (a *API) setRetentionPolicy(ctx context.Context, in *struct {
	RepositoryIn
	Body retention.PolicyInput
}) (*answer[RetentionPolicy], error) {
	p, err := a.Retention.SetPolicy(ctx, in.Repository, in.Body)
	return replyWith(p, policyOf, err)
}

func (a *API) dropRetentionPolicy(ctx context.Context, in *RepositoryIn) error {
	return a.Retention.DropPolicy(ctx, in.Repository)
}

func (a *API) getTeamRetentionPolicy(ctx context.Context, in *TeamIn) (*answer[RetentionPolicy], error) {
	p, err := a.Retention.TeamPolicy(ctx, in.Team)
	return replyWith(p, policyOf, err)
}

func (a *API) setTeamRetentionPolicy(ctx context.Context, in *struct {
	TeamIn
	Body retention.PolicyInput
}) (*answer[RetentionPolicy], error) {
	p, err := a.Retention.SetTeamPolicy(ctx, in.Team, in.Body)
	return replyWith(p, policyOf, err)
}

func (a *API) previewRetention(ctx context.Context, in *struct {
	RepositoryIn
	PageIn
	Only string `query:"only" enum:"goes,stays" doc:"Only what goes, or what stays."`
}) (*answer[RetentionPreview], error) {
	p, err := a.Retention.Preview(ctx, in.Repository, retention.PreviewFilter{Page: in.page(), Only: in.Only})
	return replyWith(p, previewOf, err)
}

func (a *API) listRetentionRuns(ctx context.Context, in *struct {
	RepositoryIn
	PageIn
}) (*answer[List[RetentionRun]], error) {
	l, err := a.Retention.Runs(ctx, in.Repository, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, retentionRunOf), nil
}

// StartRetentionRun is what a clean-up is started with.
type StartRetentionRun struct {
	Repository string `json:"repository" maxLength:"300" doc:"Such as payments/checkout."`
	Plan       string `json:"plan" maxLength:"100" doc:"As the preview answered it."`
}

func (a *API) startRetentionRun(ctx context.Context, in *struct{ Body StartRetentionRun }) (*answer[RetentionRun], error) {
	r, err := a.Retention.Start(ctx, in.Body.Repository, in.Body.Plan)
	return replyWith(r, retentionRunOf, err)
}

func (a *API) getRetentionRun(ctx context.Context, in *IDIn) (*answer[RetentionRun], error) {
	r, err := a.Retention.Run(ctx, in.ID)
	return replyWith(r, retentionRunOf, err)
}

func (a *API) listRetentionItems(ctx context.Context, in *struct {
	IDIn
	PageIn
}) (*answer[List[RetentionItem]], error) {
	l, err := a.Retention.Items(ctx, in.ID, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, func(i *models.RetentionItem) RetentionItem {
		return RetentionItem{i.Digest, append([]string{}, i.Tags...), i.Outcome, i.Reason}
	}), nil
}

func policyOf(p *models.EffectivePolicy) RetentionPolicy {
	out := RetentionPolicy{Repository: p.Repository, Set: p.Set, Inherited: p.Inherited, Enabled: p.Enabled, Rules: append([]models.RetentionRule{}, p.Rules...),
		MinAgeDays: p.MinAgeDays, Rollbacks: p.Rollbacks, UpdatedBy: p.UpdatedByName}
	if p.Set {
		out.UpdatedAt = utc(&p.UpdatedAt)
	}
	return out
}

func previewOf(p *models.RetentionPreview) RetentionPreview {
	return RetentionPreview{Plan: p.Fingerprint, Manifests: p.Manifests, Goes: p.Goes, GoesTags: p.GoesTags, Bytes: p.Bytes, Next: p.Entries.Next,
		Items: sliceOf(p.Entries.Items, func(e *models.RetentionEntry) RetentionEntry {
			return RetentionEntry{e.Tag, e.Digest, e.PushedAt.UTC(), e.Size, e.Frees, e.Goes, e.Kind, e.Reason}
		})}
}

func retentionRunOf(r *models.RetentionRun) RetentionRun {
	return RetentionRun{r.ID, r.Repository, r.State, r.Planned, r.Deleted, r.Tags, r.Spared, r.Bytes, r.Error, r.StartedByName, r.CreatedAt.UTC(), utc(r.FinishedAt)}
}
