package builds

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registries"
)

// Remote is a Builder whose builds run on machines of somebody else, such as a
// forge's. It knows the source by the build's id, so its requests have no files
// (Dir and Scratch are empty), and it may push somewhere else than the request
// says.
//
// What it began goes on when ctx ends: the process that followed it may only
// be stopping. Build called again for the same build follows what is there and
// begins nothing twice; Stop ends it.
type Remote interface {
	Builder
	// Prepare writes, as part of the transaction that queues the build, what the
	// kind has to remember of it. It fails with an error for people where the app
	// lacks what every build of it needs.
	Prepare(ctx context.Context, tx *gorm.DB, b *models.Build) error
	// Stop ends what runs for the build. It is no error where nothing does; any
	// error has it called again later.
	Stop(ctx context.Context, buildID string) error
}

// maxFollows is how many workers may begin to follow one build that runs elsewhere.
const maxFollows = 20

// ErrTimeout is the cause with which the context of a build ends whose time is over.
var ErrTimeout = errors.New("the build's time is over")

func (s *Service) remote(kind models.BuilderKind) (Remote, bool) {
	r, ok := s.Builders[kind].(Remote)
	return r, ok
}

// remotes are the kinds of builders whose builds run elsewhere.
func (s *Service) remotes() []models.BuilderKind {
	kinds := []models.BuilderKind{""} // a list that is never empty, for SQL
	for kind, b := range s.Builders {
		if _, ok := b.(Remote); ok {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// enqueue adds, in tx, the job of a build: a turn, or the job that follows it
// where it runs elsewhere.
func (s *Service) enqueue(ctx context.Context, tx *gorm.DB, b *models.Build) error {
	if _, ok := s.remote(b.Builder); ok {
		return s.Jobs.Insert(ctx, tx, jobs.QueueFollows, FollowArgs{b.ID})
	}
	return s.Jobs.Insert(ctx, tx, jobs.QueueBuilds, Args{b.ID})
}

// FollowArgs is the job that follows a build elsewhere. That takes no place
// from the builds on this machine, so no turn is waited for.
type FollowArgs struct {
	BuildID string `json:"build_id"`
}

// Kind names the job.
func (FollowArgs) Kind() string { return "build-follow" }

// Follow carries a build that runs elsewhere to its end, as long as nobody else does.
func (s *Service) Follow(ctx context.Context, args FollowArgs) error {
	var b *models.Build
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) (err error) {
		var open int64
		err = tx.Model(&models.Build{}).Where("id = ? AND state IN ?", args.BuildID, []models.BuildState{models.BuildQueued, models.BuildRunning}).Count(&open).Error
		if err != nil || open == 0 {
			return err
		}
		b, err = s.claim(ctx, tx, args.BuildID, busyPause)
		return err
	})
	if b != nil {
		defer s.carried.drop(b.ID)
	}
	if err != nil || b == nil || b.State.Ended() {
		return err
	}
	return s.carry(ctx, b)
}

// refollow adds the jobs that are missing for builds elsewhere that nobody carries.
func (s *Service) refollow(ctx context.Context) error {
	var open []string
	err := s.DB.WithContext(ctx).Model(&models.Build{}).Where("state IN ? AND builder IN ? AND queued_at < ?",
		[]models.BuildState{models.BuildQueued, models.BuildRunning}, s.remotes(), s.DB.NowFunc().Add(-time.Minute)).Limit(maxNewTurns).Pluck("id", &open).Error
	if err != nil {
		return err
	}
	return s.Jobs.Refill(ctx, jobs.QueueFollows, open, func(id string) jobs.Args { return FollowArgs{id} })
}

// StopArgs is the job that ends what still runs elsewhere for a build that is over.
type StopArgs struct {
	BuildID string `json:"build_id"`
}

// Kind names the job.
func (StopArgs) Kind() string { return "build-stop" }

// stopElsewhere has, in tx, what runs for the build elsewhere ended.
func (s *Service) stopElsewhere(ctx context.Context, tx *gorm.DB, b *models.Build) error {
	if _, ok := s.remote(b.Builder); !ok {
		return nil
	}
	return s.Jobs.Insert(ctx, tx, jobs.QueueDefault, StopArgs{b.ID})
}

// Stop ends what runs elsewhere for a build that is over.
func (s *Service) Stop(ctx context.Context, args StopArgs) error {
	var b models.Build
	err := s.DB.WithContext(ctx).Where("id = ?", args.BuildID).Take(&b).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil // deleted with its app
	}
	if err != nil {
		return fmt.Errorf("reading a build to stop: %w", err)
	}
	r, ok := s.remote(b.Builder)
	if !ok {
		return nil
	}
	return r.Stop(ctx, b.ID)
}

