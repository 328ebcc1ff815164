package builds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/logs"
)

const (
	maxAttempts = 3
	// busyPause is when a worker that lost a build takes a turn again.
	busyPause = 5 * time.Second
	// lastWords bounds the writes that end a build's work after its context has ended.
	lastWords   = 15 * time.Second
	insistEvery = 500 * time.Millisecond
	outputLines = 30 // of the failed step, kept with the build
)

// The ids of the steps that are Slipway's own.
const (
	StepCheckout = "checkout"
	StepPush     = "push"
)

// carry carries the build from wherever it stands to its end.
func (s *Service) carry(ctx context.Context, b *models.Build) error {
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

// start moves a claimed build on: to running, or to its end where it must not run any more.
func (s *Service) start(ctx context.Context, tx *gorm.DB, b *models.Build) error {
	now, most := s.DB.NowFunc(), maxAttempts
	_, elsewhere := s.remote(b.Builder)
	if elsewhere {
		most = maxFollows
	}
	switch {
	case b.CancelRequestedAt != nil:
		b.Error = &models.BuildError{Class: ClassCanceled, Message: canceledBy(b.CanceledBy)}
		if err := s.stopElsewhere(ctx, tx, b); err != nil {
			return err
		}
		return s.endUnstarted(ctx, tx, b, models.BuildCanceled, now)
	case b.Attempt > most:
		b.Error = &models.BuildError{Class: ClassInfrastructure, Message: fmt.Sprintf(
			"Worker lost: the build was begun %d times, and each time its worker stopped before the end. Look at the workers' logs, then retry the build.", most)}
		return s.endUnstarted(ctx, tx, b, models.BuildFailed, now)
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

func (s *Service) endUnstarted(ctx context.Context, tx *gorm.DB, b *models.Build, state models.BuildState, now time.Time) error {
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
	if err := s.wake(ctx, tx, 1); err != nil {
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
	// inlineCache says that the image holds its own cache, so that the cache's name moves to it.
	inlineCache bool
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
	if err := r.room(ctx); err != nil {
		return err
	}
	if _, elsewhere := r.builder.(Remote); elsewhere {
		made, err := r.builder.Build(ctx, Request{BuildID: r.build.ID, Image: r.embedded()}, r.rec.emit)
		if err != nil {
			return err
		}
		return r.place(ctx, made)
	}
	if err := r.free(ctx); err != nil {
		return err
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
		if err := r.Git.Checkout(ctx, b.App.RepositoryID, b.Commit, r.source()); err != nil {
			return told(err)
		}
		return r.tellMissing(ctx)
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

// tellMissing warns of what the checkout does not hold, before a command stumbles over it.
func (r *run) tellMissing(ctx context.Context) error {
	m, err := r.Git.Missing(ctx, r.build.App.RepositoryID, r.build.Commit, r.source())
	if err != nil {
		return told(err)
	}
	if m.PointerN > 0 {
		r.warn("The repository uses Git LFS, which Slipway does not fetch: %s only a pointer, such as %s.", thereAre(m.PointerN, "file"), strings.Join(m.Pointers, ", "))
	}
	if m.SubmoduleN > 0 {
		r.warn("Submodules are not fetched: %s empty, such as %s.", thereAre(m.SubmoduleN, "folder"), strings.Join(m.Submodules, ", "))
	}
	return nil
}

// warn adds a warning to the build and its log.
func (r *run) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.log.Print(StepCheckout, "%s", text)
	r.rec.emit(Event{At: time.Now(), Warning: text})
}

func thereAre(n int, noun string) string {
	if n == 1 {
		return count(1, noun) + " is"
	}
	return count(int64(n), noun) + " are"
}

func (r *run) source() string { return filepath.Join(r.dir, "source") }

// make builds the image and pushes it; the builder names those steps.
func (r *run) make(ctx context.Context) (digest string, err error) {
	b := r.build
	if r.builder == nil {
		return "", Failure(ClassInfrastructure, fmt.Sprintf("This server has no builder %q. Choose another one in the app's settings.", b.Builder), nil)
	}
	request, err := r.request(ctx)
	if err != nil {
		return "", err
	}
	made, err := r.builder.Build(ctx, request, r.rec.emit)
	if err != nil {
		return "", err
	}
	r.inlineCache = made.InlineCache
	return made.Digest, nil
}

// request is what the builder gets to know of the build.
func (r *run) request(ctx context.Context) (Request, error) {
	b := r.build
	for _, text := range b.Settings.Warnings() {
		r.rec.emit(Event{At: time.Now(), Warning: text})
	}
	to, err := r.destination(ctx)
	if err != nil {
		return Request{}, err
	}
	request := Request{
		BuildID: b.ID, Dir: r.source(), Scratch: filepath.Join(r.dir, "scratch"), Context: b.Context, Dockerfile: b.Dockerfile,
		CacheKey: r.cacheKey(), NoCache: b.NoCache, Labels: r.annotations(), Image: to, Bases: r.bases(ctx),
		Arguments: b.Settings.Arguments, Target: b.Settings.Target, Platforms: b.Settings.Platforms, Cache: r.cache(to),
		Provenance: b.Settings.Provenance, SBOM: b.Settings.SBOM,
	}
	return request, r.addSecrets(ctx, &request)
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
