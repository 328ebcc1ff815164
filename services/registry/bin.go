package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

const (
	defaultUndo = 7 * 24 * time.Hour
	// copyBatch is how many rows one statement names.
	copyBatch = 500
)

// undo is how long a deletion can be restored.
func (s *Service) undo() time.Duration {
	if s.Undo != 0 {
		return max(s.Undo, 0)
	}
	return defaultUndo
}

// Removal is what goes in one deletion: the manifests with all their tags, or one tag alone.
type Removal struct {
	Kind    models.DeletionKind
	Name    string   // what people call it
	Digest  string   // of the image that it is about
	Digests []string // of the manifests that go, with their tags
	Tag     string   // the one tag that goes, where Digests is empty
	RunID   string   // the clean-up that does it
}

// Remove moves what the removal names out of the repository, whose row the
// caller has locked, to where Restore finds it. From then on clients are told
// that it is not there. Nothing is checked here: see Uses and Protected.
func (s *Service) Remove(ctx context.Context, tx *gorm.DB, repository models.RegistryRepository, r Removal) (*models.RegistryDeletion, error) {
	now := s.DB.NowFunc()
	d := &models.RegistryDeletion{
		ID: models.NewID(), TeamID: repository.TeamID, Repository: repository.Name, Kind: r.Kind, Name: r.Name, Digest: r.Digest,
		RunID: r.RunID, DeletedAt: now, ExpiresAt: now.Add(s.undo()),
	}
	d.DeletedBy, d.DeletedByName = actor(ctx)
	if err := tx.Create(d).Error; err != nil {
		return nil, err
	}
	var err error
	if r.Tag != "" {
		err = s.takeTag(ctx, tx, d, r.Tag)
	} else {
		err = s.takeManifests(ctx, tx, d, r.Digests)
	}
	if err != nil {
		return nil, fmt.Errorf("deleting %s of %s: %w", r.Name, repository.Name, err)
	}
	if d.Size, err = heldAlone(tx, d.ID); err != nil {
		return nil, err
	}
	if err := tx.Model(d).Select("manifests", "tags", "size").Updates(d).Error; err != nil {
		return nil, err
	}
	return d, renewLatest(tx, repository.Name)
}

// The columns that are the same where a manifest is there and where it is deleted.
const manifestColumns = `repository, digest, push_id, media_type, artifact_type, subject, annotations, content, config_digest, platforms,
	image_size, pushed_by, pushed_by_name, pushed_at`

func (s *Service) takeManifests(ctx context.Context, tx *gorm.DB, d *models.RegistryDeletion, digests []string) error {
	for part := range slices.Chunk(digests, copyBatch) {
		var tags []models.RegistryTag
		if err := tx.Where("repository = ? AND digest IN ?", d.Repository, part).Order("name").Find(&tags).Error; err != nil {
			return err
		}
		for _, copying := range []string{
			`INSERT INTO registry_deleted_manifests (deletion_id, ` + manifestColumns + `)
				SELECT CAST(? AS TEXT), ` + manifestColumns + ` FROM registry_manifests WHERE repository = ? AND digest IN ?`,
			`INSERT INTO registry_deleted_references (deletion_id, manifest, child, repository)
				SELECT CAST(? AS TEXT), manifest, child, repository FROM registry_references WHERE repository = ? AND manifest IN ?`,
		} {
			if err := tx.Exec(copying, d.ID, d.Repository, part).Error; err != nil {
				return err
			}
		}
		if err := s.takeTags(ctx, tx, d, tags); err != nil {
			return err
		}
		gone := tx.Where("repository = ? AND digest IN ?", d.Repository, part).Delete(&models.RegistryManifest{})
		if gone.Error != nil {
			return gone.Error
		}
		d.Manifests += gone.RowsAffected
	}
	if d.Manifests == 0 {
		return errManifestUnknown
	}
	return nil
}

func (s *Service) takeTag(ctx context.Context, tx *gorm.DB, d *models.RegistryDeletion, name string) error {
	var tag models.RegistryTag
	if err := tx.Where("repository = ? AND name = ?", d.Repository, name).Take(&tag).Error; err != nil {
		return manifestUnknown(err)
	}
	d.Digest = tag.Digest
	if err := tx.Model(d).UpdateColumn("digest", tag.Digest).Error; err != nil {
		return err
	}
	if err := s.takeTags(ctx, tx, d, []models.RegistryTag{tag}); err != nil {
		return err
	}
	return tx.Delete(&tag).Error
}

// takeTags keeps the tags and writes into their history that they went. The caller deletes them.
func (s *Service) takeTags(ctx context.Context, tx *gorm.DB, d *models.RegistryDeletion, tags []models.RegistryTag) error {
	if len(tags) == 0 {
		return nil
	}
	kept := make([]models.RegistryDeletedTag, 0, len(tags))
	events := make([]models.RegistryTagEvent, 0, len(tags))
	id, name := actor(ctx)
	for _, t := range tags {
		kept = append(kept, models.RegistryDeletedTag{DeletionID: d.ID, Name: t.Name, Repository: t.Repository, Digest: t.Digest,
			MovedBy: t.MovedBy, MovedByName: t.MovedByName, MovedAt: t.MovedAt})
		events = append(events, models.RegistryTagEvent{ID: models.NewID(), Repository: t.Repository, Tag: t.Name, Previous: t.Digest,
			ActorID: id, ActorName: name, CreatedAt: d.DeletedAt})
	}
	d.Tags += int64(len(tags))
	if err := tx.CreateInBatches(kept, copyBatch).Error; err != nil {
		return err
	}
	return tx.CreateInBatches(events, copyBatch).Error
}

