package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// collectBatch is how many rows the collector locks at once.
const collectBatch = 200

// collect deletes uploads that nobody goes on with, takes blobs that no manifest
// needs out of their repositories, and deletes blobs that no repository has:
// all only once nobody has wanted them for the grace. It may run while images are
// pushed.
func (s *Service) collect(ctx context.Context, t *tally) error {
	before := s.DB.NowFunc().Add(-s.grace())
	if err := s.purgeExpired(ctx); err != nil {
		return fmt.Errorf("ending deletions whose time is over: %w", err)
	}
	if err := s.expireUploads(ctx, before, t); err != nil {
		return fmt.Errorf("deleting stale uploads: %w", err)
	}
	if err := s.unlink(ctx, before); err != nil {
		return fmt.Errorf("collecting unused blobs of repositories: %w", err)
	}
	if err := s.condemn(ctx, before); err != nil {
		return fmt.Errorf("collecting unused blobs: %w", err)
	}
	if err := s.markOrphans(ctx, before); err != nil {
		return fmt.Errorf("looking for what no row knows: %w", err)
	}
	if err := s.execute(ctx, t); err != nil {
		return err
	}
	if err := s.storage().purge(ctx, before, func(bytes int64) error { return t.add(ctx, models.RegistryCollection{Bytes: bytes}) }); err != nil {
		return fmt.Errorf("deleting what was left behind: %w", err)
	}
	return nil
}

// expireUploads deletes stale uploads, but those that a request is writing to.
func (s *Service) expireUploads(ctx context.Context, before time.Time, t *tally) error {
	for last := ""; ; {
		var stale []string
		err := s.DB.WithContext(ctx).Model(&models.RegistryUpload{}).Where("touched_at < ? AND id > ?", before, last).
			Order("id").Limit(collectBatch).Pluck("id", &stale).Error
		if err != nil || len(stale) == 0 {
			return err
		}
		for _, id := range stale {
			gone, freed, err := s.storage().expire(ctx, id, before)
			if err != nil {
				return err
			}
			if !gone {
				continue
			}
			if err := t.add(ctx, models.RegistryCollection{Uploads: 1, Bytes: freed}); err != nil {
				return err
			}
		}
		last = stale[len(stale)-1]
	}
}

// markOrphans looks for bytes that no row knows, which no crash leaves, but a
// process that stood still for longer than the grace. Where another
// installation keeps its blobs in the same place, they might be that one's.
func (s *Service) markOrphans(ctx context.Context, before time.Time) error {
	foreign, err := s.foreign(ctx)
	if err != nil || foreign {
		return err
	}
	return s.storage().orphans(ctx, before)
}

// unknownBlobs runs over those of the digests that no blob has.
func (s *Service) unknownBlobs(ctx context.Context, digests []string, each func(d string) error) error {
	var known []string
	if err := s.DB.WithContext(ctx).Model(&models.RegistryBlob{}).Where("digest IN ?", digests).Pluck("digest", &known).Error; err != nil {
		return err
	}
	for _, d := range digests {
		if slices.Contains(known, d) {
			continue
		}
		if err := each(d); err != nil {
			return err
		}
	}
	return nil
}

// condemnOrphan gives content without a row one that is marked.
func (s *Service) condemnOrphan(ctx context.Context, d string, size int64, since time.Time) error {
	now := s.DB.NowFunc()
	row := models.RegistryBlob{Digest: d, Size: size, TouchedAt: since, DeletingAt: &now}
	return s.DB.WithContext(ctx).Clauses(ignore()).Create(&row).Error
}

// unlink takes blobs that no manifest of their repository needs out of it.
func (s *Service) unlink(ctx context.Context, before time.Time) error {
	const unused = "NOT EXISTS (SELECT 1 FROM registry_references r WHERE r.repository = registry_links.repository AND r.child = registry_links.digest)"
	return s.batches(ctx, func(tx *gorm.DB) (int, error) {
		var links []models.RegistryLink
		if err := lock(tx).Where("touched_at < ?", before).Where(unused).Limit(collectBatch).Find(&links).Error; err != nil {
			return 0, err
		}
		// Locked, they are looked at once more: a manifest that was stored while
		// we waited for the lock is seen only now.
		for _, l := range links {
			err := tx.Where("repository = ? AND digest = ? AND touched_at < ?", l.Repository, l.Digest, before).
				Where(unused).Delete(&models.RegistryLink{}).Error
			if err != nil {
				return 0, err
			}
		}
		return len(links), nil
	})
}

// condemn marks blobs that no repository has and no deletion that can be undone. From then on nobody can link them.
func (s *Service) condemn(ctx context.Context, before time.Time) error {
	const unused = "NOT EXISTS (SELECT 1 FROM registry_links l WHERE l.digest = registry_blobs.digest)" +
		" AND NOT EXISTS (SELECT 1 FROM registry_deleted_references d WHERE d.child = registry_blobs.digest)" // can be restored
	return s.batches(ctx, func(tx *gorm.DB) (int, error) {
		var blobs []models.RegistryBlob
		err := lock(tx).Where("touched_at < ? AND deleting_at IS NULL", before).Where(unused).Limit(collectBatch).Find(&blobs).Error
		if err != nil {
			return 0, err
		}
		for _, b := range blobs {
			err := tx.Model(&models.RegistryBlob{}).Where("digest = ? AND touched_at < ?", b.Digest, before).Where(unused).
				UpdateColumn("deleting_at", s.DB.NowFunc()).Error
			if err != nil {
				return 0, err
			}
		}
		return len(blobs), nil
	})
}

// execute deletes marked blobs.
func (s *Service) execute(ctx context.Context, t *tally) error {
	for last := ""; ; {
		var marked []string
		err := s.DB.WithContext(ctx).Model(&models.RegistryBlob{}).Where("deleting_at IS NOT NULL AND digest > ?", last).
			Order("digest").Limit(collectBatch).Pluck("digest", &marked).Error
		if err != nil || len(marked) == 0 {
			return err
		}
		for _, d := range marked {
			gone, freed, err := s.storage().destroy(ctx, digest.Digest(d))
			if err != nil {
				return fmt.Errorf("deleting the blob %s: %w", d, err)
			}
			if !gone {
				continue
			}
			if err := t.add(ctx, models.RegistryCollection{Blobs: 1, Bytes: freed}); err != nil {
				return err
			}
		}
		last = marked[len(marked)-1]
	}
}

// lock is a query for rows that nobody else works on.
func lock(tx *gorm.DB) *gorm.DB {
	return tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate, Options: clause.LockingOptionsSkipLocked})
}

// batches runs one short transaction after another until one finds nothing to do.
func (s *Service) batches(ctx context.Context, run func(tx *gorm.DB) (int, error)) error {
	for {
		n := 0
		err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) (err error) {
			n, err = run(tx)
			return err
		})
		if err != nil || n < collectBatch {
			return err
		}
	}
}

// ignore is the clause that leaves a row alone that is there already.
func ignore() clause.OnConflict { return clause.OnConflict{DoNothing: true} }

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
