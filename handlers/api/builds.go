package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// Build is one run that turns an app at a commit into an image.
type Build struct {
	ID            string               `json:"id"`
	Number        int64                `json:"number" doc:"Counts per app."`
	AppID         string               `json:"app_id"`
	App           string               `json:"app" doc:"The app's name."`
	Team          string               `json:"team" doc:"The owner's slug."`
	State         models.BuildState    `json:"state" enum:"waiting,queued,running,succeeded,failed,canceled" doc:"waiting: for somebody to approve its commit."`
	WaitingFor    string               `json:"waiting_for,omitempty" doc:"Why it waits, behind what, and what would end it."`
	WaitingBehind []BuildName          `json:"waiting_behind,omitempty" doc:"The builds that waiting_for names."`
	Ref           string               `json:"ref" doc:"As asked: a branch, a tag or a commit; of a pull request, the ref of its head."`
	RefKind       string               `json:"ref_kind" enum:"branch,tag,commit,pull_request"`
	Commit        string               `json:"commit"`
	CommitSubject string               `json:"commit_subject"`
	CommitAuthor  string               `json:"commit_author"`
	Builder       models.BuilderKind   `json:"builder" enum:"buildkit,github-actions" doc:"What runs it."`
	Run           *Run                 `json:"run,omitempty" doc:"The run in GitHub Actions that carries it; absent in lists."`
	Dockerfile    string               `json:"dockerfile"`
	Context       string               `json:"context"`
	Settings      models.BuildSettings `json:"settings" doc:"The app's build settings when it was queued."`
	Engine        string               `json:"engine,omitempty" doc:"What it runs or ran on."`
	NoCache       bool                 `json:"no_cache"`
	RetryOf       *string              `json:"retry_of,omitempty" doc:"The build that this one repeats."`
	Trigger       models.BuildTrigger  `json:"trigger" enum:"manual,push,pull_request,schedule,forge" doc:"What asked for it."`
	CreatedBy     string               `json:"created_by" doc:"A name, for people; of who pushed, where a webhook asked for it."`
	PullRequest   *PullRequest         `json:"pull_request,omitempty" doc:"The pull or merge request that it is of."`
	Untrusted     bool                 `json:"untrusted" doc:"Code of strangers: it gets no secret and moves no tag of a branch."`
	ApprovedBy    string               `json:"approved_by,omitempty" doc:"A name, for people."`
	ApprovedAt    *time.Time           `json:"approved_at,omitempty"`
	DeliveryID    string               `json:"delivery_id,omitempty" doc:"The webhook that asked for it."`
	Image         *BuiltImage          `json:"image" doc:"Null before it is pushed."`
	Steps         []BuildStep          `json:"steps" nullable:"false" doc:"Empty in lists."`
	Timings       Timings              `json:"timings"`
	Error         *models.BuildError   `json:"error" doc:"Why it failed, with evidence."`
	Warnings      []string             `json:"warnings,omitempty"`
	ForgeStatus   *ForgeStatus         `json:"forge_status,omitempty" doc:"What the forge was told of it; absent in lists, and where no forge is told."`
	CreatedAt     time.Time            `json:"created_at"`
}

// Run is a run in GitHub Actions.
type Run struct {
	Repository string `json:"repository"`
	ID         int64  `json:"id" doc:"0 until GitHub has said which it is."`
	Attempt    int64  `json:"attempt"`
	URL        string `json:"url"`

	VerifiedAt   *time.Time `json:"verified_at" doc:"When the digest that the run reported was found in a connected registry; null: it is as the run says."`
	Verification string     `json:"verification,omitempty" doc:"Why the digest could not be verified."`
}

// ForgeStatus is what a forge was told of a build, as a commit status.
type ForgeStatus struct {
	Forge  string     `json:"forge" example:"GitHub"`
	Want   string     `json:"want" doc:"What it is to be told, in its own word." example:"success"`
	Sent   string     `json:"sent" doc:"What it was told last of this build; empty: nothing yet."`
	SentAt *time.Time `json:"sent_at"`
	NextAt *time.Time `json:"next_at" doc:"When it is tried next; null where it knows, or was given up."`
	Error  string     `json:"error,omitempty" doc:"Why it could not be told, and what to do."`
}

// BuiltImage is what a build pushed.
type BuiltImage struct {
	Repository string   `json:"repository" example:"localhost:8080/payments/checkout"`
	Digest     string   `json:"digest"`
	Tags       []string `json:"tags" nullable:"false"`
	Size       int64    `json:"size" doc:"Compressed bytes."`
}

// PullRequest is what a build knows about its pull or merge request.
type PullRequest struct {
	Number int64  `json:"number"`
	Title  string `json:"title"`
	URL    string `json:"url,omitempty"`
	Source string `json:"source" doc:"The branch that it comes from."`
	Fork   bool   `json:"fork" doc:"That branch is in another repository."`
}

