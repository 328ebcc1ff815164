package copies

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

const (
	maxTries     = 10 // one after the other in which nothing moved
	maxAttempts  = 5  // workers that died in the middle, one after the other
	longestPause = 10 * time.Minute
	tellEvery    = time.Second
	lastWords    = 15 * time.Second // for the writes that end a worker's part
	lookAgain    = time.Second      // at what another worker carries
)

// run is one worker's try at a copy that it holds.
type run struct {
	*Service
	copy           *models.Copy
	source, target *place
	progress       *progress
	uploads        *uploads
}

// Run carries the copy: whoever asked may do it, what it consists of is read,
// blobs that are missing are sent, manifests follow, the tag comes last. It may
// be called again at any point, by any worker.
func (s *Service) Run(ctx context.Context, job Job) error {
	end, alone := s.Jobs.Alone(job.CopyID)
	if !alone {
		return jobs.Later(lookAgain)
	}
	defer end()
	c, err := s.claim(ctx, job.CopyID)
	if c == nil || err != nil {
		return err
	}
	watched, done := s.Jobs.Watch(ctx, &models.Copy{}, c.ID)
	defer done()
	r := &run{Service: s, copy: c, progress: newProgress(), uploads: newUploads(c.Uploads)}
	r.source, r.target = s.places(c)
	work, stop := r.tellProgress(watched)
	failed := r.do(work)
	if cause := context.Cause(work); failed != nil && cause != nil {
		failed = errors.Join(cause, failed)
	}
	stop()
	return r.end(ctx, failed)
}

func (r *run) do(ctx context.Context) error {
	if err := r.authorize(ctx, r.copy); err != nil {
		return err
	}
	p, err := r.makePlan(ctx)
	if err != nil {
		return err
	}
	if err := r.savePlan(ctx, p); err != nil {
		return err
	}
	if err := r.sendBlobs(ctx, p); err != nil {
		return err
	}
	return r.putManifests(ctx, p)
}

// moved says that the copy is alive.
func (r *run) moved() { r.progress.touch() }

// claim makes this worker the copy's. It returns nil where there is nothing to do.
func (s *Service) claim(ctx context.Context, id string) (c *models.Copy, err error) {
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var row models.Copy
		if err := tx.Where("id = ?", id).Take(&row).Error; err != nil {
			return models.FromDB(err, "copy")
		}
		if row.State.Ended() {
			return nil
		}
		claimed, err := s.Jobs.Claim(ctx, tx, &models.Copy{}, id)
		if err != nil {
			return err
		}
		if !claimed {
			return jobs.Later(lookAgain) // a living worker has it: look again when it may have died
		}
		if err := tx.Where("id = ?", id).Take(&row).Error; err != nil {
			return err
		}
		begun, err := s.begin(tx, &row)
		if begun {
			c = &row
		}
		return err
	})
	if models.IsCode(err, models.NotFound) {
		return nil, nil
	}
	return c, err
}

// begin moves a claimed copy on: to running, or to its end where it must not run any more.
func (s *Service) begin(tx *gorm.DB, c *models.Copy) (bool, error) {
	now := s.DB.NowFunc()
	switch {
	case c.State.Ended():
		return false, nil
	case c.CancelRequestedAt != nil:
		return false, s.close(tx, c, models.CopyCanceled, "")
	case c.Attempt > maxAttempts:
		return false, s.close(tx, c, models.CopyFailed, fmt.Sprintf("The copy was begun %d times, and each time its worker stopped before the end. Look at the workers' logs, then retry it.", maxAttempts))
	}
	if c.State == models.CopyQueued {
		if err := c.Move(models.CopyRunning); err != nil {
			return false, err
		}
	}
	if c.StartedAt == nil {
		c.StartedAt = &now
	}
	c.NextTryAt, c.Note = nil, ""
	if err := s.Jobs.Held(tx.Model(&models.Copy{}), c.ID).Select("State", "StartedAt", "NextTryAt", "Note").Updates(c).Error; err != nil {
		return false, err
	}
	return true, publish(tx, c, "copy.running")
}

// savePlan writes down what the copy consists of.
func (r *run) savePlan(ctx context.Context, p *plan) error {
	c := r.copy
	c.Manifests, c.Blobs, c.Bytes = int64(len(p.manifests)), int64(len(p.blobs)), p.bytes
	return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		held := r.Jobs.Held(tx.Model(&models.Copy{}), c.ID).Select("Manifests", "Blobs", "Bytes").Updates(c)
		if held.Error != nil {
			return held.Error
		}
		if held.RowsAffected == 0 {
			return errNotOurs
		}
		return publish(tx, c, "copy.progress")
	})
}

// tellProgress writes the progress down while the work goes on, and ends the work where nothing moves. The returned
// function ends the telling and the context.
func (r *run) tellProgress(ctx context.Context) (context.Context, func()) {
	work, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-work.Done():
				return
			case <-tick.C:
			}
			if r.progress.idle() > r.stall() {
				cancel(errStalled)
				return
			}
			if err := r.saveProgress(work); err != nil && work.Err() == nil {
				slog.WarnContext(work, "the progress of a copy could not be written down", "copy", r.copy.ID, "error", err)
			}
		}
	}()
	return work, func() { cancel(nil); <-done }
}

