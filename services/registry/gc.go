package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// collectBatch is how many rows the collector locks at once.
const collectBatch = 200

// Collect deletes uploads that nobody goes on with, takes blobs that no manifest
// needs out of their repositories, and deletes blobs that no repository has:
// all only once nobody has wanted them for the grace. It may run while images are
// pushed and while another process does the same.
func (s *Service) Collect(ctx context.Context) error {
	before := s.DB.NowFunc().Add(-s.grace())
	if err := s.purgeExpired(ctx); err != nil {
		return fmt.Errorf("ending deletions whose time is over: %w", err)
	}
	if err := s.purgeUploads(ctx, before); err != nil {
		return fmt.Errorf("deleting stale uploads: %w", err)
	}
	if err := s.unlink(ctx, before); err != nil {
		return fmt.Errorf("collecting unused blobs of repositories: %w", err)
	}
	if err := s.condemn(ctx, before); err != nil {
		return fmt.Errorf("collecting unused blobs: %w", err)
	}
	return s.execute(ctx)
}

// purgeUploads deletes stale uploads, and files that a crash left without a row.
func (s *Service) purgeUploads(ctx context.Context, before time.Time) error {
	var stale []models.RegistryUpload
	if err := s.DB.WithContext(ctx).Select("id").Where("touched_at < ?", before).Limit(10 * collectBatch).Find(&stale).Error; err != nil {
		return err
	}
	for _, up := range stale {
		if err := s.purgeUpload(ctx, up.ID); err != nil {
			return err
		}
	}
	files, err := os.ReadDir(filepath.Join(s.Folder, "uploads"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, file := range files {
		info, err := file.Info()
		if err == nil && info.ModTime().Before(before) {
			err = s.purgeUpload(ctx, file.Name())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// purgeUpload deletes the upload unless a request is writing to it.
func (s *Service) purgeUpload(ctx context.Context, id string) error {
	f, err := s.openUpload(id)
	if errors.Is(err, errUploadBusy) {
		return nil
	}
	if err == nil {
		defer f.Close()
	} else if !errors.Is(err, errUploadUnknown) {
		return err
	}
	return s.dropUpload(ctx, id)
}

// unlink takes blobs that no manifest of their repository needs out of it.
func (s *Service) unlink(ctx context.Context, before time.Time) error {
	const unused = "NOT EXISTS (SELECT 1 FROM registry_references r WHERE r.repository = registry_links.repository AND r.child = registry_links.digest)"
	return s.batches(ctx, func(tx *gorm.DB) (int, error) {
		var links []models.RegistryLink
		if err := s.lock(tx).Where("touched_at < ?", before).Where(unused).Limit(collectBatch).Find(&links).Error; err != nil {
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
		err := s.lock(tx).Where("touched_at < ? AND deleting_at IS NULL", before).Where(unused).Limit(collectBatch).Find(&blobs).Error
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

// execute deletes the files of marked blobs and then their rows. After a crash
// in between, the next run finds the row and no file, and goes on.
func (s *Service) execute(ctx context.Context) error {
	var blobs []models.RegistryBlob
	if err := s.DB.WithContext(ctx).Where("deleting_at IS NOT NULL").Find(&blobs).Error; err != nil {
		return err
	}
	for _, b := range blobs {
		if err := s.executeOne(ctx, b.Digest); err != nil {
			return fmt.Errorf("deleting the blob %s: %w", b.Digest, err)
		}
	}
	return nil
}

// executeOne deletes one marked blob under its row's lock, so that a push of the
// same content comes before, and saves it, or after, and stores it anew.
func (s *Service) executeOne(ctx context.Context, name string) error {
	d, err := digest.Parse(name)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var marked []models.RegistryBlob
		if err := s.lock(tx).Where("digest = ? AND deleting_at IS NOT NULL", name).Find(&marked).Error; err != nil || len(marked) == 0 {
			return err
		}
		if err := remove(s.blobPath(d)); err != nil {
			return err
		}
		return tx.Delete(&marked[0]).Error
	})
}

// lock is a query for rows that nobody else works on.
func (s *Service) lock(tx *gorm.DB) *gorm.DB {
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