// ApproveBuild says which commit was looked at.
type ApproveBuild struct {
	Commit string `json:"commit,omitempty" maxLength:"64" doc:"Of the build that was looked at: where it is another one, nothing is approved."`
}

// BuildName is a build as people call it.
type BuildName struct {
	ID   string `json:"id"`
	Name string `json:"name" example:"checkout #12"`
}

// BuildStep is one step of a build's timeline.
type BuildStep struct {
	ID         string           `json:"id"`
	Name       string           `json:"name"`
	Stage      string           `json:"stage,omitempty" doc:"The Dockerfile stage."`
	State      models.StepState `json:"state" enum:"pending,running,succeeded,cached,failed,canceled"`
	Cached     bool             `json:"cached"`
	Line       int              `json:"line,omitempty" doc:"In the Dockerfile."`
	StartedAt  *time.Time       `json:"started_at"`
	FinishedAt *time.Time       `json:"finished_at"`
	Duration   float64          `json:"duration" doc:"Seconds."`
	Error      string           `json:"error,omitempty"`
	Inputs     []string         `json:"inputs,omitempty" doc:"The ids of the steps that it waits for."`
}

// Timings say how long something waited and took.
type Timings struct {
	QueuedAt   time.Time  `json:"queued_at"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	Waited     float64    `json:"waited" doc:"Seconds until it started; so far, where it waits."`
	Duration   float64    `json:"duration" doc:"Seconds from start to end; so far, where it runs."`
}

// NewBuild says what to build.
type NewBuild struct {
	Ref     string `json:"ref,omitempty" maxLength:"300" doc:"A branch, a tag or a commit; the default branch where empty."`
	NoCache bool   `json:"no_cache,omitempty" doc:"Build every step anew."`
}

// BuildsQuery narrows lists of builds.
type BuildsQuery struct {
	PageIn
	State models.BuildState `query:"state" enum:"waiting,queued,running,succeeded,failed,canceled"`
	Ref   string            `query:"ref" maxLength:"300"`
}

func (a *API) builds() {
	get(a, "/builds", "list-builds", "Builds of your teams", a.listBuilds)
	get(a, "/apps/{id}/builds", "list-app-builds", "Builds of an app", a.listAppBuilds)
	post(a, "/apps/{id}/builds", "queue-build", "Build an app", a.queueBuild, status(http.StatusAccepted), repeatable)
	get(a, "/builds/{id}", "get-build", "A build with its steps", a.getBuild)
	post(a, "/builds/{id}/cancel", "cancel-build", "Cancel a build", a.cancelBuild, status(http.StatusAccepted), repeatable)
	post(a, "/builds/{id}/retry", "retry-build", "Build the same commit again", a.retryBuild, status(http.StatusAccepted), repeatable)
	post(a, "/builds/{id}/approve", "approve-build", "Let a build of a fork's pull request run", a.approveBuild, status(http.StatusAccepted), repeatable,
		about("For the commit of this build alone: a newer push to the pull request makes a build that waits again."))
	get(a, "/builds/{id}/logs", "get-build-logs", "A build's log", a.buildLogs, logAnswer)
	get(a, "/builds/{id}/logs/search", "search-build-log", "Search a build's log", a.searchBuildLog)
	get(a, "/builds/{id}/dockerfile", "get-build-dockerfile", "The Dockerfile that a build used, and what its checks say", a.buildDockerfile)
	get(a, "/builds/{id}/changes", "get-build-changes", "What changed since the last good build", a.buildChanges)
}

func (a *API) listBuilds(ctx context.Context, in *struct {
	BuildsQuery
	Team         string `query:"team" maxLength:"100" doc:"Slug of a team."`
	AppID        string `query:"app_id" maxLength:"100"`
	RepositoryID string `query:"repository_id" maxLength:"100"`
}) (*answer[List[Build]], error) {
	return a.findBuilds(ctx, builds.Filter{Page: in.page(), Team: in.Team, AppID: in.AppID, RepositoryID: in.RepositoryID, State: in.State, Ref: in.Ref})
}

func (a *API) listAppBuilds(ctx context.Context, in *struct {
	IDIn
	BuildsQuery
}) (*answer[List[Build]], error) {
	if _, err := a.Catalog.App(ctx, in.ID); err != nil {
		return nil, err
	}
	return a.findBuilds(ctx, builds.Filter{Page: in.page(), AppID: in.ID, State: in.State, Ref: in.Ref})
}

func (a *API) findBuilds(ctx context.Context, f builds.Filter) (*answer[List[Build]], error) {
	l, err := a.Builds.List(ctx, f)
	if err != nil {
		return nil, err
	}
	return listOf(l, buildOf), nil
}

func (a *API) queueBuild(ctx context.Context, in *struct {
	IDIn
	Body NewBuild
}) (*answer[Build], error) {
	b, err := a.Builds.Queue(ctx, builds.QueueInput{AppID: in.ID, Ref: in.Body.Ref, NoCache: in.Body.NoCache})
	return replyWith(b, buildOf, err)
}

func (a *API) getBuild(ctx context.Context, in *IDIn) (*answer[Build], error) {
	b, err := a.Builds.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := buildOf(b)
	why, err := a.Builds.WhyWaiting(ctx, b)
	if err != nil {
		return nil, err
	}
	out.WaitingFor, out.WaitingBehind = why.String(), behind(why)
	told, ok, err := a.Forges.Report(ctx, b)
	if err != nil {
		return nil, err
	}
	if ok {
		out.ForgeStatus = &ForgeStatus{told.Forge, told.Word, told.Sent, utc(told.SentAt), utc(told.NextAt), told.Error}
	}
	return reply(out), nil
}

func (a *API) cancelBuild(ctx context.Context, in *IDIn) (*answer[Build], error) {
	b, err := a.Builds.Cancel(ctx, in.ID)
	return replyWith(b, buildOf, err)
}

func (a *API) retryBuild(ctx context.Context, in *IDIn) (*answer[Build], error) {
	b, err := a.Builds.Retry(ctx, in.ID)
	return replyWith(b, buildOf, err)
}

func (a *API) approveBuild(ctx context.Context, in *struct {
	IDIn
	Body *ApproveBuild
}) (*answer[Build], error) {
	commit := ""
	if in.Body != nil {
		commit = in.Body.Commit
	}
	b, err := a.Builds.Approve(ctx, in.ID, commit)
	return replyWith(b, buildOf, err)
}

func buildOf(b *models.Build) Build {
	out := Build{
		ID: b.ID, Number: b.Number, AppID: b.AppID, State: b.State, Ref: b.Ref, RefKind: b.RefKind, Commit: b.Commit,
		CommitSubject: b.CommitSubject, CommitAuthor: b.CommitAuthor, Builder: b.Builder, Dockerfile: b.Dockerfile, Context: b.Context, NoCache: b.NoCache,
		Settings: b.Settings, Engine: b.EngineName,
		RetryOf: b.RetryOf, Trigger: b.Trigger, CreatedBy: b.CreatedByName, Steps: sliceOf(b.Steps, stepOf), Timings: timingsOf(b.QueuedAt, b.StartedAt, b.FinishedAt),
		Error: b.Error, Warnings: b.Warnings, CreatedAt: b.CreatedAt.UTC(),
		Untrusted: b.Untrusted, ApprovedBy: b.ApprovedByName, ApprovedAt: utc(b.ApprovedAt), DeliveryID: b.DeliveryID,
	}
	if pr := b.PullRequest; pr.Number != 0 {
		out.PullRequest = &PullRequest{pr.Number, pr.Title, pr.URL, pr.Source, pr.Fork}
	}
	if b.App != nil {
		out.App, out.Team = b.App.Name, slugOf(b.App.Team)
	}
	if r := b.WorkflowRun; r != nil {
		out.Run = &Run{r.Repository, r.RunID, r.RunAttempt, r.URL, utc(r.VerifiedAt), r.Verification}
	}
	if b.ImageDigest != "" {
		out.Image = &BuiltImage{b.ImageRepository, b.ImageDigest, append([]string{}, b.ImageTags...), b.ImageSize}
	}
	return out
}

func behind(w models.Wait) []BuildName {
	named := w.Builds()
	return sliceOf(named, func(p *models.WaitPart) BuildName { return BuildName{p.BuildID, p.Text} })
}

func stepOf(s *models.BuildStep) BuildStep {
	return BuildStep{s.ID, s.Name, s.Stage, s.State, s.Cached, s.Line, utc(s.StartedAt), utc(s.FinishedAt), float64(s.DurationMS) / 1000, s.Error, s.Inputs}
}

func timingsOf(queued time.Time, started, finished *time.Time) Timings {
	t := Timings{QueuedAt: queued.UTC(), StartedAt: utc(started), FinishedAt: utc(finished)}
	end := time.Now()
	if finished != nil {
		end = *finished
	}
	if started == nil {
		t.Waited = seconds(end.Sub(queued))
		return t
	}
	t.Waited, t.Duration = seconds(started.Sub(queued)), seconds(end.Sub(*started))
	return t
}

// seconds keeps milliseconds.
func seconds(d time.Duration) float64 { return float64(max(d, 0).Milliseconds()) / 1000 }
