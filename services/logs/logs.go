// Package logs is the one writer of everything that builds and containers
// print. A stream lives as compressed chunks in the database while it is
// written, so that every process can follow it, and becomes one compressed
// blob when it ends; a reader sees one stream either way.
//
// Every line passes a Masker before it is stored. A log that can't be stored
// never stops or delays what prints it.
package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// The kinds of streams.
const (
	KindBuild      = "build"
	KindDeployment = "deployment" // a part of what the deployments of a place print
)

// Source says who printed a line.
type Source string

// The sources of lines.
const (
	Stdout  Source = "stdout"
	Stderr  Source = "stderr"
	Slipway Source = "slipway" // a remark of Slipway's own
)

// Line is one line of a stream.
type Line struct {
	N      int64     `json:"n"` // from 1, without gaps
	Time   time.Time `json:"time"`
	Step   string    `json:"step,omitempty"` // the id of the build's step, or the instance's name
	Stream Source    `json:"stream"`
	Text   string    `json:"text"` // without line end; may hold ANSI colours
}

// Limits bounds what a stream may cost. A zero field has the default in its comment.
type Limits struct {
	Line   int   // 16 KiB of a line are kept
	Total  int64 // 32 MiB of a stream are kept
	Unsent int   // 8 MiB wait in memory while the database does not take them
}

func (l Limits) withDefaults() Limits {
	if l.Line == 0 {
		l.Line = 16 << 10
	}
	if l.Total == 0 {
		l.Total = 32 << 20
	}
	if l.Unsent == 0 {
		l.Unsent = 8 << 20
	}
	return l
}

// Service keeps the streams.
type Service struct {
	DB     *models.Database
	Blobs  *blob.Bucket
	Limits Limits

	mu    sync.Mutex
	tails map[string]*tail // of the streams that are followed here
}

// Create makes an empty stream as part of tx, so that readers can wait for its first line.
func Create(tx *gorm.DB, id, kind string) error {
	row := models.LogStream{ID: id, Kind: kind}
	if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error; err != nil {
		return fmt.Errorf("making the log of %s %s: %w", kind, id, err)
	}
	return nil
}

// End closes a stream that nobody writes to, as part of tx. One that does not exist is no error.
func End(tx *gorm.DB, id string) error {
	err := tx.Model(&models.LogStream{}).Where("id = ?", id).Updates(map[string]any{"closed": true, "writer": ""}).Error
	if err != nil {
		return fmt.Errorf("closing the log %s: %w", id, err)
	}
	return nil
}

// Stream returns what is known of a stream: its length, whether it is whole, and why not.
func (s *Service) Stream(ctx context.Context, id string) (models.LogStream, error) {
	var row models.LogStream
	err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return models.LogStream{ID: id}, nil
	}
	if err != nil {
		return row, fmt.Errorf("reading the log %s: %w", id, err)
	}
	return row, nil
}

// Sweep packs streams that are closed and could not be packed when they ended. Run it regularly.
func (s *Service) Sweep(ctx context.Context) error {
	var ids []string
	err := s.DB.WithContext(ctx).Model(&models.LogStream{}).
		Where("closed AND blob = '' AND updated_at < ?", s.DB.NowFunc().Add(-time.Minute)).Limit(100).Pluck("id", &ids).Error
	if err != nil {
		return fmt.Errorf("looking for logs to pack: %w", err)
	}
	for _, id := range ids {
		if err := s.pack(ctx, id); err != nil {
			slog.WarnContext(ctx, "a log could not be packed and stays in the database", "stream", id, "error", err)
		}
	}
	return ctx.Err()
}

// Delete removes the streams with all that is stored of them. One that does not exist is no error.
func (s *Service) Delete(ctx context.Context, ids ...string) error {
	var rows []models.LogStream
	if err := s.DB.WithContext(ctx).Where("id IN ?", ids).Find(&rows).Error; err != nil {
		return fmt.Errorf("looking for logs to delete: %w", err)
	}
	for _, row := range rows {
		if row.Blob == "" {
			continue
		}
		if err := s.Blobs.Delete(ctx, row.Blob); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			return fmt.Errorf("deleting the log %s: %w", row.ID, err)
		}
	}
	if err := s.DB.WithContext(ctx).Where("id IN ?", ids).Delete(&models.LogStream{}).Error; err != nil {
		return fmt.Errorf("deleting logs: %w", err)
	}
	return nil
}
