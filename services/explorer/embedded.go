package explorer

import (
	"context"
	"errors"
	"io"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/images"
	"slipway.dev/services/registry"
)

// Embedded are ways to the images of the embedded registry, for Find and OpenBlob.
type Embedded struct {
	DB       *gorm.DB
	Images   *images.Service
	Registry *registry.Service
}

// Find returns an image of the embedded registry.
func (e *Embedded) Find(ctx context.Context, at Reference) (*models.ImagePassport, error) {
	at.Repository = strings.TrimPrefix(at.Repository, e.Registry.Host()+"/")
	digest := at.Name
	if !at.IsDigest() {
		if err := e.authorize(ctx, at.Repository); err != nil {
			return nil, err
		}
		var tag models.RegistryTag
		err := e.DB.WithContext(ctx).Select("digest").Where("repository = ? AND name = ?", at.Repository, at.Name).Take(&tag).Error
		if err != nil {
			return nil, models.FromDB(err, "image")
		}
		digest = tag.Digest
	}
	return e.Images.Find(ctx, at.Repository, digest)
}

// OpenBlob opens a blob of a repository of the embedded registry.
func (e *Embedded) OpenBlob(ctx context.Context, _, repository, digest string) (io.ReadCloser, int64, error) {
	if err := e.authorize(ctx, repository); err != nil {
		return nil, 0, err
	}
	return e.Registry.OpenBlob(ctx, repository, digest)
}

func (e *Embedded) authorize(ctx context.Context, repository string) error {
	var row models.RegistryRepository
	err := e.DB.WithContext(ctx).Where("name = ?", repository).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return models.Errorf(models.NotFound, "No such image.")
	}
	if err != nil {
		return err
	}
	return models.Authorize(ctx, row.TeamID, models.RoleViewer, "image")
}
