package builds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

// end records how the work went, given the worker's context, the work's own and
// what the work returned. Where this worker lost the build it touches nothing any more.
func (r *run) end(ctx, work context.Context, err error) error {
	cause := context.Cause(work)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	switch {
	case errors.Is(cause, jobs.ErrLost), errors.Is(cause, jobs.ErrTaken), errors.Is(err, jobs.ErrTaken):
		r.rec.stop(ctx, models.StepCanceled)
		r.log.Leave(ctx)
		return jobs.Later(busyPause)
	case err == nil:
		return r.finish(ctx, models.BuildSucceeded, nil)
	case errors.Is(cause, jobs.ErrCanceled):
		return r.finish(ctx, models.BuildCanceled, &models.BuildError{Class: ClassCanceled, Message: canceledBy(r.canceler(ctx)), Step: r.rec.lastRunning()})
	case errors.Is(cause, ErrTimeout):
		return r.finish(ctx, models.BuildFailed, r.timedOut())
	case cause != nil:
		return r.release(ctx, cause, r.parting(), 1)
	case r.DB.Pool != nil && unmade(err):
		return r.release(ctx, err, "The database was away; the build is started again.", 0)
	}
	failure := r.failure(ctx, err)
	if failure.Class == ClassCanceled { // by somebody where it ran
		return r.finish(ctx, models.BuildCanceled, failure)
	}
	return r.finish(ctx, models.BuildFailed, failure)
}

// unmade tells whether the build ended only because the database was away for
// a moment. What a builder says of its own connections is an *Error.
func unmade(err error) bool {
	_, told := errors.AsType[*Error](err)
	return !told && models.Away(err)
}

// finish moves the build to its last state, with its steps, in one transaction, and then ends the log.
func (r *run) finish(ctx context.Context, state models.BuildState, failure *models.BuildError) error {
	b := r.build
	now := r.DB.NowFunc()
	open := models.StepCanceled
	if state == models.BuildFailed {
		open = models.StepFailed
	}
	r.rec.stop(ctx, open)
	if err := b.Move(state); err != nil {
		return err
	}
	b.FinishedAt, b.Error, b.Warnings = &now, r.masked(failure), r.rec.warnings()
	err := insist(ctx, func() error {
		return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return r.record(ctx, tx) })
	})
	if errors.Is(err, jobs.ErrTaken) {
		r.log.Leave(ctx)
		return jobs.Later(busyPause)
	}
	if err != nil {
		r.log.Leave(ctx)
		return fmt.Errorf("recording the end of build %s: %w", b.ID, err)
	}
	r.log.Print("", "%s", r.lastLine())
	r.log.Close(ctx)
	return nil
}

// record writes the end of the build in tx. It may be called again where tx did not commit.
func (r *run) record(ctx context.Context, tx *gorm.DB) error {
	b := r.build
	held := r.Jobs.Held(tx.Model(&models.Build{}), b.ID).Where("state = ?", models.BuildRunning).
		Select("State", "FinishedAt", "Error", "Warnings", "ImageRepository", "ImageDigest", "ImageTags", "ImageSize").Updates(b)
	if held.Error != nil {
		return held.Error
	}
	if held.RowsAffected == 0 {
		return r.recorded(tx)
	}
	if err := r.rec.writeAll(tx); err != nil {
		return err
	}
	if err := r.wake(ctx, tx, 1); err != nil {
		return err
	}
	if b.Error != nil && (b.Error.Class == ClassCanceled || b.Error.Class == ClassTimeout) {
		if err := r.stopElsewhere(ctx, tx, b); err != nil {
			return err
		}
	}
	return r.publish(tx, b, "build."+string(b.State))
}

// recorded tells, by no error, that an earlier try committed although the answer was lost.
func (r *run) recorded(tx *gorm.DB) error {
	var n int64
	err := r.Jobs.Held(tx.Model(&models.Build{}), r.build.ID).Where("state = ?", r.build.State).Count(&n).Error
	if err == nil && n == 0 {
		err = jobs.ErrTaken
	}
	return err
}

// insist tries until the database takes it, the lease is lost, or ctx ends: a
// database that restarts must not cost the build that has just been made.
func insist(ctx context.Context, try func() error) error {
	tick := time.NewTicker(insistEvery)
	defer tick.Stop()
	for {
		err := try()
		if err == nil || errors.Is(err, jobs.ErrTaken) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func (r *run) lastLine() string {
	b := r.build
	took := b.FinishedAt.Sub(*b.StartedAt).Round(100 * time.Millisecond)
	switch {
	case b.State == models.BuildSucceeded:
		return fmt.Sprintf("Build %s succeeded in %s: %s@%s", b.Title(), took, b.ImageRepository, b.ImageDigest)
	case b.Error != nil:
		return fmt.Sprintf("Build %s %s after %s: %s", b.Title(), b.State, took, b.Error.Message)
	}
	return fmt.Sprintf("Build %s %s after %s.", b.Title(), b.State, took)
}

// parting is what the log says where this worker stops before the build's end.
func (r *run) parting() string {
	if _, elsewhere := r.builder.(Remote); elsewhere {
		return "This worker stops; another one follows the build."
	}
	return "This worker stops; another one starts the build again."
}

// release gives the build back to the queue, for a reason that is not the
// build's own; the log says it. So many attempts do not count: one that stopped
// with its worker, none that the database cost, so that their number has an end.
func (r *run) release(ctx context.Context, cause error, said string, uncounted int) error {
	b := r.build
	r.rec.stop(ctx, models.StepCanceled)
	r.log.Print("", "%s", said)
	r.log.Leave(ctx)
	if err := b.Move(models.BuildQueued); err != nil {
		return err
	}
	err := insist(ctx, func() error {
		return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return r.giveBack(tx, uncounted) })
	})
	if err != nil {
		return fmt.Errorf("giving build %s back to the queue, because %w: %w", b.ID, cause, err)
	}
	return jobs.Later(0)
}

