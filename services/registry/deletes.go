package registry

import (
	"context"
	"net/http"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

// deleteManifest deletes a tag, or an image with all its tags. Both can be restored for a while.
func (s *Service) deleteManifest(w http.ResponseWriter, r *http.Request, name, reference string) error {
	err := s.DB.WithContext(r.Context()).Transaction(func(tx *gorm.DB) error {
		repository, err := lockRepository(tx, name)
		if err != nil {
			return manifestUnknown(err)
		}
		if !isDigest(reference) {
			_, err = s.deleteTag(r.Context(), tx, repository, reference)
			return err
		}
		d, err := parseDigest(reference)
		if err != nil {
			return err
		}
		_, err = s.deleteImages(r.Context(), tx, repository, Removal{Kind: models.DeletionImage, Digest: d.String(), Name: d.String(), Digests: []string{d.String()}})
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// deleteTag deletes the tag alone; the image stays, under its digest.
func (s *Service) deleteTag(ctx context.Context, tx *gorm.DB, repository models.RegistryRepository, name string) (*models.RegistryDeletion, error) {
	if err := s.checkKept(tx, repository.Name, models.RegistryTag{Repository: repository.Name, Name: name}); err != nil {
		return nil, err
	}
	d, err := s.Remove(ctx, tx, repository, Removal{Kind: models.DeletionTag, Name: name, Tag: name})
	if err != nil {
		return nil, err
	}
	entry := audit.Entry{TeamID: repository.TeamID, Action: "image.untag", Subject: "image:" + repository.Name,
		Name: repository.Name + ":" + name, Detail: map[string]string{"digest": d.Digest, "tag": name}}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return nil, err
	}
	return d, s.publishEvent(tx, repository, "image.untagged", map[string]string{"repository": repository.Name, "tag": name})
}

// deleteImages deletes the manifests with their tags. What serves somewhere stays, and with it all the others.
func (s *Service) deleteImages(ctx context.Context, tx *gorm.DB, repository models.RegistryRepository, r Removal) (*models.RegistryDeletion, error) {
	if err := s.checkFree(tx, repository.Name, r.Digests); err != nil {
		return nil, err
	}
	for _, d := range r.Digests {
		if err := s.checkAbove(tx, repository.Name, digest.Digest(d)); err != nil {
			return nil, err
		}
	}
	var tags []models.RegistryTag
	if err := tx.Where("repository = ? AND digest IN ?", repository.Name, r.Digests).Find(&tags).Error; err != nil {
		return nil, err
	}
	if err := s.checkKept(tx, repository.Name, tags...); err != nil {
		return nil, err
	}
	d, err := s.Remove(ctx, tx, repository, r)
	if err != nil {
		return nil, err
	}
	return d, s.TellDeleted(ctx, tx, repository, d)
}

// TellDeleted writes the deletion of images into the audit log and tells open pages, as part of tx.
func (s *Service) TellDeleted(ctx context.Context, tx *gorm.DB, repository models.RegistryRepository, d *models.RegistryDeletion) error {
	detail := map[string]string{"digest": d.Digest, "kind": string(d.Kind)}
	if d.RunID != "" {
		detail["clean_up"] = d.RunID
	}
	entry := audit.Entry{TeamID: repository.TeamID, Action: "image.delete", Subject: "image:" + repository.Name, Name: d.Title(), Detail: detail}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return err
	}
	return s.publishEvent(tx, repository, "image.deleted", map[string]string{"repository": repository.Name, "digest": d.Digest})
}

// renewLatest finds which image of the repository was pushed last.
func renewLatest(tx *gorm.DB, name string) error {
	latest := tx.Session(&gorm.Session{NewDB: true}).Model(&models.RegistryManifest{}).
		Select("COALESCE(MAX(push_id), '')").Where("repository = ? AND subject = ''", name)
	return tx.Model(&models.RegistryRepository{}).Where("name = ?", name).UpdateColumn("push_id", latest).Error
}
