package registry

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

// Restore brings back what the deletion took, exactly as it was: the manifests
// under their digests, with what is about them, and the tags. What can't come
// back, since a tag names another image by now, is left out and said. The team's
// maintainers may.
func (s *Service) Restore(ctx context.Context, id string) (*models.Restored, error) {
	d, err := s.deletion(ctx, id, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	out := &models.Restored{Deletion: *d}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		out.Tags, out.LeftOut = nil, nil
		if err := s.ensureRepository(tx, d.Repository); err != nil {
			return err
		}
		repository, err := lockRepository(tx, d.Repository)
		if err != nil {
			return err
		}
		held := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("id = ?", id)
		if err := held.Take(&models.RegistryDeletion{}).Error; err != nil {
			return models.FromDB(err, "deletion")
		}
		return s.restore(ctx, tx, repository, out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) restore(ctx context.Context, tx *gorm.DB, repository models.RegistryRepository, out *models.Restored) error {
	d := out.Deletion
	if err := s.restoreManifests(tx, out); err != nil {
		return err
	}
	if err := s.restoreTags(ctx, tx, out); err != nil {
		return err
	}
	if err := tx.Delete(&models.RegistryDeletion{}, "id = ?", d.ID).Error; err != nil {
		return err
	}
	if err := renewLatest(tx, repository.Name); err != nil {
		return err
	}
	entry := audit.Entry{TeamID: repository.TeamID, Action: "image.restore", Subject: "image:" + repository.Name, Name: d.Title(),
		Detail: map[string]string{"digest": d.Digest, "kind": string(d.Kind)}}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return err
	}
	return s.publishEvent(tx, repository, "image.restored", map[string]string{"repository": repository.Name, "digest": d.Digest})
}

// restoreManifests brings the manifests back, with their blobs, which nothing has taken while the deletion held them.
func (s *Service) restoreManifests(tx *gorm.DB, out *models.Restored) error {
	d, now := out.Deletion, s.DB.NowFunc()
	const wanted = "(SELECT child FROM registry_deleted_references WHERE deletion_id = ?)"
	for _, step := range []struct {
		sql  string
		args []any
	}{
		{"UPDATE registry_blobs SET touched_at = ? WHERE deleting_at IS NULL AND digest IN " + wanted, []any{now, d.ID}},
		{`INSERT INTO registry_links (repository, digest, touched_at) SELECT CAST(? AS TEXT), digest, touched_at FROM registry_blobs
			WHERE deleting_at IS NULL AND digest IN ` + wanted + `
			ON CONFLICT (repository, digest) DO UPDATE SET touched_at = excluded.touched_at, released_at = NULL`, []any{d.Repository, d.ID}},
		{"INSERT INTO registry_manifests (" + manifestColumns + ") SELECT " + manifestColumns + ` FROM registry_deleted_manifests
			WHERE deletion_id = ? ON CONFLICT (repository, digest) DO NOTHING`, []any{d.ID}},
		{`INSERT INTO registry_references (repository, manifest, child) SELECT repository, manifest, child FROM registry_deleted_references
			WHERE deletion_id = ? ON CONFLICT (repository, manifest, child) DO NOTHING`, []any{d.ID}},
	} {
		if err := tx.Exec(step.sql, step.args...).Error; err != nil {
			return fmt.Errorf("restoring %s: %w", d.Title(), err)
		}
	}
	return findMissing(tx, out)
}

// findMissing says which images of restored indexes are not there.
func findMissing(tx *gorm.DB, out *models.Restored) error {
	var missing []models.RegistryDeletedReference
	err := tx.Where(`deletion_id = ?
		AND manifest IN (SELECT digest FROM registry_deleted_manifests WHERE deletion_id = ? AND config_digest = '')
		AND NOT EXISTS (SELECT 1 FROM registry_manifests m WHERE m.repository = registry_deleted_references.repository AND m.digest = registry_deleted_references.child)
		AND NOT EXISTS (SELECT 1 FROM registry_links l WHERE l.repository = registry_deleted_references.repository AND l.digest = registry_deleted_references.child)`,
		out.Deletion.ID, out.Deletion.ID).Order("child").Limit(20).Find(&missing).Error
	if err != nil {
		return fmt.Errorf("looking for the platforms of %s: %w", out.Deletion.Title(), err)
	}
	for _, m := range missing {
		out.LeftOut = append(out.LeftOut, fmt.Sprintf("%s, which %s names, is not in the registry; where it was deleted on its own, restore it too.", m.Child, m.Manifest))
	}
	return nil
}

// restoreTags gives the images their names back, where nothing else has got them meanwhile.
func (s *Service) restoreTags(ctx context.Context, tx *gorm.DB, out *models.Restored) error {
	var tags []models.RegistryDeletedTag
	if err := tx.Where("deletion_id = ?", out.Deletion.ID).Order("name").Find(&tags).Error; err != nil {
		return err
	}
	id, name := actor(ctx)
	for _, t := range tags {
		reason, err := cantTag(tx, t)
		if err != nil {
			return err
		}
		if reason != "" {
			out.LeftOut = append(out.LeftOut, reason)
			continue
		}
		row := models.RegistryTag{Repository: t.Repository, Name: t.Name, Digest: t.Digest, MovedBy: t.MovedBy, MovedByName: t.MovedByName, MovedAt: t.MovedAt}
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		event := models.RegistryTagEvent{ID: models.NewID(), Repository: t.Repository, Tag: t.Name, Digest: t.Digest, ActorID: id, ActorName: name, CreatedAt: s.DB.NowFunc()}
		if err := tx.Create(&event).Error; err != nil {
			return err
		}
		out.Tags = append(out.Tags, t.Name)
	}
	if out.Deletion.Kind == models.DeletionTag && len(out.Tags) == 0 {
		return models.Errorf(models.Conflict, "%s", out.LeftOut[0])
	}
	return nil
}

// cantTag says why the tag can't come back; empty where it can.
func cantTag(tx *gorm.DB, t models.RegistryDeletedTag) (string, error) {
	var now []models.RegistryTag
	if err := tx.Where("repository = ? AND name = ?", t.Repository, t.Name).Limit(1).Find(&now).Error; err != nil {
		return "", err
	}
	if len(now) == 1 {
		return fmt.Sprintf("The tag %s names %s by now and stays there.", t.Name, now[0].Digest), nil
	}
	var there int64
	if err := tx.Model(&models.RegistryManifest{}).Where("repository = ? AND digest = ?", t.Repository, t.Digest).Count(&there).Error; err != nil {
		return "", err
	}
	if there == 0 {
		return fmt.Sprintf("The tag %s named %s, which was deleted too. Restore the image first.", t.Name, t.Digest), nil
	}
	return "", nil
}
