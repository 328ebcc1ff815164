// Package actions is the builder that lets GitHub Actions build: it starts the
// app's workflow, follows the run, its jobs and their logs into the build, and
// takes over the digest that the run reports.
//
// Which run carries a build is a row (models.WorkflowRun). It says that GitHub
// was asked before it is asked, so that a build has one run, however many
// workers follow it one after the other.
package actions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

const (
	defaultEvery = 5 * time.Second
	defaultGrace = 2 * time.Minute
	lookEvery    = 500 * time.Millisecond // at the row, where webhooks and reports leave word
	callWithin   = 30 * time.Second
	maxLog       = 64 << 20 // bytes of one job's log
	maxJobs      = 100
)

// Builder follows runs. It is safe for concurrent use.
type Builder struct {
	DB *models.Database
	// GitHub returns a client of the repository's connection, or an error of the
	// code Conflict where it has none: such runs are known by their report alone.
	GitHub func(ctx context.Context, r *models.Repository) (*github.Client, error)
	Logs   *http.Client  // reads logs where GitHub keeps them; carries no credential
	Every  time.Duration // between two looks at a run; 5 s where zero
	Grace  time.Duration // how long GitHub may take to show a run it was asked for, and a run that ended to have reported; 2 min where zero
}

var _ builds.Remote = (*Builder)(nil)

func (b *Builder) every() time.Duration {
	if b.Every > 0 {
		return b.Every
	}
	return defaultEvery
}

func (b *Builder) grace() time.Duration {
	if b.Grace > 0 {
		return b.Grace
	}
	return defaultGrace
}

// Capabilities says what GitHub's machines can do: they have a current BuildKit.
func (b *Builder) Capabilities(context.Context) (builds.Capabilities, error) {
	return builds.Capabilities{Engine: "GitHub Actions", Heredoc: true, SourceErrors: true, MultiPlatform: true, RegistryCache: true, Provenance: true}, nil
}

// Prepare remembers, as part of tx, that the build will have a run. It fails
// with Conflict where the app has no workflow, or Slipway no way to start it.
func (b *Builder) Prepare(ctx context.Context, tx *gorm.DB, build *models.Build) error {
	var w models.Workflow
	err := tx.Where("app_id = ?", build.AppID).Take(&w).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return models.Errorf(models.Conflict, "%s is built by GitHub Actions, and nobody has said by which workflow. Set it up under Actions on the app's page.", build.App.Name)
	}
	if err != nil {
		return fmt.Errorf("reading a workflow: %w", err)
	}
	if build.App.Repository == nil || build.App.Repository.ConnectionID == nil {
		return models.Errorf(models.Conflict, "Slipway can't start the workflow of %s: its repository has no connection with GitHub. Choose one in the repository's settings, or start the workflow at GitHub; its builds appear here.", build.App.Name)
	}
	return tx.Create(&models.WorkflowRun{BuildID: build.ID, AppID: build.AppID, Repository: w.Repository, GitHubID: w.GitHubID, Path: w.Path, RunAttempt: 1, CreatedAt: tx.NowFunc()}).Error
}

// Stop cancels the build's run. Canceling one that has ended is no error.
func (b *Builder) Stop(ctx context.Context, buildID string) error {
	f, err := b.open(ctx, buildID, func(builds.Event) {})
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil // deleted with its app
	}
	if err != nil {
		return err
	}
	if f.row.RunID == 0 && f.row.DispatchedAt != nil && time.Since(*f.row.DispatchedAt) < b.grace() {
		if err := f.look(ctx); err != nil {
			return err
		}
		if f.row.RunID == 0 {
			return errors.New("GitHub does not show the run yet that is to be canceled")
		}
	}
	if f.row.RunID == 0 || f.client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	res, err := f.client.Actions.CancelWorkflowRunByID(ctx, f.owner, f.name, f.row.RunID)
	var accepted *github.AcceptedError
	if err == nil || errors.As(err, &accepted) {
		return nil
	}
	if res != nil && (res.StatusCode == http.StatusConflict || res.StatusCode == http.StatusNotFound) {
		return nil // over, or gone
	}
	return fmt.Errorf("canceling run %d of %s: %w", f.row.RunID, f.row.Repository, err)
}

// Build starts the build's run, or finds the one that was started, and follows it to its end.
func (b *Builder) Build(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
	f, err := b.open(ctx, r.BuildID, emit)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if f.client == nil && f.row.RunID == 0 && f.row.ReportedAt == nil {
		return nil, builds.Failure(builds.ClassInfrastructure, "Slipway can't start the workflow: the repository's connection with GitHub is gone, or has no credential. Give it one, then retry the build.", nil)
	}
	if f.client == nil {
		return f.await(ctx)
	}
	if err := f.start(ctx); err != nil {
		return nil, err
	}
	if err := f.find(ctx); err != nil {
		return nil, err
	}
	return f.follow(ctx)
}

// following is one worker's look at a run.
type following struct {
	*Builder
	emit  func(builds.Event)
	build models.Build
	row   models.WorkflowRun

	client      *github.Client // nil: there is no connection
	owner, name string

	run   cached[github.WorkflowRun]
	jobs  cached[github.Jobs]
	steps map[string]models.StepState // as they were emitted last
	names map[string]string
	tries map[int64]int // downloads of a job's log
}

func (b *Builder) open(ctx context.Context, buildID string, emit func(builds.Event)) (*following, error) {
	f := &following{Builder: b, emit: emit, steps: map[string]models.StepState{}, names: map[string]string{}, tries: map[int64]int{}}
	db := b.DB.WithContext(ctx)
	if err := db.Preload("App.Repository").Where("id = ?", buildID).Take(&f.build).Error; err != nil {
		return nil, fmt.Errorf("reading the build: %w", err)
	}
	if err := db.Where("build_id = ?", buildID).Take(&f.row).Error; err != nil {
		return nil, fmt.Errorf("reading the build's run: %w", err)
	}
	f.owner, f.name, _ = strings.Cut(f.row.Repository, "/")
	client, err := b.GitHub(ctx, f.build.App.Repository)
	if told, ok := errors.AsType[*models.Error](err); ok && told.Code != models.Conflict {
		return nil, builds.Failure(builds.ClassInfrastructure, told.Message, err)
	} else if !ok && err != nil {
		return nil, err
	}
	if err == nil {
		f.client = client
	}
	return f, nil
}

// reload reads what others wrote of the run: its id, a report, a word that something changed.
func (f *following) reload(ctx context.Context) error {
	var row models.WorkflowRun
	if err := f.DB.WithContext(ctx).Where("build_id = ?", f.row.BuildID).Take(&row).Error; err != nil {
		return fmt.Errorf("reading the build's run: %w", err)
	}
	f.row = row
	return nil
}

// change emits what a step is now, unless it was that already.
func (f *following) change(id, name, stage string, state models.StepState, at time.Time, failure string) {
	if f.steps[id] == state {
		return
	}
	if at.IsZero() {
		at = time.Now()
	}
	f.steps[id], f.names[id] = state, name
	f.emit(builds.Event{At: at, Step: id, Name: name, Stage: stage, State: state, Error: failure})
}

// say prints a line of Slipway's own under the step.
func (f *following) say(step, format string, args ...any) {
	f.emit(builds.Event{At: time.Now(), Step: step, Stream: "", Output: []byte(fmt.Sprintf(format, args...) + "\n")})
}

// close ends the steps that are open when this worker stops to look.
func (f *following) close() {
	for id, state := range f.steps {
		if state == models.StepRunning || state == models.StepPending {
			f.change(id, f.names[id], "", models.StepCanceled, time.Now(), "")
		}
	}
}