// timeLeft is how long the build may still run. One that runs elsewhere has
// one start, whoever follows it.
func (s *Service) timeLeft(b *models.Build) time.Duration {
	limit := time.Duration(b.TimeoutSeconds) * time.Second
	if _, ok := s.remote(b.Builder); ok {
		return max(limit-s.DB.NowFunc().Sub(*b.StartedAt), time.Second)
	}
	return limit
}

// RunInput is a run that began elsewhere by itself, and what it builds.
type RunInput struct {
	App           *models.App // with team and repository
	Builder       models.BuilderKind
	Ref           string
	RefKind       string // branch, tag or commit
	Commit        string
	CommitSubject string
	CommitAuthor  string
	Actor         string // who started it, for people
}

// Adopt makes a build of a run that began elsewhere, so that it is followed
// like any other. Write remembers the run in the same transaction; where it
// fails there is no build. Only Slipway itself and runs may adopt.
func (s *Service) Adopt(ctx context.Context, in RunInput, write func(tx *gorm.DB, b *models.Build) error) (*models.Build, error) {
	if p := models.PrincipalFrom(ctx); p == nil || p.Kind != models.PrincipalSystem && p.Kind != models.PrincipalWorkload {
		return nil, models.Errorf(models.Denied, "Only a run can say that it runs.")
	}
	b := newBuild(ctx, in.App)
	b.Builder, b.Trigger = in.Builder, models.TriggerForge
	b.Ref, b.RefKind, b.Commit, b.CommitSubject, b.CommitAuthor = in.Ref, in.RefKind, in.Commit, in.CommitSubject, in.CommitAuthor
	b.CreatedBy, b.CreatedByName = "", in.Actor
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		return s.insertWith(ctx, tx, b, in.App, "build.adopt", func() error { return write(tx, b) })
	})
	if err != nil {
		return nil, fmt.Errorf("following a run of %s: %w", in.App.Name, models.FromDB(err, "build"))
	}
	return b, nil
}

// place records the image of a build that ran elsewhere. In the portal's own
// registry the image gets the build's name too; in others it is looked for.
func (r *run) place(ctx context.Context, made *Result) error {
	b, to := r.build, r.embedded()
	b.ImageRepository, b.ImageDigest, b.ImageTags = made.Repository, made.Digest, made.Tags
	ctx, cancel := context.WithTimeout(ctx, registryWithin)
	defer cancel()
	if made.Repository != to.Repository {
		return r.step(StepPush, "Look for the image in "+made.Repository, func() error { return r.verify(ctx, made) })
	}
	return r.step(StepPush, "Look for the image in the registry", func() error {
		image, err := copyTags(ctx, to, made.Digest, []string{numberTag(b)})
		if err != nil {
			return to.Explain(err)
		}
		b.ImageTags, b.ImageSize = append(made.Tags, numberTag(b)), image.size
		r.log.Print(StepPush, "%s@%s", to.Repository, image.digest)
		return nil
	})
}

// verify looks for the digest that a run reported in a connected registry. What
// can't be looked for stays as the run said it, and the build says so.
func (r *run) verify(ctx context.Context, made *Result) error {
	b := r.build
	now, why := r.DB.NowFunc(), ""
	row := models.WorkflowRun{VerifiedAt: &now}
	if err := r.look(ctx, made); err != nil {
		told, ok := errors.AsType[*models.Error](err)
		if !ok {
			return err
		}
		row.VerifiedAt, why = nil, told.Message
	}
	row.Verification = why
	if why == "" {
		r.log.Print(StepPush, "Verified: %s@%s is there.", made.Repository, made.Digest)
	} else {
		r.log.Print(StepPush, "Not verified: %s", why)
	}
	return r.DB.WithContext(ctx).Model(&models.WorkflowRun{}).Where("build_id = ?", b.ID).Select("verified_at", "verification").Updates(row).Error
}

// look fails with a *models.Error where the image is not found.
func (r *run) look(ctx context.Context, made *Result) error {
	if r.Registries == nil {
		return models.Errorf(models.NotFound, "No registry is connected.")
	}
	at, err := r.Registries.OpenNamed(ctx, r.build.TeamID, made.Repository, registries.Pull)
	if err != nil {
		return err
	}
	if _, err := at.Find(ctx, made.Digest); err != nil {
		return err
	}
	if sized, err := weigh(ctx, at, made.Digest); err == nil { // its size is nice to know, and no more
		r.build.ImageSize = sized
	}
	return nil
}
