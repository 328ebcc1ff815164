package deploy

import (
	"context"
	"math"
	"slices"
	"strconv"

	"slipway.dev/models"
	"slipway.dev/services/registries"
)

const (
	pricePrefix = "price_" // of the settings with an admin's prices
	maxPrice    = 1e6      // US dollars
)

// AllFields are the settings of the kind's targets: its own, and those that Slipway itself understands.
func (k Kind) AllFields() []Field {
	fields := slices.Clone(k.Fields)
	if k.Mirrors {
		fields = append(fields,
			Field{Group: "Images", Name: models.TargetRegistry, Label: "Registry that it pulls from", Registry: true,
				Help: "A rollout copies the image there first, by its digest, where it is elsewhere. Without one, images are pulled from where they are."},
			Field{Name: models.TargetRegistryPath, Label: "Path in that registry", Example: "apps",
				Help: "What the names of repositories begin with there; the team and the app follow. Google's registry needs PROJECT/REPOSITORY."})
	}
	for _, p := range k.Prices {
		list := strconv.FormatFloat(p.Amount, 'f', -1, 64)
		fields = append(fields, Field{Name: pricePrefix + p.Name, Label: p.Title, Price: true, Example: list,
			Help: "US dollars for one " + p.Unit + ". While this is empty it is " + list + ", by the list for " + k.PricesOf + "."})
	}
	return fields
}

// checkOwn looks at those settings of a target that Slipway itself understands.
func (s *Service) checkOwn(ctx context.Context, kind Kind, settings map[string]string) error {
	wrong := map[string]string{}
	for _, p := range kind.Prices {
		if text := settings[pricePrefix+p.Name]; text != "" && !validPrice(text) {
			wrong[pricePrefix+p.Name] = "Give US dollars as a number, such as 0.04; empty for the list price."
		}
	}
	if err := s.checkRegistry(ctx, kind, settings, wrong); err != nil {
		return err
	}
	return models.InvalidFields(wrong)
}

func validPrice(text string) bool {
	n, err := strconv.ParseFloat(text, 64)
	return err == nil && !math.IsNaN(n) && n >= 0 && n <= maxPrice
}

func (s *Service) checkRegistry(ctx context.Context, kind Kind, settings, wrong map[string]string) error {
	id, path := settings[models.TargetRegistry], settings[models.TargetRegistryPath]
	switch {
	case !kind.Mirrors:
		return nil
	case path != "" && (id == "" || id == models.EmbeddedRegistry):
		wrong[models.TargetRegistryPath] = "Only an external registry has a path; in the portal's own, repositories are the teams'."
	case path != "" && !registries.ValidRepository(path):
		wrong[models.TargetRegistryPath] = registries.RepositoryHelp
	}
	if id == "" || id == models.EmbeddedRegistry {
		return nil
	}
	var there int64
	err := s.DB.WithContext(ctx).Model(&models.Registry{}).Where("id = ?", id).Count(&there).Error
	if err == nil && there == 0 {
		wrong[models.TargetRegistry] = "There is no such registry."
	}
	return err
}
