package observe

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/logs"
)

const (
	keepSize   = 50 << 20
	keepAge    = 7 * 24 * time.Hour
	pruneMost  = 100 // segments that one call deletes for each reason
	orphanTime = time.Minute
)

// PruneLogs deletes what was kept for longer than it may be, and the oldest
// parts of logs that are too big, some at a time; also what belonged to apps and
// environments that are gone. Every worker may run it.
func (s *Service) PruneLogs(ctx context.Context) error {
	for _, find := range []func(context.Context) ([]string, error){s.old, s.tooMuch, s.orphans} {
		ids, err := find(ctx)
		if err != nil {
			return fmt.Errorf("looking for logs to forget: %w", err)
		}
		for _, id := range ids {
			if err := s.drop(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop deletes a segment, unless somebody writes it.
func (s *Service) drop(ctx context.Context, id string) error {
	written := false
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		free := tx.Model(&models.PlaceLog{}).Where("segment_id = ? AND worker = ''", id).Update("segment_id", "")
		if free.Error != nil {
			return free.Error
		}
		var holds int64
		if err := tx.Model(&models.PlaceLog{}).Where("segment_id = ?", id).Count(&holds).Error; err != nil || holds > 0 {
			written = holds > 0
			return err
		}
		return tx.Delete(&models.LogSegment{}, "id = ?", id).Error
	})
	if err != nil {
		return fmt.Errorf("forgetting a part of a log: %w", err)
	}
	if written {
		return nil
	}
	return s.Logs.Delete(ctx, id) // where this fails it is an orphan, and found again
}

// old are the segments whose last line is older than lines are kept.
func (s *Service) old(ctx context.Context) (ids []string, err error) {
	before := s.now().Add(-cmp.Or(s.KeepAge, keepAge))
	return ids, s.DB.WithContext(ctx).Model(&models.LogSegment{}).Where("last_at < ?", before).Order("last_at").Limit(pruneMost).Pluck("id", &ids).Error
}

// tooMuch are the oldest segments of the logs that are bigger than they may be.
func (s *Service) tooMuch(ctx context.Context) (ids []string, err error) {
	limit := cmp.Or(s.KeepSize, keepSize)
	var big []struct {
		PlaceLogID string
		Bytes      int64
	}
	err = s.segments(ctx).Select("log_segments.place_log_id, SUM(log_streams.bytes) AS bytes").Group("log_segments.place_log_id").
		Having("SUM(log_streams.bytes) > ?", limit).Limit(pruneMost).Scan(&big).Error
	if err != nil {
		return nil, err
	}
	for _, log := range big {
		var parts []struct {
			ID    string
			Bytes int64
		}
		err := s.segments(ctx).Select("log_segments.id, log_streams.bytes").Where("log_segments.place_log_id = ?", log.PlaceLogID).Order("log_segments.first").Limit(pruneMost).Scan(&parts).Error
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			if log.Bytes <= limit {
				break
			}
			ids, log.Bytes = append(ids, part.ID), log.Bytes-part.Bytes
		}
		if len(ids) >= pruneMost {
			break
		}
	}
	return ids, nil
}

// orphans are the streams of logs whose app or environment was deleted.
func (s *Service) orphans(ctx context.Context) (ids []string, err error) {
	owned := s.DB.Model(&models.LogSegment{}).Select("1").Where("log_segments.id = log_streams.id")
	err = s.DB.WithContext(ctx).Model(&models.LogStream{}).
		Where("kind = ? AND created_at < ? AND NOT EXISTS (?)", logs.KindDeployment, s.now().Add(-orphanTime), owned).Limit(pruneMost).Pluck("id", &ids).Error
	return ids, err
}

func (s *Service) segments(ctx context.Context) *gorm.DB {
	return s.DB.WithContext(ctx).Model(&models.LogSegment{}).Joins("JOIN log_streams ON log_streams.id = log_segments.id")
}
