package registry

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

// maxTaken is how many manifests the deletion of one image takes along: its platforms and what is about them.
const maxTaken = 5000

// attachedTag is the form of tags by which tools name what is about another manifest (cosign, "Signature discovery").
var attachedTag = regexp.MustCompile(`^sha256-([0-9a-f]{64})(\.[A-Za-z0-9._-]+)?$`)

// AttachedTo is the digest of the manifest that a tag such as sha256-….sig says it is about; empty for other tags.
func AttachedTo(tag string) string {
	if m := attachedTag.FindStringSubmatch(tag); m != nil {
		return "sha256:" + m[1]
	}
	return ""
}

// repository finds the repository for the context's principal, who must have the role in its team.
func (s *Service) repository(ctx context.Context, name string, role models.Role) (row models.RegistryRepository, err error) {
	if err := s.DB.WithContext(ctx).Where("name = ?", s.localName(name)).Take(&row).Error; err != nil {
		return row, models.FromDB(err, "image repository")
	}
	return row, models.Authorize(ctx, row.TeamID, role, "image repository")
}

// DeleteTag deletes a tag; its image stays. The team's maintainers may, and can restore it for a while.
func (s *Service) DeleteTag(ctx context.Context, name, tag string) (*models.RegistryDeletion, error) {
	return s.delete(ctx, name, func(tx *gorm.DB, r models.RegistryRepository) (*models.RegistryDeletion, error) {
		return s.deleteTag(ctx, tx, r, tag)
	})
}

// DeleteImage deletes an image with its tags, its platforms that nothing else
// needs, and the signatures and the like that are about them. The team's
// maintainers may, unless it runs, and can restore it for a while.
func (s *Service) DeleteImage(ctx context.Context, name, digest string) (*models.RegistryDeletion, error) {
	return s.delete(ctx, name, func(tx *gorm.DB, r models.RegistryRepository) (*models.RegistryDeletion, error) {
		if err := checkWhole(tx, r.Name, digest); err != nil {
			return nil, err
		}
		digests, err := closure(tx, r.Name, digest)
		if err != nil {
			return nil, err
		}
		return s.deleteImages(ctx, tx, r, Removal{Kind: models.DeletionImage, Name: digest, Digest: digest, Digests: digests})
	})
}

// DeleteRepository deletes every image of the repository. The team's maintainers
// may, unless one of them runs, and can restore it for a while.
func (s *Service) DeleteRepository(ctx context.Context, name string) (*models.RegistryDeletion, error) {
	return s.delete(ctx, name, func(tx *gorm.DB, r models.RegistryRepository) (*models.RegistryDeletion, error) {
		var digests []string
		if err := tx.Model(&models.RegistryManifest{}).Where("repository = ?", r.Name).Order("push_id").Pluck("digest", &digests).Error; err != nil {
			return nil, err
		}
		return s.deleteImages(ctx, tx, r, Removal{Kind: models.DeletionRepository, Name: r.Name, Digests: digests})
	})
}

func (s *Service) delete(ctx context.Context, name string, run func(*gorm.DB, models.RegistryRepository) (*models.RegistryDeletion, error)) (d *models.RegistryDeletion, err error) {
	found, err := s.repository(ctx, name, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		repository, err := lockRepository(tx, found.Name)
		if err != nil {
			return models.FromDB(err, "image repository")
		}
		d, err = run(tx, repository)
		return err
	})
	if err != nil {
		return nil, ofRegistry(err)
	}
	return d, nil
}

// ofRegistry turns what clients of the registry are told into what people are told.
func ofRegistry(err error) error {
	if err == errManifestUnknown { //nolint:errorlint // it is returned as it is
		return models.Errorf(models.NotFound, "No such image.")
	}
	return err
}

// checkWhole fails where the image is a platform of an index that would be broken without it.
func checkWhole(tx *gorm.DB, name, digest string) error {
	var parents []string
	err := tx.Model(&models.RegistryReference{}).Where("repository = ? AND child = ?", name, digest).Limit(1).Pluck("manifest", &parents).Error
	if err != nil {
		return fmt.Errorf("looking for the indexes of an image: %w", err)
	}
	if len(parents) > 0 {
		return models.Errorf(models.Conflict, "The image is a part of %s. Delete that one, and this goes with it.", parents[0])
	}
	return nil
}

