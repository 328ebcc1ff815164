package builds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
)

const (
	maxAttempts = 3
	// busyPause is when a job looks again whether the worker that holds its build still lives.
	busyPause = 5 * time.Second
	// lastWords bounds the writes that end a build's work after its context has ended.
	lastWords   = 15 * time.Second
	outputLines = 30 // of the failed step, kept with the build
)

// The ids of the steps that are Slipway's own.
const (
	StepCheckout = "checkout"
	StepPush     = "push"
)

// Work carries one build from wherever it stands to its end. A build that
// another living worker holds is looked at again later.
func (s *Service) Work(ctx context.Context, args Args) error {
	b, err := s.begin(ctx, args.BuildID)
	if err != nil || b == nil {
		return err
	}
	r, err := s.prepare(ctx, b)
	if err != nil {
		return err
	}
	work, done := s.Jobs.Watch(ctx, &models.Build{}, b.ID)
	defer done()
	work, cancel := context.WithTimeoutCause(work, s.timeLeft(b), ErrTimeout)
	defer cancel()
	return r.end(ctx, work, r.run(work))
}

// begin makes this worker the one that carries the build. It returns nil where there is nothing left to do.
func (s *Service) begin(ctx context.Context, id string) (*models.Build, error) {
	var b models.Build
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		err := tx.Preload("App.Team").Preload("App.Repository").Where("id = ?", id).Take(&b).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			b.State = models.BuildCanceled // deleted with its app
			return nil
		}
		if err != nil || b.State.Ended() {
			return err
		}
		ok, err := s.Jobs.Claim(ctx, tx, &models.Build{}, id)
		if err != nil {
			return err
		}
		if !ok {
			return jobs.Later(busyPause)
		}
		// Whoever canceled the build between the look at it and the claim was first.
		if err := tx.Model(&b).Select("state", "cancel_requested_at").Where("id = ?", id).Take(&b).Error; err != nil || b.State.Ended() {
			return err
		}
		return s.start(ctx, tx, &b)
	})
	if err != nil {
		return nil, err
	}
	if b.State.Ended() {
		return nil, nil
	}
	return &b, nil
}

// start moves a claimed build on: to running, or to its end where it must not run any more.
func (s *Service) start(ctx context.Context, tx *gorm.DB, b *models.Build) error {
	b.Attempt++
	now, most := s.DB.NowFunc(), maxAttempts
	_, elsewhere := s.remote(b.Builder)
	if elsewhere {
		most = maxFollows
	}
	switch {
	case b.CancelRequestedAt != nil:
		b.Error = &models.BuildError{Class: ClassCanceled, Message: "The build was canceled."}
		if err := s.stopElsewhere(ctx, tx, b); err != nil {
			return err
		}
		return s.endUnstarted(tx, b, models.BuildCanceled, now)
	case b.Attempt > most:
		b.Error = &models.BuildError{Class: ClassInfrastructure, Message: fmt.Sprintf(
			"Worker lost: the build was begun %d times, and each time its worker stopped before the end. Look at the workers' logs, then retry the build.", most)}
		return s.endUnstarted(tx, b, models.BuildFailed, now)
	}
	if b.State != models.BuildRunning {
		if err := b.Move(models.BuildRunning); err != nil {
			return err
		}
	}
	if b.StartedAt == nil || !elsewhere {
		b.StartedAt = &now
	}
	if err := tx.Where("build_id = ?", b.ID).Delete(&models.BuildStep{}).Error; err != nil {
		return err
	}
	if err := s.Jobs.Held(tx.Model(&models.Build{}), b.ID).Select("State", "StartedAt").Updates(b).Error; err != nil {
		return err
	}
	return s.publish(tx, b, "build.running")
}

func (s *Service) endUnstarted(tx *gorm.DB, b *models.Build, state models.BuildState, now time.Time) error {
	if err := b.Move(state); err != nil {
		return err
	}
	b.FinishedAt = &now
	if err := s.Jobs.Held(tx.Model(&models.Build{}), b.ID).Select("State", "FinishedAt", "Error").Updates(b).Error; err != nil {
		return err
	}
	if err := endSteps(tx, b.ID, now); err != nil {
		return err
	}
	if err := logs.End(tx, b.ID); err != nil {
		return err
	}
	return s.publish(tx, b, "build."+string(b.State))
}

// run is one attempt at a build by this worker.
type run struct {
	*Service
	build   *models.Build
	mask    *logs.Masker
	log     *logs.Writer
	rec     *recorder
	dir     string
	builder Builder
}

