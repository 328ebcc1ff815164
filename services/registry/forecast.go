package registry

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// maxForecastTags is how many tags a forecast names.
const maxForecastTags = 20

// Forecast tells what deleting a tag, an image by its digest, or with neither the
// whole repository would take, and what forbids it. The team's maintainers may ask.
func (s *Service) Forecast(ctx context.Context, name, tag, digest string) (*models.DeletionForecast, error) {
	r, err := s.repository(ctx, name, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	f := &models.DeletionForecast{Repository: r.Name, Kind: models.DeletionRepository, Digest: digest, Undo: s.undo()}
	db := s.DB.WithContext(ctx)
	switch {
	case tag != "":
		f.Kind, f.Tags = models.DeletionTag, []string{tag}
		var row models.RegistryTag
		if err := db.Where("repository = ? AND name = ?", r.Name, tag).Take(&row).Error; err != nil {
			return nil, models.FromDB(err, "tag")
		}
		f.Digest, f.TagCount = row.Digest, 1
		return f, forbidden(f, s.checkKept(db, r.Name, row))
	case digest != "":
		f.Kind = models.DeletionImage
		err = db.Where("repository = ? AND digest = ?", r.Name, digest).Select("digest").Take(&models.RegistryManifest{}).Error
		if err != nil {
			return nil, models.FromDB(err, "image")
		}
		if err := forbidden(f, checkWhole(db, r.Name, digest)); err != nil {
			return nil, err
		}
	}
	return f, s.foresee(db, f)
}

// foresee counts what goes with an image or a repository.
func (s *Service) foresee(db *gorm.DB, f *models.DeletionForecast) (err error) {
	var digests []string
	if f.Kind == models.DeletionImage {
		if digests, err = closure(db, f.Repository, f.Digest); err != nil {
			return forbidden(f, err)
		}
	} else if err = db.Model(&models.RegistryManifest{}).Where("repository = ?", f.Repository).Pluck("digest", &digests).Error; err != nil {
		return fmt.Errorf("reading the images of %s: %w", f.Repository, err)
	}
	f.Manifests = int64(len(digests))
	var tags []models.RegistryTag
	q := db.Where("repository = ?", f.Repository)
	if f.Kind == models.DeletionImage {
		q = q.Where("digest IN ?", digests)
	}
	if err := q.Order("name").Find(&tags).Error; err != nil {
		return fmt.Errorf("reading the tags of %s: %w", f.Repository, err)
	}
	f.TagCount = int64(len(tags))
	for _, t := range tags[:min(len(tags), maxForecastTags)] {
		f.Tags = append(f.Tags, t.Name)
	}
	if err := forbidden(f, s.checkFree(db, f.Repository, digests)); err != nil {
		return err
	}
	return forbidden(f, s.checkKept(db, f.Repository, tags...))
}

// forbidden puts what people can be told of the refusal into the forecast.
func forbidden(f *models.DeletionForecast, err error) error {
	if e, ok := errors.AsType[*models.Error](err); ok && e.Code == models.Conflict {
		if f.Forbidden == "" {
			f.Forbidden = e.Message
		}
		return nil
	}
	return err
}
