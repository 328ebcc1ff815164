package explorer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gocloud.dev/gcerrors"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
	"slipway.dev/services/layers"
)

const (
	patience   = 1500 * time.Millisecond
	lookEvery  = 40 * time.Millisecond
	retryAfter = time.Minute      // since an index failed, before asking for it tries again
	lostAfter  = 10 * time.Minute // without a sign of progress, before asking for it queues it anew
	unusedFor  = 30 * 24 * time.Hour
)

// Args is the job that makes an index.
type Args struct {
	ID     string      `json:"id"`
	Images []Reference `json:"images"` // one, or the two that are compared
	Team   string      `json:"team"`   // whose page asked for it
}

// Kind names the job.
func (Args) Kind() string { return "file-index" }

// index returns the index where it is ready. Where it is not, it is queued, and
// waited for a little; then the row tells how far it is and the index is nil.
func (s *Service) index(ctx context.Context, row models.FileIndex, args Args) (*layers.Index, *models.FileIndex, error) {
	args.ID = row.ID
	row, err := s.ask(ctx, row, args)
	if err != nil {
		return nil, nil, err
	}
	if row.State == models.IndexWaiting {
		if row, err = s.wait(ctx, row); err != nil {
			return nil, nil, err
		}
	}
	if row.State != models.IndexReady {
		return nil, &row, nil
	}
	x, err := s.open(ctx, &row)
	if gcerrors.Code(err) == gcerrors.NotFound { // it was deleted a moment ago: as if it had never been made
		if err := s.DB.WithContext(ctx).Where("id = ? AND blob = ?", row.ID, row.Blob).Delete(&models.FileIndex{}).Error; err != nil {
			return nil, nil, err
		}
		row.State = models.IndexWaiting
		return nil, &row, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return x, &row, s.used(ctx, &row)
}

// ask returns the index's row, which it writes and queues where nobody has yet, or not for this team.
func (s *Service) ask(ctx context.Context, want models.FileIndex, args Args) (row models.FileIndex, err error) {
	db := s.DB.WithContext(ctx)
	err = db.Where("id = ?", want.ID).Take(&row).Error
	if err == nil && !s.due(row, args.Team) {
		return row, nil
	}
	if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		return row, fmt.Errorf("reading a file index: %w", err)
	}
	err = db.Transaction(func(tx *gorm.DB) error {
		now := s.DB.NowFunc()
		want.State, want.Teams, want.CreatedAt, want.UpdatedAt, want.LastUsedAt = models.IndexWaiting, []string{}, now, now, now
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&want).Error; err != nil {
			return err
		}
		if err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("id = ?", want.ID).Take(&row).Error; err != nil {
			return err
		}
		if !s.due(row, args.Team) {
			return nil
		}
		if row.State == models.IndexFailed || s.lost(row) {
			row.Teams, row.Attempt = nil, 0
		}
		row.State, row.Error, row.UpdatedAt = models.IndexWaiting, "", now
		row.Teams = append(row.Teams, args.Team)
		if err := tx.Select("state", "error", "teams", "attempt", "updated_at").Updates(&row).Error; err != nil {
			return err
		}
		return s.Jobs.Insert(ctx, tx, jobs.QueueDefault, args)
	})
	if err != nil {
		return row, fmt.Errorf("asking for a file index: %w", err)
	}
	return row, nil
}

// due tells whether a job has to be queued for the team to get the index.
func (s *Service) due(row models.FileIndex, team string) bool {
	switch row.State {
	case models.IndexReady:
		return false
	case models.IndexFailed:
		return s.DB.NowFunc().Sub(row.UpdatedAt) > retryAfter
	}
	return s.lost(row) || !slices.Contains(row.Teams, team)
}

func (s *Service) lost(row models.FileIndex) bool {
	return row.State == models.IndexWaiting && s.DB.NowFunc().Sub(row.UpdatedAt) > lostAfter
}

// wait looks for a little while whether the index gets ready: those of most images do.
func (s *Service) wait(ctx context.Context, row models.FileIndex) (models.FileIndex, error) {
	limit := s.Patience
	if limit == 0 {
		limit = patience
	}
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for row.State == models.IndexWaiting {
		select {
		case <-ctx.Done():
			return row, ctx.Err()
		case <-end.C:
			return row, nil
		case <-tick.C:
		}
		var now []models.FileIndex // none where it was pruned meanwhile
		if err := s.DB.WithContext(ctx).Where("id = ?", row.ID).Limit(1).Find(&now).Error; err != nil {
			return row, fmt.Errorf("waiting for a file index: %w", err)
		}
		if len(now) > 0 {
			row = now[0]
		}
	}
	return row, nil
}

// open opens the blob of an index that is ready.
func (s *Service) open(ctx context.Context, row *models.FileIndex) (*layers.Index, error) {
	return layers.Open(ctx, row.Size, func(ctx context.Context, offset, length int64) ([]byte, error) {
		r, err := s.Blobs.NewRangeReader(ctx, row.Blob, offset, length, nil)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		b := make([]byte, length)
		_, err = io.ReadFull(r, b)
		return b, err
	})
}

// used notes that somebody looked at the index, once a day.
func (s *Service) used(ctx context.Context, row *models.FileIndex) error {
	now := s.DB.NowFunc()
	if now.Sub(row.LastUsedAt) < 24*time.Hour {
		return nil
	}
	return s.DB.WithContext(ctx).Model(&models.FileIndex{}).Where("id = ?", row.ID).UpdateColumn("last_used_at", now).Error
}

// tell publishes what became of the index to those who wait for it.
func (s *Service) tell(tx *gorm.DB, id string, teams []string, kind string) error {
	for _, team := range teams {
		e := models.Event{TeamID: team, Kind: kind, Topic: models.FileIndexTopic(id), Data: map[string]string{}}
		if err := events.Publish(tx, e); err != nil {
			return err
		}
	}
	return nil
}

const pruneBatch = 500

// Prune deletes indexes of layers that the embedded registry has no more, and those that nobody looked at for a month.
func (s *Service) Prune(ctx context.Context) error {
	var rows []models.FileIndex
	err := s.DB.WithContext(ctx).
		Where("last_used_at < ? OR (registry = '' AND top <> '' AND NOT EXISTS (SELECT 1 FROM registry_blobs b WHERE b.digest = file_indices.top))", s.DB.NowFunc().Add(-unusedFor)).
		Limit(pruneBatch).Find(&rows).Error
	if err != nil {
		return fmt.Errorf("looking for file indexes that nobody needs: %w", err)
	}
	for _, row := range rows {
		// The blob goes first: a row without one is made anew, a blob without a row would stay for good.
		if row.Blob != "" {
			if err := s.Blobs.Delete(ctx, row.Blob); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
				return fmt.Errorf("deleting a file index: %w", err)
			}
		}
		if err := s.DB.WithContext(ctx).Where("id = ? AND blob = ?", row.ID, row.Blob).Delete(&models.FileIndex{}).Error; err != nil {
			return fmt.Errorf("deleting a file index: %w", err)
		}
	}
	return nil
}
