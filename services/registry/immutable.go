package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// KeptTags returns why tags of the repository may neither move nor go, by their
// names; those that may are left out. Who acts on it in tx holds the repository's
// row, so that a change of the settings comes before or after.
func (s *Service) KeptTags(tx *gorm.DB, repository string, tags []models.RegistryTag) (map[string]string, error) {
	var now Settings
	if err := tx.Where("name = ?", repository).Take(&now.Repository).Error; err != nil {
		return nil, fmt.Errorf("reading the settings of %s: %w", repository, err)
	}
	if err := tx.Where("id = ?", now.Repository.TeamID).Take(&now.Team).Error; err != nil {
		return nil, fmt.Errorf("reading the settings of %s's team: %w", repository, err)
	}
	return now.kept(tags), nil
}

func (s Settings) kept(tags []models.RegistryTag) map[string]string {
	where := "the repository's settings"
	if s.TagsAsTeam() {
		where = "the team's settings"
	}
	out := map[string]string{}
	for _, t := range tags {
		if p := s.Pattern(t.Name); p != "" {
			out[t.Name] = fmt.Sprintf("the pattern %q in %s keeps it", p, where)
		}
	}
	return out
}

// checkKept fails where a pattern keeps one of the tags at the digest that it names.
func (s *Service) checkKept(tx *gorm.DB, repository string, tags ...models.RegistryTag) error {
	why, err := s.KeptTags(tx, repository, tags)
	if err != nil {
		return err
	}
	return immutable(repository, tags, why)
}

func immutable(repository string, tags []models.RegistryTag, why map[string]string) error {
	for _, t := range tags {
		if reason := why[t.Name]; reason != "" {
			return models.Errorf(models.Conflict, "The tag %s of %s is immutable: %s at %.19s. Use another tag, or let a maintainer change the pattern.",
				t.Name, repository, reason, t.Digest)
		}
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
	if len(tags) == 0 {
		return nil
	}
	return s.checkKept(tx, repository, tags...)
}

// ownTag tells whether the tag was made by the very build that is at work: it
// pushes its image twice, first without annotations, and may begin anew where its worker died.
func ownTag(ctx context.Context, t models.RegistryTag) bool {
	p := models.PrincipalFrom(ctx)
	return p != nil && p.Kind == models.PrincipalSystem && strings.HasPrefix(p.ID, "build:") && p.ID == t.MovedBy
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
	there = slices.DeleteFunc(there, func(t models.RegistryTag) bool { return ownTag(ctx, t) })
	return immutable(now.Repository.Name, there, now.kept(there))
}