// closure returns the image with what goes with it: platforms without a tag
// that no other index names, and what is about any of these.
func closure(tx *gorm.DB, name, digest string) ([]string, error) {
	all, next := []string{digest}, []string{digest}
	for len(next) > 0 {
		var found []string
		err := tx.Raw(`SELECT digest FROM registry_manifests WHERE repository = ? AND subject IN ?
			UNION SELECT digest FROM registry_tags WHERE repository = ? AND name IN ?
			UNION SELECT r.child FROM registry_references r JOIN registry_manifests m ON m.repository = r.repository AND m.digest = r.child
				WHERE r.repository = ? AND r.manifest IN ?
				AND NOT EXISTS (SELECT 1 FROM registry_tags t WHERE t.repository = r.repository AND t.digest = r.child)
				AND NOT EXISTS (SELECT 1 FROM registry_references o WHERE o.repository = r.repository AND o.child = r.child AND o.manifest NOT IN ?)`,
			name, next, name, attachedTags(next), name, next, all).Scan(&found).Error
		if err != nil {
			return nil, fmt.Errorf("looking for what goes with an image: %w", err)
		}
		next = slices.DeleteFunc(found, func(d string) bool { return slices.Contains(all, d) })
		if all = append(all, next...); len(all) > maxTaken {
			return nil, models.Errorf(models.Conflict, "More than %d manifests are about this image. Delete those first.", maxTaken)
		}
	}
	return all, nil
}

// attachedTags are the tags by which tools name what is about the manifests.
func attachedTags(digests []string) []string {
	var out []string
	for _, d := range digests {
		if len(d) == len("sha256:")+64 && d[:7] == "sha256:" {
			for _, kind := range []string{"", ".sig", ".att", ".sbom"} {
				out = append(out, "sha256-"+d[7:]+kind)
			}
		}
	}
	return out
}

// DeletionFilter narrows the list of what was deleted. One of team, repository and clean-up is needed.
type DeletionFilter struct {
	models.Page
	TeamID     string
	Repository string
	RunID      string
}

// Deletions lists what was deleted and can be restored, newest first; the team's viewers may.
func (s *Service) Deletions(ctx context.Context, f DeletionFilter) (models.List[models.RegistryDeletion], error) {
	none := models.List[models.RegistryDeletion]{}
	q := s.DB.WithContext(ctx)
	if f.Repository != "" {
		r, err := s.repository(ctx, f.Repository, models.RoleViewer)
		if err != nil {
			return none, err
		}
		f.TeamID = r.TeamID
		q = q.Where("repository = ?", r.Name)
	}
	if err := models.Authorize(ctx, f.TeamID, models.RoleViewer, "team"); err != nil {
		return none, err
	}
	q = q.Where("team_id = ?", f.TeamID)
	if f.RunID != "" {
		q = q.Where("run_id = ?", f.RunID)
	}
	return models.Newest(q, f.Page, "id", func(d models.RegistryDeletion) string { return d.ID })
}

// Deletion returns a deletion that can be restored; the team's viewers may.
func (s *Service) Deletion(ctx context.Context, id string) (*models.RegistryDeletion, error) {
	return s.deletion(ctx, id, models.RoleViewer)
}

func (s *Service) deletion(ctx context.Context, id string, role models.Role) (*models.RegistryDeletion, error) {
	var d models.RegistryDeletion
	if err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&d).Error; err != nil {
		return nil, models.FromDB(err, "deletion")
	}
	if err := models.Authorize(ctx, d.TeamID, role, "deletion"); err != nil {
		return nil, err
	}
	return &d, nil
}

// Purge ends the deletion for good: nothing brings it back, and the next
// collection frees its bytes. The team's maintainers may.
func (s *Service) Purge(ctx context.Context, id string) error {
	found, err := s.deletion(ctx, id, models.RoleMaintainer)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := s.purge(tx, *found); err != nil {
			return models.FromDB(err, "deletion")
		}
		s.quotas.forget()
		return audit.Record(ctx, tx, audit.Entry{TeamID: found.TeamID, Action: "image.purge", Subject: "image:" + found.Repository, Name: found.Title(),
			Detail: map[string]string{"digest": found.Digest, "kind": string(found.Kind)}})
	})
}
