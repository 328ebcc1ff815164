package catalog

import (
	"context"
	"errors"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/registries"
)

// shownOfRegistry reads of an app's registry what its members may see.
func shownOfRegistry(tx *gorm.DB) *gorm.DB { return tx.Select("id", "slug", "name", "kind", "host") }

// checkDestination checks where the app's images go: the embedded registry, or
// a repository of an external one that its team may push to and no other app uses.
func (s *Service) checkDestination(ctx context.Context, app *models.App) error {
	app.ImageRepository = strings.Trim(strings.TrimSpace(app.ImageRepository), "/")
	if app.RegistryID == "" {
		app.ImageRepository = ""
		return nil
	}
	if s.Registries == nil {
		return models.InvalidField("registry_id", "There is no such registry.")
	}
	if !registries.ValidRepository(app.ImageRepository) {
		return models.InvalidField("image_repository", registries.RepositoryHelp)
	}
	err := s.Registries.TeamMay(ctx, app.TeamID, app.RegistryID, app.ImageRepository, registries.Push)
	if told, ok := errors.AsType[*models.Error](err); ok {
		switch told.Code {
		case models.NotFound:
			return models.InvalidField("registry_id", "There is no such registry, or it is not granted to the team.")
		case models.Denied:
			return models.InvalidField("image_repository", "%s", told.Message)
		}
	}
	if err != nil {
		return err
	}
	var others int64
	err = s.DB.WithContext(ctx).Model(&models.App{}).Where("registry_id = ? AND image_repository = ? AND id <> ?", app.RegistryID, app.ImageRepository, app.ID).Count(&others).Error
	if err == nil && others > 0 {
		return models.InvalidField("image_repository", "The images of another app go there; the two would move each other's tags. Choose another name.")
	}
	return err
}
