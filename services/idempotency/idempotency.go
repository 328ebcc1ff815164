// Package idempotency remembers the answers to calls that start work, so that a
// client that calls again, not knowing whether the first call arrived, starts
// nothing twice.
package idempotency

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	keep    = 24 * time.Hour
	abandon = 5 * time.Minute // a first call that has not ended by then died with its process
	maxKey  = 200
)

// Service remembers answers.
type Service struct{ DB *gorm.DB }

// Answer is what the first call was told.
type Answer struct {
	Status int
	Body   []byte
}

// Begin claims the key for a request, told by its hash. It returns the answer
// where the same request was answered before, and nil where the caller is the
// first and must call Finish or Forget. It fails with Conflict while the first
// call still runs, and with Invalid where the key came with another request.
func (s *Service) Begin(ctx context.Context, key, request string) (*Answer, error) {
	if len(key) > maxKey {
		return nil, models.Errorf(models.Invalid, "The Idempotency-Key is longer than %d bytes.", maxKey)
	}
	who, now := caller(ctx), s.DB.NowFunc()
	row := models.IdempotencyKey{Principal: who, Key: key, Request: request, CreatedAt: now}
	var before *models.IdempotencyKey
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var rows []models.IdempotencyKey
		if err := tx.Where("principal = ? AND key = ?", who, key).Find(&rows).Error; err != nil {
			return err
		}
		if len(rows) == 1 && !stale(rows[0], now) {
			before = &rows[0]
			return nil
		}
		if err := tx.Where("principal = ? AND key = ?", who, key).Delete(&models.IdempotencyKey{}).Error; err != nil {
			return err
		}
		return tx.Create(&row).Error
	})
	if errors.Is(err, gorm.ErrDuplicatedKey) { // another call was quicker
		return nil, errRunning
	}
	if err != nil {
		return nil, fmt.Errorf("claiming the idempotency key: %w", err)
	}
	return settled(before, request)
}

var errRunning = models.Errorf(models.Conflict, "The first call with this Idempotency-Key still runs. Call again in a moment.")

func settled(before *models.IdempotencyKey, request string) (*Answer, error) {
	switch {
	case before == nil:
		return nil, nil
	case before.Request != request:
		return nil, models.Errorf(models.Invalid, "This Idempotency-Key was used for another request. Take a new key for each.")
	case before.Status == 0:
		return nil, errRunning
	}
	return &Answer{before.Status, before.Body}, nil
}

func stale(row models.IdempotencyKey, now time.Time) bool {
	age := now.Sub(row.CreatedAt)
	return age > keep || (row.Status == 0 && age > abandon)
}

// Finish remembers the answer to the first call.
func (s *Service) Finish(ctx context.Context, key string, a Answer) error {
	err := s.DB.WithContext(ctx).Model(&models.IdempotencyKey{}).Where("principal = ? AND key = ?", caller(ctx), key).
		Updates(map[string]any{"status": a.Status, "body": a.Body}).Error
	if err != nil {
		return fmt.Errorf("remembering the answer of an idempotency key: %w", err)
	}
	return nil
}

// Forget frees the key of a call that did nothing, so that it may be tried again.
func (s *Service) Forget(ctx context.Context, key string) error {
	err := s.DB.WithContext(ctx).Where("principal = ? AND key = ? AND status = 0", caller(ctx), key).Delete(&models.IdempotencyKey{}).Error
	if err != nil {
		return fmt.Errorf("freeing an idempotency key: %w", err)
	}
	return nil
}

// Prune deletes answers that are too old to be asked for.
func (s *Service) Prune(ctx context.Context) error {
	return s.DB.WithContext(ctx).Where("created_at < ?", s.DB.NowFunc().Add(-keep)).Delete(&models.IdempotencyKey{}).Error
}

// caller is whose keys are meant: a person's are the same in every session.
func caller(ctx context.Context) string {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return ""
	}
	if p.UserID != "" {
		return "user:" + p.UserID
	}
	return "token:" + p.ID
}
