package registry

import (
	"context"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

// deleteManifest deletes a tag, or an image with all its tags.
func (s *Service) deleteManifest(w http.ResponseWriter, r *http.Request, name, reference string) error {
	err := s.DB.WithContext(r.Context()).Transaction(func(tx *gorm.DB) error {
		var repository models.RegistryRepository
		lock := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
		if err := lock.Where("name = ?", name).Take(&repository).Error; err != nil {
			return manifestUnknown(err)
		}
		if !isDigest(reference) {
			return s.deleteTag(r.Context(), tx, repository, reference)
		}
		return s.deleteImage(r.Context(), tx, repository, reference)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// deleteImage deletes the manifest with its tags. What serves somewhere stays.
func (s *Service) deleteImage(ctx context.Context, tx *gorm.DB, repository models.RegistryRepository, reference string) error {
	d, err := parseDigest(reference)
	if err != nil {
		return err
	}
	if err := s.checkIdle(tx, repository.Name, d); err != nil {
		return err
	}
	if err := s.checkAbove(tx, repository.Name, d); err != nil {
		return err
	}
	var tags []models.RegistryTag
	if err := tx.Where("repository = ? AND digest = ?", repository.Name, d.String()).Find(&tags).Error; err != nil {
		return err
	}
	for _, t := range tags {
		if err := s.deleteTag(ctx, tx, repository, t.Name); err != nil {
			return err
		}
	}
	deleted := tx.Where("repository = ? AND digest = ?", repository.Name, d.String()).Delete(&models.RegistryManifest{})
	if deleted.Error != nil {
		return deleted.Error
	}
	if deleted.RowsAffected == 0 {
		return errManifestUnknown
	}
	if err := renewLatest(tx, repository.Name); err != nil {
		return err
	}
	entry := audit.Entry{TeamID: repository.TeamID, Action: "image.delete", Subject: "image:" + repository.Name,
		Name: repository.Name + "@" + d.String(), Detail: map[string]string{"digest": d.String()}}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return err
	}
	return s.publishEvent(tx, repository, "image.deleted", map[string]string{"repository": repository.Name, "digest": d.String()})
}

// checkIdle fails while the image serves somewhere.
func (s *Service) checkIdle(tx *gorm.DB, name string, d digest.Digest) error {
	var places []string
	err := tx.Model(&models.Deployment{}).Joins("JOIN environments ON environments.id = deployments.environment_id").
		Where("deployments.active = ? AND deployments.image_digest = ? AND deployments.image_repository IN ?",
			true, d.String(), []string{name, s.Host() + "/" + name}).
		Order("environments.name").Limit(5).Pluck("environments.name", &places).Error
	if err != nil {
		return err
	}
	if len(places) > 0 {
		return models.Errorf(models.Conflict, "The image runs in %s. Deploy another one there first.", strings.Join(places, ", "))
	}
	return nil
}

// renewLatest finds which image of the repository was pushed last.
func renewLatest(tx *gorm.DB, name string) error {
	latest := tx.Session(&gorm.Session{NewDB: true}).Model(&models.RegistryManifest{}).
		Select("COALESCE(MAX(push_id), '')").Where("repository = ? AND subject = ''", name)
	return tx.Model(&models.RegistryRepository{}).Where("name = ?", name).UpdateColumn("push_id", latest).Error
}
