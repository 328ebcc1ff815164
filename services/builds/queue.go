package builds

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/logs"
)

const (
	// freshWithin is how long a click on Build waits for the repository to be looked at anew. A forge that is only slow,
	// or a server that is busy, must not lead to a build of an older commit.
	freshWithin    = 15 * time.Second
	defaultTimeout = 30 * 60 // seconds
)

// QueueInput says what to build: a branch, a tag or a commit of the app's
// repository; an empty Ref is the default branch.
type QueueInput struct {
	AppID   string
	Ref     string
	NoCache bool
	Trigger models.BuildTrigger // empty: manual
	// Within, where set, takes part in the transaction that queues the build, which knows its commit by then. An
	// error of it queues nothing and is returned.
	Within func(tx *gorm.DB, b *models.Build) error
}

// Queue queues a build of the app at the commit that the ref names now; the
// team's developers may. It returns the build with its app.
func (s *Service) Queue(ctx context.Context, in QueueInput) (*models.Build, error) {
	app, err := s.app(ctx, in.AppID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	at, err := s.resolve(ctx, app.Repository, in.Ref)
	if err != nil {
		return nil, err
	}
	b := newBuild(ctx, app)
	if in.Trigger != "" {
		b.Trigger = in.Trigger
	}
	b.Ref, b.RefKind, b.NoCache = at.Ref, string(at.Kind), in.NoCache
	b.Commit, b.CommitSubject, b.CommitAuthor = at.Commit.ID, at.Commit.Subject, at.Commit.Author
	return b, s.insert(ctx, b, app, "build.queue", in.Within)
}

// Retry queues a build of the same commit as an ended one, with the app's
// settings as they are now; the team's developers may.
func (s *Service) Retry(ctx context.Context, id string) (*models.Build, error) {
	old, err := s.build(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if !old.State.Ended() {
		return nil, models.Errorf(models.Conflict, "Build %s is still %s. Cancel it first, or wait for its end.", old.Title(), old.State)
	}
	app, err := s.app(ctx, old.AppID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	b := newBuild(ctx, app)
	b.Ref, b.RefKind, b.NoCache, b.RetryOf = old.Ref, old.RefKind, old.NoCache, &old.ID
	b.PullRequest, b.Untrusted = old.PullRequest, old.Untrusted
	if old.Untrusted && old.ApprovedAt == nil {
		b.State = models.BuildWaiting // what nobody has approved is not built by a detour
	}
	b.ApprovedBy, b.ApprovedByName, b.ApprovedAt = old.ApprovedBy, old.ApprovedByName, old.ApprovedAt
	b.Commit, b.CommitSubject, b.CommitAuthor = old.Commit, old.CommitSubject, old.CommitAuthor
	return b, s.insert(ctx, b, app, "build.retry", nil)
}

func newBuild(ctx context.Context, app *models.App) *models.Build {
	b := &models.Build{
		ID: models.NewID(), TeamID: app.TeamID, AppID: app.ID, App: app, State: models.BuildQueued, Trigger: models.TriggerManual,
		Builder: app.Builder, Dockerfile: app.Dockerfile, Context: app.Context, Settings: app.BuildSettings, TimeoutSeconds: app.BuildTimeout,
	}
	if b.TimeoutSeconds <= 0 {
		b.TimeoutSeconds = defaultTimeout
	}
	if p := models.PrincipalFrom(ctx); p != nil {
		b.CreatedBy, b.CreatedByName = p.UserID, p.Name
	}
	return b
}

// insert commits the build with its number, log, audit entry, event and job, and with what the caller adds.
func (s *Service) insert(ctx context.Context, b *models.Build, app *models.App, action string, within func(tx *gorm.DB, b *models.Build) error) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if within != nil {
			if err := within(tx, b); err != nil {
				return err
			}
		}
		if err := s.insertIn(ctx, tx, b, app, action); err != nil {
			return fmt.Errorf("queueing a build of %s: %w", app.Name, models.FromDB(err, "build"))
		}
		return nil
	})
}