func (s *Service) stall() time.Duration {
	if s.Stall > 0 {
		return s.Stall
	}
	return 2 * time.Minute
}

func (r *run) saveProgress(ctx context.Context) error {
	f, changed := r.progress.take()
	if !changed {
		return nil
	}
	return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		columns := f.columns()
		if r.progress.hasMoved() {
			columns["attempt"] = 0 // only workers that got nowhere count
		}
		held := r.Jobs.Held(tx.Model(&models.Copy{}), r.copy.ID).Updates(columns)
		if held.Error != nil || held.RowsAffected == 0 {
			return held.Error
		}
		return publish(tx, r.copy, "copy.progress")
	})
}

func (f figures) columns() map[string]any {
	return map[string]any{"blobs_done": f.blobs, "blobs_there": f.blobsThere, "bytes_done": f.bytes, "bytes_there": f.bytesThere}
}

// end writes down how this worker's part ended.
func (r *run) end(ctx context.Context, failed error) error {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	switch {
	case failed == nil:
		return r.finish(last, models.CopySucceeded, "")
	case errors.Is(failed, jobs.ErrLost), errors.Is(failed, jobs.ErrTaken), errors.Is(failed, errNotOurs):
		return jobs.Later(lookAgain) // another worker may have it: touch nothing
	case errors.Is(failed, jobs.ErrCanceled):
		return r.finish(last, models.CopyCanceled, "")
	case ctx.Err() != nil: // this worker stops; another one goes on at once
		return errors.Join(failed, r.letGo(last))
	}
	text, temporary := explain(failed)
	if r.progress.hasMoved() {
		r.copy.Tries = 0
	}
	if temporary && r.copy.Tries < maxTries {
		return r.postpone(last, text)
	}
	if strings.HasSuffix(text, "broke the connection.") {
		slog.InfoContext(ctx, "a copy failed", "copy", r.copy.ID, "error", failed)
	}
	return r.finish(last, models.CopyFailed, text)
}

func (r *run) letGo(ctx context.Context) error {
	f, _ := r.progress.take()
	columns := f.columns()
	columns["worker"], columns["attempt"] = "", 0
	return r.Jobs.Held(r.DB.WithContext(ctx).Model(&models.Copy{}), r.copy.ID).Updates(columns).Error
}

// postpone has the copy tried again after a pause.
func (r *run) postpone(ctx context.Context, why string) error {
	c := r.copy
	pause := r.pause(c.Tries)
	next := r.DB.NowFunc().Add(pause)
	if err := c.Move(models.CopyQueued); err != nil {
		return err
	}
	c.Tries, c.Note, c.NextTryAt = c.Tries+1, why, &next
	err := r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		f, _ := r.progress.take()
		columns := f.columns()
		columns["state"], columns["tries"], columns["note"], columns["next_try_at"], columns["worker"], columns["attempt"] = c.State, c.Tries, c.Note, next, "", 0
		held := r.Jobs.Held(tx.Model(&models.Copy{}), c.ID).Updates(columns)
		if held.Error != nil || held.RowsAffected == 0 {
			return errors.Join(held.Error, errNotOurs)
		}
		return publish(tx, c, "copy.queued")
	})
	if err != nil {
		return err
	}
	return jobs.Later(pause)
}

func (s *Service) pause(tries int) time.Duration {
	pause := s.Pause
	if pause <= 0 {
		pause = 5 * time.Second
	}
	return min(pause<<min(tries, 20), longestPause)
}

// finish ends the copy.
func (r *run) finish(ctx context.Context, state models.CopyState, why string) error {
	return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		f, _ := r.progress.take()
		held := r.Jobs.Held(tx.Model(&models.Copy{}), r.copy.ID).Updates(f.columns())
		if held.Error != nil {
			return held.Error
		}
		if held.RowsAffected == 0 {
			return errNotOurs
		}
		return r.close(tx, r.copy, state, why)
	})
}

// close writes the end of a copy that this worker holds.
func (s *Service) close(tx *gorm.DB, c *models.Copy, state models.CopyState, why string) error {
	if err := c.Move(state); err != nil {
		return err
	}
	now := s.DB.NowFunc()
	c.FinishedAt, c.Error, c.Note, c.NextTryAt, c.Worker = &now, why, "", nil, ""
	columns := []any{"FinishedAt", "Error", "Note", "NextTryAt", "Worker"}
	if state == models.CopySucceeded {
		c.Uploads = nil
		columns = append(columns, "Uploads")
	}
	if err := s.Jobs.Held(tx.Model(&models.Copy{}), c.ID).Select("State", columns...).Updates(c).Error; err != nil {
		return err
	}
	return publish(tx, c, "copy."+string(state))
}

// Sweep adds the jobs that are missing: each copy that has not ended needs one.
// A job that failed for good took its copy's with it. Workers run it regularly.
func (s *Service) Sweep(ctx context.Context) error {
	var open []string
	err := s.DB.WithContext(ctx).Model(&models.Copy{}).Where("state IN ?", []models.CopyState{models.CopyQueued, models.CopyRunning}).
		Order("id").Limit(1000).Pluck("id", &open).Error
	if err != nil {
		return err
	}
	return s.Jobs.Refill(ctx, jobs.QueueCopies, open, func(id string) jobs.Args { return Job{CopyID: id} })
}