func (s *Service) prepare(ctx context.Context, b *models.Build) (*run, error) {
	r := &run{Service: s, build: b, mask: &logs.Masker{}, builder: s.Builders[b.Builder]}
	r.dir = filepath.Join(s.Dir, fmt.Sprintf("%s.%d", b.ID, b.Attempt))
	var err error
	if r.log, err = s.Logs.Open(ctx, b.ID, logs.KindBuild, r.mask); err != nil {
		return nil, err
	}
	if b.Attempt > 1 {
		r.log.Print("", "%s", takenOver(r.builder, b.Attempt))
	}
	r.rec = newRecorder(s, b, r.log, r.mask)
	return r, nil
}

func takenOver(builder Builder, attempt int) string {
	if _, elsewhere := builder.(Remote); elsewhere {
		return "The worker that followed this build is gone; another one goes on."
	}
	return fmt.Sprintf("The worker of this build is gone; another one starts it again (attempt %d of %d).", attempt, maxAttempts)
}

// run is the build as a sentence.
func (r *run) run(ctx context.Context) error {
	defer r.clear(ctx)
	if _, elsewhere := r.builder.(Remote); elsewhere {
		made, err := r.builder.Build(ctx, Request{BuildID: r.build.ID, Image: r.destination()}, r.rec.emit)
		if err != nil {
			return err
		}
		return r.place(ctx, made)
	}
	if err := r.checkOut(ctx); err != nil {
		return err
	}
	digest, err := r.make(ctx)
	if err != nil {
		return err
	}
	return r.tag(ctx, digest)
}

// clear removes what the build left on this machine's disk.
func (r *run) clear(ctx context.Context) {
	if err := os.RemoveAll(r.dir); err != nil {
		slog.WarnContext(ctx, "a build's folder could not be removed", "folder", r.dir, "error", err)
	}
}

// checkOut writes the files of the commit into the build's folder.
func (r *run) checkOut(ctx context.Context) error {
	b := r.build
	return r.step(StepCheckout, "Check out "+b.Ref+" at "+short(b.Commit), func() error {
		if err := os.MkdirAll(filepath.Join(r.dir, "scratch"), 0o700); err != nil {
			return onDisk("The worker can't make a folder for the build.", err)
		}
		remote, err := r.Remote(ctx, b.App.Repository)
		if err != nil {
			return told(err)
		}
		r.mask.Add(remote.Token, remote.PrivateKey)
		if err := r.fetchCommit(ctx, remote); err != nil {
			return told(err)
		}
		return told(r.Git.Checkout(ctx, b.App.RepositoryID, b.Commit, r.source()))
	})
}

// fetchCommit brings the build's commit into the mirror where it is not there yet. A pull request's is on no branch.
func (r *run) fetchCommit(ctx context.Context, remote git.Remote) error {
	b := r.build
	if r.Git.HasCommit(ctx, b.App.RepositoryID, b.Commit) {
		return nil
	}
	if b.RefKind == models.RefPullRequest {
		return r.Git.FetchRef(ctx, b.App.RepositoryID, remote, b.Ref)
	}
	_, err := r.Git.Fetch(ctx, b.App.RepositoryID, remote)
	return err
}

// cacheKey is whose cache mounts the build shares: strangers' code never writes what an app's own builds read.
func cacheKey(b *models.Build) string {
	if b.Untrusted {
		return b.AppID + "/untrusted"
	}
	return b.AppID
}

func (r *run) source() string { return filepath.Join(r.dir, "source") }

// make builds the image and pushes it; the builder names those steps.
func (r *run) make(ctx context.Context) (digest string, err error) {
	b := r.build
	if r.builder == nil {
		return "", Failure(ClassInfrastructure, fmt.Sprintf("This server has no builder %q. Choose another one in the app's settings.", b.Builder), nil)
	}
	made, err := r.builder.Build(ctx, Request{
		BuildID: b.ID, Dir: r.source(), Scratch: filepath.Join(r.dir, "scratch"), Context: b.Context, Dockerfile: b.Dockerfile,
		CacheKey: cacheKey(b), NoCache: b.NoCache, Labels: r.annotations(), Image: r.destination(),
	}, r.rec.emit)
	if err != nil {
		return "", err
	}
	return made.Digest, nil
}

// step runs a step of Slipway's own.
func (r *run) step(id, name string, work func() error) error {
	r.rec.emit(Event{At: time.Now(), Step: id, State: models.StepRunning, Name: name})
	err := work()
	ended := Event{At: time.Now(), Step: id, State: models.StepSucceeded, Name: name}
	if err != nil {
		ended.State, ended.Error = models.StepFailed, message(err)
		if failed, ok := errors.AsType[*Error](err); ok && failed.Step == "" {
			failed.Step = id
		}
	}
	r.rec.emit(ended)
	return err
}

func short(commit string) string { return commit[:min(len(commit), 12)] }