func (r *run) giveBack(tx *gorm.DB, uncounted int) error {
	b := r.build
	back := map[string]any{"state": b.State, "worker": "", "attempt": gorm.Expr("attempt - ?", uncounted)}
	if _, elsewhere := r.builder.(Remote); !elsewhere {
		back["started_at"] = nil
	}
	held := r.Jobs.Held(tx.Model(&models.Build{}), b.ID).Updates(back)
	if held.Error != nil || held.RowsAffected == 0 {
		return held.Error
	}
	if err := endSteps(tx, b.ID, r.DB.NowFunc()); err != nil {
		return err
	}
	return r.publish(tx, b, "build.queued")
}

func (r *run) timedOut() *models.BuildError {
	limit := time.Duration(r.build.TimeoutSeconds) * time.Second
	failure := &models.BuildError{
		Class:   ClassTimeout,
		Message: fmt.Sprintf("The build was stopped after %s, its time limit. Find out what took so long below, or raise the limit in the app's settings.", duration(limit)),
		Step:    r.rec.lastRunning(),
	}
	failure.Output = r.log.Tail(failure.Step, outputLines)
	return failure
}

// canceler is who canceled the build while this worker carried it, empty where that can't be read.
func (r *run) canceler(ctx context.Context) (name string) {
	err := r.DB.WithContext(ctx).Model(&models.Build{}).Where("id = ?", r.build.ID).Pluck("canceled_by", &name).Error
	if err != nil {
		slog.WarnContext(ctx, "who canceled a build can't be read", "build", r.build.ID, "error", err)
	}
	return name
}

// duration says a limit as people would: 24 hours, 30 minutes, 90 seconds.
func duration(d time.Duration) string {
	if d >= time.Hour && d%time.Hour == 0 {
		return count(int64(d/time.Hour), "hour")
	}
	if d >= time.Minute && d%time.Minute == 0 {
		return count(int64(d/time.Minute), "minute")
	}
	return count(int64(d/time.Second), "second")
}

// failure turns an error into what people read of it.
func (r *run) failure(ctx context.Context, err error) *models.BuildError {
	failed, ok := errors.AsType[*Error](err)
	if !ok {
		slog.ErrorContext(ctx, "a build failed for a reason that is not the user's", "build", r.build.ID, "error", r.mask.Mask(err.Error()))
		return &models.BuildError{Class: ClassInfrastructure, Message: "Something went wrong inside Slipway. The server's log says what, under build " + r.build.ID + "; retrying may help."}
	}
	if failed.Err != nil {
		slog.InfoContext(ctx, "a build failed", "build", r.build.ID, "class", failed.Class, "error", r.mask.Mask(failed.Err.Error()))
	}
	failure := failed.BuildError
	if len(failure.Output) == 0 && failure.Step != "" {
		failure.Output = r.log.Tail(failure.Step, outputLines)
	}
	if failure.Class == ClassUser && full(strings.Join(failure.Output, "\n")) {
		failure.Message += " The engine's disk seems to be full: an administrator can free space with docker system prune."
	}
	return &failure
}

// masked hides secrets in what is stored of a failure.
func (r *run) masked(f *models.BuildError) *models.BuildError {
	if f == nil {
		return nil
	}
	f.Message = r.mask.Mask(f.Message)
	for _, lines := range [][]string{f.Source, f.Output} {
		for i := range lines {
			lines[i] = r.mask.Mask(lines[i])
		}
	}
	return f
}

// told turns an error that people may read into a *Error.
func told(err error) error {
	e, ok := errors.AsType[*models.Error](err)
	if !ok {
		if err != nil && full(err.Error()) {
			return onDisk("The worker's disk is full.", err)
		}
		return err
	}
	class, text := ClassInfrastructure, e.Message
	if e.Code == models.Invalid || e.Code == models.NotFound || e.Code == models.TooLarge {
		class = ClassUser
	}
	for _, field := range e.Fields {
		text = field
	}
	return Failure(class, text, err)
}

func onDisk(text string, err error) error {
	if full(err.Error()) {
		text = "The worker's disk is full. An administrator has to free space; then retry the build."
	}
	return Failure(ClassInfrastructure, text, err)
}

func full(text string) bool {
	return strings.Contains(strings.ToLower(text), syscall.ENOSPC.Error())
}

// message is what people read of an error.
func message(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	return "failed"
}
