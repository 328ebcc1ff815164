package registry

import (
	"context"
	"net/http"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// moveTag points the tag at the pushed manifest and writes down where it was
// before, unless a pattern keeps it there. Every way in which a tag moves ends here.
func (s *Service) moveTag(ctx context.Context, tx *gorm.DB, p *push) error {
	var before []models.RegistryTag
	if err := tx.Where("repository = ? AND name = ?", p.name, p.tag).Limit(1).Find(&before).Error; err != nil {
		return err
	}
	event := models.RegistryTagEvent{ID: models.NewID(), Repository: p.name, Tag: p.tag, Digest: p.digest.String(), CreatedAt: s.DB.NowFunc()}
	if len(before) == 1 {
		if event.Previous = before[0].Digest; event.Previous == event.Digest {
			return nil
		}
	}
	event.ActorID, event.ActorName = actor(ctx)
	if event.Previous != "" && !ownTag(ctx, before[0]) {
		if err := s.checkKept(tx, p.name, before[0]); err != nil {
			return err
		}
	}
	tag := models.RegistryTag{Repository: p.name, Name: p.tag, Digest: event.Digest,
		MovedBy: event.ActorID, MovedByName: event.ActorName, MovedAt: event.CreatedAt}
	if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&tag).Error; err != nil {
		return err
	}
	return tx.Create(&event).Error
}

// tags answers the list of a repository's tags.
func (s *Service) tags(w http.ResponseWriter, r *http.Request, name string) error {
	db := s.DB.WithContext(r.Context())
	if err := db.Where("name = ?", name).Take(&models.RegistryRepository{}).Error; err != nil {
		if models.IsCode(models.FromDB(err, "repository"), models.NotFound) {
			return errNameUnknown
		}
		return err
	}
	query := db.Model(&models.RegistryTag{}).Where("repository = ?", name)
	names, err := listNames(w, r, query)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"name": name, "tags": names})
}
