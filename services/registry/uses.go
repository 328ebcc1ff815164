package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// Serving tells of a row of deployments whether its image is or will be needed:
// it serves, it has not come to its end yet, or its instances are not gone.
const Serving = `(deployments.active OR deployments.state NOT IN ('succeeded', 'failed', 'canceled', 'rolled_back')
	OR (deployments.retired_at IS NULL AND (deployments.drain_until IS NOT NULL
		OR EXISTS (SELECT 1 FROM instances i WHERE i.deployment_id = deployments.id AND i.state <> 'stopped'))))`

// checkFree fails while one of the images runs or is about to, by itself, as a
// platform of an index or as an index with a platform that runs. The digest
// counts wherever it was deployed from.
func (s *Service) checkFree(tx *gorm.DB, name string, digests []string) error {
	for part := range slices.Chunk(digests, copyBatch) {
		var related []string
		err := tx.Raw(`SELECT manifest FROM registry_references WHERE repository = ? AND child IN ?
			UNION SELECT r.child FROM registry_references r JOIN registry_manifests m ON m.repository = r.repository AND m.digest = r.child
				WHERE r.repository = ? AND r.manifest IN ?`, name, part, name, part).Scan(&related).Error
		if err != nil {
			return fmt.Errorf("looking for the platforms of images: %w", err)
		}
		var places []string
		err = tx.Model(&models.Deployment{}).Joins("JOIN environments ON environments.id = deployments.environment_id").
			Where("deployments.image_digest IN ?", slices.Concat(part, related)).Where(Serving).
			Group("environments.name").Order("environments.name").Limit(5).Pluck("environments.name", &places).Error
		if err != nil {
			return err
		}
		if len(places) > 0 {
			return models.Errorf(models.Conflict, "The image runs in %s. Deploy another one there first.", strings.Join(places, ", "))
		}
	}
	return nil
}

// Hold makes sure that the image is there, and keeps deletions and clean-ups of
// its repository away until tx ends: what is deployed in tx is seen by them
// afterwards. Images of other registries are none of this one's business.
func (s *Service) Hold(ctx context.Context, tx *gorm.DB, repository, digest string) error {
	name := s.localName(repository)
	if first, _, _ := strings.Cut(name, "/"); strings.ContainsAny(first, ".:") {
		return nil // a host
	}
	var row models.RegistryRepository
	q := tx.WithContext(ctx).Clauses(clause.Locking{Strength: clause.LockingStrengthShare})
	if err := q.Where("name = ?", name).Limit(1).Find(&row).Error; err != nil {
		return fmt.Errorf("holding the image: %w", err)
	}
	var there int64
	err := tx.WithContext(ctx).Model(&models.RegistryManifest{}).Where("repository = ? AND digest = ?", name, digest).Count(&there).Error
	if err != nil {
		return fmt.Errorf("holding the image: %w", err)
	}
	if there == 0 {
		return models.InvalidField("image", "The image %s was deleted from %s. Restore it under Deleted, or choose another one.", digest, name)
	}
	return nil
}
