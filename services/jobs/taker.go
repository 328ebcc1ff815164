package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/riverqueue/river"
	"slipway.dev/models"
)

// taker takes jobs, so many builds of them at once. River can't change how many
// a client takes, nor pause it for one process alone: where an admin says
// otherwise the taker is told to take nothing new, and another one follows it.
type taker struct {
	client *river.Client[*sql.Tx]
	builds int
}

// take begins to take jobs.
func (q *Queue) take(ctx context.Context, builds int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopping {
		return nil
	}
	client, err := river.NewClient(driver(q.db), &river.Config{
		ID: q.self.ID + "." + strconv.FormatInt(time.Now().UnixMilli(), 36),
		Queues: map[string]river.QueueConfig{
			QueueDefault:     {MaxWorkers: max(q.cfg.Others, 1)},
			QueueBuilds:      {MaxWorkers: max(builds, 1)},
			QueueDeployments: {MaxWorkers: max(q.cfg.Deployments, 1)},
			QueueFollows:     {MaxWorkers: maxFollows},
			QueueCopies:      {MaxWorkers: maxCopies},
		},
		Workers:           q.workers,
		JobTimeout:        -1, // the work sets its own limits, and a dead worker is noticed here
		FetchCooldown:     20 * time.Millisecond,
		FetchPollInterval: 150 * time.Millisecond,
		Logger:            slog.New(slog.DiscardHandler),
		ErrorHandler:      failures{},
	})
	if err != nil {
		return fmt.Errorf("opening the job queue: %w", err)
	}
	if err := client.Start(ctx); err != nil {
		return fmt.Errorf("starting the job queue: %w", err)
	}
	q.taker = &taker{client, builds}
	q.takers = append(q.takers, q.taker)
	return nil
}

// follow does what admins say of this worker: drains, resumes, takes more or fewer builds at once.
func (q *Queue) follow(ctx context.Context) error {
	var said models.Worker
	if err := q.db.WithContext(ctx).Where("id = ?", q.self.ID).Limit(1).Find(&said).Error; err != nil {
		return fmt.Errorf("reading what admins say of this worker: %w", err)
	}
	if said.ID == "" {
		return nil // it was forgotten; the next sign of life writes it anew
	}
	q.mu.Lock()
	now := q.taker
	q.mu.Unlock()
	if now != nil && (said.Draining || said.Builds != now.builds) {
		q.leave(now)
		now = nil
	}
	if now != nil || said.Draining {
		return nil
	}
	return q.take(ctx, said.Builds)
}

// leave has the taker take nothing new; what it carries goes on.
func (q *Queue) leave(t *taker) {
	q.mu.Lock()
	q.taker = nil
	q.mu.Unlock()
	q.wg.Go(func() {
		if t.client.Stop(context.Background()) == nil {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.takers = slices.DeleteFunc(q.takers, func(other *taker) bool { return other == t })
		}
	})
}

// stopTaking ends all work.
func (q *Queue) stopTaking(ctx context.Context) error {
	q.mu.Lock()
	q.stopping = true
	all := slices.Clone(q.takers)
	q.mu.Unlock()
	var faults []error
	for _, t := range all {
		faults = append(faults, t.client.StopAndCancel(ctx))
	}
	return errors.Join(faults...)
}
