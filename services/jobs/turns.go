package jobs

import (
	"context"
	"fmt"

	"gorm.io/gorm"
)

// Waiting returns how many jobs of the kind wait to be run.
func (q *Queue) Waiting(tx *gorm.DB, kind string) (n int64, err error) {
	err = tx.Table("river_job").Where("kind = ? AND state IN ?", kind, []string{"available", "retryable", "scheduled", "pending"}).Count(&n).Error
	if err != nil {
		return 0, fmt.Errorf("counting the jobs of kind %s: %w", kind, err)
	}
	return n, nil
}

// Wake has at most n jobs of the kind that were put off run at once, as part of tx.
func (q *Queue) Wake(ctx context.Context, tx *gorm.DB, kind string, n int) error {
	now, lock := "datetime('now', 'subsec')", ""
	if q.db.Pool != nil {
		now, lock = "now()", " FOR UPDATE SKIP LOCKED"
	}
	err := tx.WithContext(ctx).Exec("UPDATE river_job SET state = 'available', scheduled_at = "+now+" WHERE id IN ("+
		"SELECT id FROM river_job WHERE kind = ? AND state IN ('available', 'scheduled', 'retryable') AND scheduled_at > "+now+
		" ORDER BY scheduled_at LIMIT ?"+lock+")", kind, n).Error
	if err != nil {
		return fmt.Errorf("waking jobs of kind %s: %w", kind, err)
	}
	return nil
}
