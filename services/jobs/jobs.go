// Package jobs is the queue of background work: River on Slipway's own
// database, so that a change and the job that follows it are one transaction.
//
// Every process that takes jobs is a worker with a row that says when it last
// lived. A build or a deployment is carried by the worker whose id its row
// names. When a worker stops saying that it lives, its jobs go back to the
// queue, another worker may take its rows, and it ends its own work by itself.
package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/events"
)

// Args is what a job needs to know; its Kind names the work.
type Args = river.JobArgs

// The queues. A worker takes so many jobs of each at once.
const (
	QueueDefault     = river.QueueDefault
	QueueBuilds      = "builds"
	QueueDeployments = "deployments"
	QueueFollows     = "follows" // builds that run elsewhere and are only looked at from here
	QueueCopies      = "copies"  // images that are copied between registries
)

// maxFollows is how many builds elsewhere one worker looks at: each is a call now and then.
const maxFollows = 64

// maxCopies is how many images one worker copies at once.
const maxCopies = 2

// Config says how this process takes jobs.
type Config struct {
	Builds      int           // builds at once
	Deployments int           // deployments at once
	Others      int           // other jobs at once
	Version     string        // of the program, shown to admins
	Labels      models.Labels // what the work of some apps asks for
	DeadAfter   time.Duration // how long a worker may be silent; 15 s where zero
}

// Queue adds jobs, and takes them where it was started.
type Queue struct {
	db      *models.Database
	client  *river.Client[*sql.Tx] // adds jobs
	workers *river.Workers
	cfg     Config
	self    models.Worker

	mu       sync.Mutex
	beaten   time.Time       // when this worker last said that it lives
	carried  map[string]bool // rows on which work goes on here
	taker    *taker          // takes jobs now; nil while this worker drains
	takers   []*taker        // all that were not stopped for good
	stopping bool
	periodic []periodic
	wg       sync.WaitGroup
	stop     context.CancelFunc
}

type periodic struct {
	name  string
	every time.Duration
	run   func(context.Context) error
}

// Migrate makes or updates the queue's own tables.
func Migrate(ctx context.Context, db *models.Database) error {
	m, err := rivermigrate.New(driver(db), nil)
	if err != nil {
		return fmt.Errorf("migrating the job queue: %w", err)
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrating the job queue: %w", err)
	}
	return nil
}

func driver(db *models.Database) riverdriver.Driver[*sql.Tx] {
	if db.Pool != nil {
		return riverdatabasesql.NewWithPgxListener(db.SQL, db.Pool)
	}
	return riversqlite.New(db.SQL)
}

// New returns the queue of the database. Register what it can do, then Start it
// in a process that takes jobs.
func New(db *models.Database, cfg Config) (*Queue, error) {
	if cfg.DeadAfter == 0 {
		cfg.DeadAfter = 15 * time.Second
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	q := &Queue{db: db, cfg: cfg, workers: river.NewWorkers(), carried: map[string]bool{}}
	q.self = models.Worker{ID: models.NewID(), Host: host, Version: cfg.Version, Builds: max(cfg.Builds, 1), Labels: cfg.Labels}
	q.client, err = river.NewClient(driver(db), &river.Config{ID: q.self.ID, Workers: q.workers, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("opening the job queue: %w", err)
	}
	return q, nil
}

type failures struct{}

func (failures) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	slog.WarnContext(ctx, "a job failed and will be tried again", "kind", job.Kind, "job", job.ID, "attempt", job.Attempt, "error", err)
	return nil
}

func (failures) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	slog.ErrorContext(ctx, "a job panicked", "kind", job.Kind, "job", job.ID, "panic", value, "trace", trace)
	return nil
}

// Register names the work of one kind of job. Work that returns an error is
// tried again later, with growing pauses; work may run again after a worker
// died in the middle of it, so it must find out what is already done.
func Register[T Args](q *Queue, work func(ctx context.Context, args T) error) {
	river.AddWorker(q.workers, river.WorkFunc(func(ctx context.Context, job *river.Job[T]) error {
		ctx = models.WithPrincipal(ctx, models.System("worker"))
		return work(ctx, job.Args)
	}))
}

// Every runs the function again and again while this worker runs: once soon
// after the start, then with the pause between. Every worker runs it, so it must not mind others.
func (q *Queue) Every(pause time.Duration, name string, run func(context.Context) error) {
	q.periodic = append(q.periodic, periodic{name, pause, run})
}

// Insert adds the job to the queue as part of tx.
func (q *Queue) Insert(ctx context.Context, tx *gorm.DB, queue string, args Args) error {
	sqlTx, ok := tx.Statement.ConnPool.(*sql.Tx)
	if !ok {
		return errors.New("a job must be added inside a transaction")
	}
	if _, err := q.client.InsertTx(ctx, sqlTx, args, &river.InsertOpts{Queue: queue}); err != nil {
		return fmt.Errorf("queueing %s: %w", args.Kind(), err)
	}
	return nil
}

// Start begins to take jobs. Stop must be called.
func (q *Queue) Start(ctx context.Context) error {
	now := q.db.NowFunc()
	q.self.StartedAt, q.self.SeenAt = now, now
	if err := q.register(ctx); err != nil {
		return err
	}
	q.setBeaten(now)
	ctx, q.stop = context.WithCancel(models.WithPrincipal(ctx, models.System("worker")))
	q.Every(q.cfg.DeadAfter/3, "returning the jobs of dead workers", q.revive)
	q.loop(ctx, periodic{"saying that this worker lives", q.cfg.DeadAfter / 6, q.beat})
	for _, p := range q.periodic {
		q.loop(ctx, p)
	}
	if err := q.take(ctx, q.self.Builds); err != nil {
		q.stop()
		return err
	}
	q.loop(ctx, periodic{"following what admins say of this worker", q.cfg.DeadAfter / 6, q.follow})
	return nil
}

// Stop ends all work: what runs is told to end and goes back to the queue, so
// that another worker takes it at once. It waits until ctx ends.
func (q *Queue) Stop(ctx context.Context) error {
	err := q.stopTaking(ctx)
	q.stop()
	q.wg.Wait()
	return errors.Join(err, q.unregister(ctx))
}

// register writes the worker down, and tells admins.
func (q *Queue) register(ctx context.Context) error {
	err := q.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&q.self).Error; err != nil {
			return err
		}
		return q.tell(tx, "worker.started")
	})
	if err != nil {
		return fmt.Errorf("registering the worker: %w", err)
	}
	return nil
}

func (q *Queue) unregister(ctx context.Context) error {
	return q.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Delete(&models.Worker{}, "id = ?", q.self.ID).Error; err != nil {
			return err
		}
		return q.tell(tx, "worker.stopped")
	})
}

func (q *Queue) tell(tx *gorm.DB, kind string) error {
	return events.Publish(tx, models.Event{Kind: kind, Topic: "worker:" + q.self.ID, Parent: "queue", Data: map[string]string{}})
}

func (q *Queue) loop(ctx context.Context, p periodic) {
	q.wg.Go(func() {
		tick := time.NewTicker(p.every)
		defer tick.Stop()
		for {
			if err := p.run(ctx); err != nil && ctx.Err() == nil {
				slog.WarnContext(ctx, "regular work failed", "work", p.name, "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}