// insertIn gives the build its number and writes it with its log, audit entry, event and, unless it waits for
// approval, its job. Of two builds of one app the one that came later waits here for the other's transaction.
func (s *Service) insertIn(ctx context.Context, tx *gorm.DB, b *models.Build, app *models.App, action string) error {
	return s.insertWith(ctx, tx, b, app, action, func() error {
		if r, ok := s.remote(b.Builder); ok {
			return r.Prepare(ctx, tx, b)
		}
		return nil
	})
}

// insertWith is insertIn with what is written once the build's row is there.
func (s *Service) insertWith(ctx context.Context, tx *gorm.DB, b *models.Build, app *models.App, action string, after func() error) (err error) {
	b.QueuedAt = s.DB.NowFunc()
	b.CreatedAt = b.QueuedAt
	if b.Number, err = nextNumber(tx, app.ID); err != nil {
		return err
	}
	if err := tx.Omit("App", "Steps", "WorkflowRun").Create(b).Error; err != nil {
		return err
	}
	if err := after(); err != nil {
		return err
	}
	if err := logs.Create(tx, b.ID, logs.KindBuild); err != nil {
		return err
	}
	if err := s.record(ctx, tx, b, app, action); err != nil {
		return err
	}
	if b.State == models.BuildWaiting {
		return nil
	}
	return s.enqueue(ctx, tx, b)
}

func nextNumber(tx *gorm.DB, appID string) (n int64, err error) {
	r := tx.Model(&models.App{}).Where("id = ?", appID).UpdateColumn("build_count", gorm.Expr("build_count + 1"))
	if r.Error != nil {
		return 0, r.Error
	}
	if r.RowsAffected == 0 {
		return 0, models.Errorf(models.NotFound, "No such app.")
	}
	err = tx.Model(&models.App{}).Where("id = ?", appID).Pluck("build_count", &n).Error
	return n, err
}

// resolve finds the commit that the ref names. It looks at the remote first,
// for a while; where that fails, what was last seen of it counts.
func (s *Service) resolve(ctx context.Context, repo *models.Repository, ref string) (*git.Resolved, error) {
	if git.ValidCommit(ref) && s.Git.HasCommit(ctx, repo.ID, ref) {
		return s.Git.Resolve(ctx, repo.ID, ref)
	}
	unread := s.fetch(ctx, repo, freshWithin)
	at, err := s.Git.Resolve(ctx, repo.ID, ref)
	if err == nil || unread == nil {
		return at, err
	}
	if at, err := s.lastSeen(ctx, repo, ref); err == nil {
		return at, nil
	}
	return nil, unread
}

func (s *Service) fetch(ctx context.Context, repo *models.Repository, within time.Duration) error {
	remote, err := s.Remote(ctx, repo)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, err = s.Git.Fetch(ctx, repo.ID, remote)
	return err
}

// lastSeen finds the ref among those that the last fetch of any process wrote down.
func (s *Service) lastSeen(ctx context.Context, repo *models.Repository, ref string) (*git.Resolved, error) {
	if ref == "" {
		ref = repo.DefaultBranch
	}
	var row models.Ref
	err := s.DB.WithContext(ctx).Where("repository_id = ? AND name = ?", repo.ID, ref).Order("kind").Take(&row).Error
	if err != nil {
		return nil, models.FromDB(err, "branch or tag")
	}
	return &git.Resolved{Ref: row.Name, Kind: row.Kind, Commit: git.Commit{ID: row.Commit, Subject: row.Subject, Author: row.Author, Time: row.CommittedAt}}, nil
}

// app returns the app with its team and repository, where the principal has the role.
func (s *Service) app(ctx context.Context, id string, role models.Role) (*models.App, error) {
	var app models.App
	if err := s.DB.WithContext(ctx).Preload("Team").Preload("Repository").Where("id = ?", id).Take(&app).Error; err != nil {
		return nil, models.FromDB(err, "app")
	}
	return &app, models.Authorize(ctx, app.TeamID, role, "app")
}
