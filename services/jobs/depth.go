package jobs

import (
	"context"
	"fmt"
)

// Depth is how many jobs of a queue are in a state.
type Depth struct {
	Queue string
	State string // available, running, retryable or scheduled
	Jobs  int64
}

// Depths returns what waits and what runs, of all workers, for those who watch the queue.
func (q *Queue) Depths(ctx context.Context) ([]Depth, error) {
	var all []Depth
	err := q.db.WithContext(ctx).Table("river_job").Select("queue, CAST(state AS TEXT) AS state, COUNT(*) AS jobs").
		Where("finalized_at IS NULL").Group("queue, state").Order("queue, state").Scan(&all).Error
	if err != nil {
		return nil, fmt.Errorf("counting jobs: %w", err)
	}
	return all, nil
}
