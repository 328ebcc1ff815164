package jobs

import (
	"context"
	"strings"

	"gorm.io/gorm"
)

// Refill gives rows that wait for a job one again: each of the ids that no job of the kind names any more, as one that
// failed for good took it with it. job makes the one of an id. Each is committed by itself; every worker may run it.
func (q *Queue) Refill(ctx context.Context, queue string, ids []string, job func(id string) Args) error {
	if len(ids) == 0 {
		return nil
	}
	pending, err := q.pending(ctx, job("").Kind())
	if err != nil {
		return err
	}
	all := strings.Join(pending, "\n")
	for _, id := range ids {
		if strings.Contains(all, id) {
			continue
		}
		err := q.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return q.Insert(ctx, tx, queue, job(id)) })
		if err != nil {
			return err
		}
	}
	return nil
}