// heldAlone is how many bytes nothing but the deletion holds.
func heldAlone(tx *gorm.DB, id string) (bytes int64, err error) {
	err = tx.Raw(`SELECT CAST(COALESCE(SUM(b.size), 0) AS BIGINT) FROM registry_blobs b
		WHERE b.digest IN (SELECT child FROM registry_deleted_references WHERE deletion_id = ?)
		AND NOT EXISTS (SELECT 1 FROM registry_links l JOIN registry_references r ON r.repository = l.repository AND r.child = l.digest WHERE l.digest = b.digest)
		AND NOT EXISTS (SELECT 1 FROM registry_deleted_references o WHERE o.child = b.digest AND o.deletion_id <> ?)`, id, id).Scan(&bytes).Error
	return bytes, err
}

// takeOut takes what has just been pushed out of what is deleted: it needs no restoring any more.
func takeOut(tx *gorm.DB, p *push) error {
	var ids []string
	err := tx.Model(&models.RegistryDeletedManifest{}).Where("repository = ? AND digest = ?", p.name, p.digest.String()).Pluck("deletion_id", &ids).Error
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		err := tx.Where("deletion_id IN ? AND digest = ?", ids, p.digest.String()).Delete(&models.RegistryDeletedManifest{}).Error
		if err == nil {
			err = tx.Where("deletion_id IN ? AND manifest = ?", ids, p.digest.String()).Delete(&models.RegistryDeletedReference{}).Error
		}
		if err != nil {
			return err
		}
	}
	if p.tag != "" {
		var named []string
		q := tx.Model(&models.RegistryDeletedTag{}).Where("repository = ? AND name = ? AND digest = ?", p.name, p.tag, p.digest.String())
		if err := q.Pluck("deletion_id", &named).Error; err != nil {
			return err
		}
		if len(named) > 0 {
			if err := tx.Where("deletion_id IN ? AND name = ?", named, p.tag).Delete(&models.RegistryDeletedTag{}).Error; err != nil {
				return err
			}
		}
		ids = append(ids, named...)
	}
	return dropEmpty(tx, ids)
}

// dropEmpty forgets deletions of which nothing is left to restore.
func dropEmpty(tx *gorm.DB, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return tx.Where(`id IN ? AND NOT EXISTS (SELECT 1 FROM registry_deleted_manifests m WHERE m.deletion_id = registry_deletions.id)
		AND NOT EXISTS (SELECT 1 FROM registry_deleted_tags t WHERE t.deletion_id = registry_deletions.id)`, ids).Delete(&models.RegistryDeletion{}).Error
}

// purge ends the deletion: nothing can bring it back, and the collector takes what only it held. It fails with
// gorm.ErrRecordNotFound where somebody else ended it.
func (s *Service) purge(tx *gorm.DB, d models.RegistryDeletion) error {
	// The repository comes first, as everywhere: two who release layers that they share would wait for each other.
	if _, err := lockRepository(tx, d.Repository); err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		return err
	}
	if err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("id = ?", d.ID).Take(&d).Error; err != nil {
		return err
	}
	err := tx.Exec(`UPDATE registry_links SET released_at = ? WHERE repository = ?
		AND digest IN (SELECT child FROM registry_deleted_references WHERE deletion_id = ?)
		AND NOT EXISTS (SELECT 1 FROM registry_references r WHERE r.repository = registry_links.repository AND r.child = registry_links.digest)`,
		s.DB.NowFunc(), d.Repository, d.ID).Error
	if err != nil {
		return fmt.Errorf("releasing the layers of %s: %w", d.Name, err)
	}
	return tx.Delete(&models.RegistryDeletion{}, "id = ?", d.ID).Error
}

// purgeExpired ends the deletions whose time is over.
func (s *Service) purgeExpired(ctx context.Context) error {
	db := s.DB.WithContext(ctx)
	for {
		var over []models.RegistryDeletion
		if err := db.Where("expires_at <= ?", s.DB.NowFunc()).Order("expires_at").Limit(collectBatch).Find(&over).Error; err != nil || len(over) == 0 {
			return err
		}
		for _, d := range over {
			err := db.Transaction(func(tx *gorm.DB) error { return s.purge(tx, d) })
			if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
				return err
			}
		}
	}
}

// lockRepository locks the repository's row: pushes, deletions, deployments and clean-ups of it come one after the other.
func lockRepository(tx *gorm.DB, name string) (repository models.RegistryRepository, err error) {
	err = tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("name = ?", name).Take(&repository).Error
	return repository, err
}
