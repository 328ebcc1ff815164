package images

import (
	"context"
	"errors"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Resolve returns the digest that a tag or a digest of the app's repository
// means at this moment. A full name, such as localhost:8080/payments/checkout:main
// or …@sha256:…, is understood too. It fails with an Invalid error about the
// field image where the repository has no such image.
func (s *Service) Resolve(ctx context.Context, app *models.App, reference string) (digest string, err error) {
	if err := models.Authorize(ctx, app.TeamID, models.RoleViewer, "app"); err != nil {
		return "", err
	}
	name, err := s.RepositoryOf(ctx, app)
	if err != nil {
		return "", err
	}
	reference = s.short(name, strings.TrimSpace(reference))
	db := s.DB.WithContext(ctx)
	if strings.Contains(reference, ":") {
		var m models.RegistryManifest
		err = db.Select("digest").Where("repository = ? AND digest = ?", name, reference).Take(&m).Error
		return m.Digest, s.noImage(err, name, reference)
	}
	var tag models.RegistryTag
	err = db.Where("repository = ? AND name = ?", name, reference).Take(&tag).Error
	return tag.Digest, s.noImage(err, name, reference)
}

// short takes the repository's name off the reference.
func (s *Service) short(name, reference string) string {
	rest := strings.TrimPrefix(s.local(reference), name)
	if rest != reference && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "@")) {
		return rest[1:]
	}
	return reference
}

func (s *Service) noImage(err error, name, reference string) error {
	if !errors.Is(err, gorm.ErrRecordNotFound) {
		return err
	}
	return models.InvalidField("image", "The registry has no image %q in %s. Build one, or push it there.", reference, name)
}
