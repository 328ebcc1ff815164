package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// Why the context of held work ended.
var (
	ErrCanceled = errors.New("canceled by a person")
	ErrLost     = errors.New("this worker lost its lease")
	ErrTaken    = errors.New("another worker has it")
)

// WorkerID is the id of this process as a worker.
func (q *Queue) WorkerID() string { return q.self.ID }

func (q *Queue) beat(ctx context.Context) error {
	now := q.db.NowFunc()
	r := q.db.WithContext(ctx).Model(&models.Worker{}).Where("id = ?", q.self.ID).Update("seen_at", now)
	if r.Error != nil {
		return r.Error
	}
	if r.RowsAffected == 0 { // silent for so long that the others have forgotten it
		self := q.self
		self.SeenAt = now
		if err := q.db.WithContext(ctx).Create(&self).Error; err != nil {
			return err
		}
	}
	q.setBeaten(now)
	return nil
}

func (q *Queue) setBeaten(t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.beaten = t
}

// silent tells whether others may soon take this worker for dead.
func (q *Queue) silent() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return time.Since(q.beaten) > q.cfg.DeadAfter*2/3
}

// alive is a subquery of the ids of the workers that live. The clocks of all
// workers have to agree within a few seconds.
func (q *Queue) alive(tx *gorm.DB) *gorm.DB {
	return tx.Session(&gorm.Session{NewDB: true}).Model(&models.Worker{}).Select("id").Where("seen_at > ?", q.AliveSince())
}

// revive gives the jobs of workers that died back to the queue and forgets those workers.
func (q *Queue) revive(ctx context.Context) error {
	last := "substr(json_extract(attempted_by, '$[#-1]'), 1, 36)" // a taker's id begins with its worker's
	if q.db.Pool != nil {
		last = "substr(attempted_by[array_upper(attempted_by, 1)], 1, 36)"
	}
	return q.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		sql := "UPDATE river_job SET state = 'available' WHERE state = 'running' AND " + last + " NOT IN (?)"
		if err := tx.Exec(sql, q.alive(tx)).Error; err != nil {
			return err
		}
		return tx.Where("seen_at <= ?", q.db.NowFunc().Add(-20*q.cfg.DeadAfter)).Delete(&models.Worker{}).Error
	})
}

// Claim makes this worker the holder of the row of the model with the id,
// where nobody holds it or its holder died. ok is false where another has it.
// The model embeds models.Lease.
func (q *Queue) Claim(ctx context.Context, tx *gorm.DB, model any, id string) (ok bool, err error) {
	r := tx.WithContext(ctx).Model(model).Where("id = ?", id).
		Where("worker = '' OR worker = ? OR worker NOT IN (?)", q.self.ID, q.alive(tx)).
		Updates(map[string]any{"worker": q.self.ID, "attempt": gorm.Expr("attempt + 1")})
	if r.Error != nil {
		return false, fmt.Errorf("claiming %s: %w", id, r.Error)
	}
	return r.RowsAffected == 1, nil
}

// Held narrows an update to the row while this worker holds it; an update that
// changes no row means that the lease is lost.
func (q *Queue) Held(tx *gorm.DB, id string) *gorm.DB {
	return tx.Where("id = ? AND worker = ?", id, q.self.ID)
}

// Free narrows an update to the row while no living worker holds it.
func (q *Queue) Free(tx *gorm.DB, id string) *gorm.DB {
	return tx.Where("id = ? AND worker NOT IN (?)", id, q.alive(tx))
}

// AliveSince is the time since which every living worker has said something.
func (q *Queue) AliveSince() time.Time { return q.db.NowFunc().Add(-q.cfg.DeadAfter) }

// Alive returns how many workers live.
func (q *Queue) Alive(ctx context.Context) (n int64, err error) {
	if err := q.alive(q.db.WithContext(ctx)).Count(&n).Error; err != nil {
		return 0, fmt.Errorf("counting workers: %w", err)
	}
	return n, nil
}

// Workers returns the workers that live, the oldest first.
func (q *Queue) Workers(tx *gorm.DB) ([]models.Worker, error) {
	var all []models.Worker
	if err := tx.Where("seen_at > ?", q.AliveSince()).Order("id").Find(&all).Error; err != nil {
		return nil, fmt.Errorf("reading the workers: %w", err)
	}
	return all, nil
}

// pending returns the arguments, as JSON, of the jobs of the kind that have not ended.
func (q *Queue) pending(ctx context.Context, kind string) (args []string, err error) {
	column := "json(args)"
	if q.db.Pool != nil {
		column = "args::text"
	}
	err = q.db.WithContext(ctx).Table("river_job").Where("kind = ? AND state NOT IN ?", kind, []string{"completed", "cancelled", "discarded"}).Pluck(column, &args).Error
	if err != nil {
		return nil, fmt.Errorf("reading the jobs of kind %s: %w", kind, err)
	}
	return args, nil
}

// Later returned by the work of a job has it run again after the pause. It counts as no failure.
func Later(pause time.Duration) error { return river.JobSnooze(pause) }

// Alone has one piece of work on the row with the id go on in this process at a
// time. A lease names a worker, not its work: one that was silent for long may be
// given a job again that it still carries. ok is false where the work goes on
// already; otherwise done must be called at its end.
func (q *Queue) Alone(id string) (done func(), ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.carried[id] {
		return nil, false
	}
	q.carried[id] = true
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.carried, id)
	}, true
}

// Watch returns a context for the work on a row that this worker has claimed.
// It ends with the cause ErrCanceled within half a second of the row's
// cancel_requested_at being set, with ErrTaken as soon after another worker has
// taken the row, and with ErrLost where the database has not answered for so long
// that another worker may have. A worker that only has little time goes on while
// the row is its own. The returned function must be called when the work is done.
func (q *Queue) Watch(ctx context.Context, model any, id string) (context.Context, func()) {
	work, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-work.Done():
				return
			case <-tick.C:
				if cause := q.ended(ctx, model, id); cause != nil {
					cancel(cause)
					return
				}
			}
		}
	}()
	return work, func() { cancel(nil); <-done }
}

func (q *Queue) ended(ctx context.Context, model any, id string) error {
	asking, cancel := context.WithTimeout(ctx, q.cfg.DeadAfter/3)
	defer cancel()
	var row struct {
		Worker            string
		CancelRequestedAt *time.Time
	}
	err := q.db.WithContext(asking).Model(model).Where("id = ?", id).Take(&row).Error
	switch {
	case err != nil && q.silent():
		return ErrLost
	case err != nil:
		return nil // a database that does not answer makes this worker silent in time
	case row.CancelRequestedAt != nil:
		return ErrCanceled
	case row.Worker != q.self.ID:
		return ErrTaken
	}
	return nil
}
