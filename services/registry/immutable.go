package registry

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// mayMove fails where a pattern keeps the tag at the digest that it names. Who
// calls it holds the repository's row, so that a change of the settings comes before or after.
func (s *Service) mayMove(tx *gorm.DB, repository, tag, digest string) error {
	var now Settings
	if err := tx.Where("name = ?", repository).Take(&now.Repository).Error; err != nil {
		return fmt.Errorf("reading the settings of %s: %w", repository, err)
	}
	if err := tx.Where("id = ?", now.Repository.TeamID).Take(&now.Team).Error; err != nil {
		return fmt.Errorf("reading the settings of %s's team: %w", repository, err)
	}
	if p := now.Pattern(tag); p != "" {
		return immutable(now, tag, p, digest)
	}
	return nil
}

// checkAbove fails where an index that a pattern keeps needs the manifest: without
// one of its platforms the tag would name half an image.
func (s *Service) checkAbove(tx *gorm.DB, repository string, d digest.Digest) error {
	var tags []models.RegistryTag
	err := tx.Raw(`WITH RECURSIVE above (digest) AS (
			SELECT r.manifest FROM registry_references r WHERE r.repository = ? AND r.child = ?
			UNION
			SELECT r.manifest FROM registry_references r JOIN above a ON r.child = a.digest WHERE r.repository = ?)
		SELECT t.* FROM registry_tags t JOIN above a ON a.digest = t.digest WHERE t.repository = ? ORDER BY t.name`,
		repository, d.String(), repository, repository).Scan(&tags).Error
	if err != nil {
		return fmt.Errorf("looking for the tags above %s: %w", d, err)
	}
	for _, t := range tags {
		if err := s.mayMove(tx, repository, t.Name, t.Digest); err != nil {
			return err
		}
	}
	return nil
}

// ownTag tells whether the tag was made by the very build that is at work: it
// pushes its image twice, first without annotations, and may begin anew where its worker died.
func ownTag(ctx context.Context, t models.RegistryTag) bool {
	p := models.PrincipalFrom(ctx)
	return p != nil && p.Kind == models.PrincipalSystem && strings.HasPrefix(p.ID, "build:") && p.ID == t.MovedBy
}

func immutable(now Settings, tag, pattern, digest string) error {
	where := "the repository's settings"
	if now.TagsAsTeam() {
		where = "the team's settings"
	}
	return models.Errorf(models.Conflict, "The tag %s of %s is immutable: the pattern %q in %s keeps it at %.19s. Use another tag, or let a maintainer change the pattern.",
		tag, now.Repository.Name, pattern, where, digest)
}

// CheckTags fails with a Conflict that names the pattern where a push of a new
// image would move one of the tags and must not, so that nobody builds for
// nothing. The repository may be given with the registry's host or without; one that is not there yet keeps no tag.
func (s *Service) CheckTags(ctx context.Context, repository string, tags []string) error {
	db := s.DB.WithContext(ctx)
	now, err := s.settings(ctx, db, repository, models.RoleDeveloper)
	if models.IsCode(err, models.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var there []models.RegistryTag
	if err := db.Where("repository = ? AND name IN ?", now.Repository.Name, tags).Order("name").Find(&there).Error; err != nil {
		return fmt.Errorf("looking for the tags of %s: %w", repository, err)
	}
	for _, t := range there {
		if p := now.Pattern(t.Name); p != "" && !ownTag(ctx, t) {
			return immutable(*now, t.Name, p, t.Digest)
		}
	}
	return nil
}
