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
		return r.finish(ctx, models.BuildCanceled, &models.BuildError{Class: ClassCanceled, Message: "The build was canceled."})
	case errors.Is(cause, ErrTimeout):
		return r.finish(ctx, models.BuildFailed, r.timedOut())
	case cause != nil:
		return r.release(ctx, cause)
	}
	failure := r.failure(ctx, err)
	if failure.Class == ClassCanceled { // by somebody where it ran
		return r.finish(ctx, models.BuildCanceled, failure)
	}
	return r.finish(ctx, models.BuildFailed, failure)
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
	err := r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		held := r.Jobs.Held(tx.Model(&models.Build{}), b.ID).
			Select("State", "FinishedAt", "Error", "Warnings", "ImageRepository", "ImageDigest", "ImageTags", "ImageSize").Updates(b)
		if held.Error != nil {
			return held.Error
		}
		if held.RowsAffected == 0 {
			return jobs.ErrTaken
		}
		if err := r.rec.write(tx); err != nil {
			return err
		}
		if failure != nil && (failure.Class == ClassCanceled || failure.Class == ClassTimeout) {
			if err := r.stopElsewhere(ctx, tx, b); err != nil {
				return err
			}
		}
		return r.publish(tx, b, "build."+string(state))
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

// release gives the build back to the queue, because this worker stops. The
// attempt does not count.
func (r *run) release(ctx context.Context, cause error) error {
	b := r.build
	r.rec.stop(ctx, models.StepCanceled)
	back := map[string]any{"state": models.BuildQueued, "worker": "", "attempt": gorm.Expr("attempt - 1")}
	if _, elsewhere := r.builder.(Remote); elsewhere {
		r.log.Print("", "This worker stops; another one follows the build.")
	} else {
		r.log.Print("", "This worker stops; another one starts the build again.")
		back["started_at"] = nil
	}
	r.log.Leave(ctx)
	if err := b.Move(models.BuildQueued); err != nil {
		return err
	}
	err := r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		held := r.Jobs.Held(tx.Model(&models.Build{}), b.ID).Updates(back)
		if held.Error != nil || held.RowsAffected == 0 {
			return held.Error
		}
		if err := endSteps(tx, b.ID, r.DB.NowFunc()); err != nil {
			return err
		}
		return r.publish(tx, b, "build.queued")
	})
	if err != nil {
		return fmt.Errorf("giving build %s back to the queue, because %w: %w", b.ID, cause, err)
	}
	return jobs.Later(0)
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

// duration says a limit as people would: 30 minutes, 90 seconds.
func duration(d time.Duration) string {
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
