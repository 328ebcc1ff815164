package pullthrough

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

const (
	settingKey      = "cache"
	defaultMaxBytes = 50 << 30
	defaultKeepDays = 30
	evictBatch      = 100
	inUse           = 10 * time.Minute // an image that was pulled so lately is not evicted to make room
)

// Settings bound the cache.
type Settings struct {
	MaxBytes int64 `json:"max_bytes"` // of all its blobs
	KeepDays int   `json:"keep_days"` // an image that nobody pulled for so long goes
}

func (s *Service) settings(ctx context.Context) (Settings, error) {
	out := Settings{MaxBytes: defaultMaxBytes, KeepDays: defaultKeepDays}
	var rows []models.Setting
	if err := s.DB.WithContext(ctx).Where("key = ?", settingKey).Limit(1).Find(&rows).Error; err != nil || len(rows) == 0 {
		return out, err
	}
	return out, json.Unmarshal([]byte(rows[0].Value), &out)
}

// used is how many bytes the blobs of the cache's images take.
func (s *Service) used(ctx context.Context) (bytes int64, err error) {
	err = s.DB.WithContext(ctx).Raw(`SELECT COALESCE(SUM(size), 0) FROM registry_blobs WHERE digest IN (
		SELECT l.digest FROM registry_links l WHERE l.repository LIKE ? AND EXISTS (
			SELECT 1 FROM registry_references r WHERE r.repository = l.repository AND r.child = l.digest))`, models.CachePrefix+"%").Scan(&bytes).Error
	if err != nil {
		return 0, fmt.Errorf("measuring the cache: %w", err)
	}
	return bytes, nil
}

// makeRoom evicts what was pulled longest ago until all that is here or on its way, of which one blob has so many
// bytes, fits. Other processes' downloads are counted once they are stored.
func (s *Service) makeRoom(ctx context.Context, more int64) error {
	limits, err := s.settings(ctx)
	if err != nil {
		return err
	}
	if more > limits.MaxBytes {
		return models.Errorf(models.TooLarge, "The layer has %d bytes, more than the cache may hold (%d). An admin can raise its limit.", more, limits.MaxBytes)
	}
	for {
		used, err := s.used(ctx)
		if err != nil || used+s.coming.Load() <= limits.MaxBytes {
			return err
		}
		n, err := s.evictOlder(ctx, s.DB.NowFunc().Add(-inUse), 1)
		if err != nil {
			return err
		}
		if n == 0 {
			return models.Errorf(models.TooLarge, "The cache of base images is full (%d bytes), and all in it is in use. An admin can raise its limit.", limits.MaxBytes)
		}
	}
}

// Sweep evicts what nobody pulled for as long as the settings say, and what is too much. Workers run it regularly.
func (s *Service) Sweep(ctx context.Context) error {
	limits, err := s.settings(ctx)
	if err != nil {
		return err
	}
	before := s.DB.NowFunc().AddDate(0, 0, -limits.KeepDays)
	for {
		n, err := s.evictOlder(ctx, before, evictBatch)
		if err != nil {
			return err
		}
		if n < evictBatch {
			break
		}
	}
	err = s.makeRoom(ctx, 0)
	if models.IsCode(err, models.TooLarge) {
		return nil // what is in use stays
	}
	return err
}

// evictOlder evicts images that were pulled before the time, the longest ago first, and returns how many.
func (s *Service) evictOlder(ctx context.Context, before time.Time, most int) (int, error) {
	var old []models.CacheImage
	err := s.DB.WithContext(ctx).Where("pulled_at < ?", before).Order("pulled_at").Limit(most).Find(&old).Error
	if err != nil {
		return 0, fmt.Errorf("looking for images that nobody pulls: %w", err)
	}
	for _, i := range old {
		if err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return s.evict(ctx, tx, i, before) }); err != nil {
			return 0, fmt.Errorf("evicting %s@%s: %w", i.Repository, i.Digest, err)
		}
	}
	return len(old), nil
}

// evict takes the image out of the cache, unless it was pulled since.
func (s *Service) evict(ctx context.Context, tx *gorm.DB, i models.CacheImage, before time.Time) error {
	gone := tx.Where("repository = ? AND digest = ? AND pulled_at < ?", i.Repository, i.Digest, before).Delete(&models.CacheImage{})
	if gone.Error != nil || gone.RowsAffected == 0 {
		return gone.Error
	}
	return s.drop(ctx, tx, i)
}

func (s *Service) drop(ctx context.Context, tx *gorm.DB, i models.CacheImage) error {
	if err := s.Registry.EvictImage(tx, i.Repository, i.Digest); err != nil {
		return err
	}
	err := tx.Where("repository = ? AND NOT EXISTS (SELECT 1 FROM registry_tags t WHERE t.repository = cache_tags.repository AND t.name = cache_tags.name)", i.Repository).
		Delete(&models.CacheTag{}).Error
	if err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{TeamID: models.CacheTeamID, Action: "cache.evict", Subject: "image:" + i.Repository,
		Name: i.Repository + "@" + i.Digest, Detail: map[string]string{"digest": i.Digest}})
}

// clear takes all images of a repository out of the cache, as part of tx.
func (s *Service) clear(ctx context.Context, tx *gorm.DB, repository string) error {
	lock := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
	if err := lock.Where("name = ?", repository).Take(&models.CacheRepository{}).Error; err != nil {
		return models.FromDB(err, "repository of the cache")
	}
	var all []models.RegistryManifest
	if err := tx.Select("digest").Where("repository = ?", repository).Find(&all).Error; err != nil {
		return err
	}
	var faults []error
	for _, m := range all {
		faults = append(faults, s.drop(ctx, tx, models.CacheImage{Repository: repository, Digest: m.Digest}))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	return tx.Where("name = ?", repository).Delete(&models.CacheRepository{}).Error // with its tags' and images' notes
}
