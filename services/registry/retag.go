package registry

import (
	"context"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

// Retag says which image a tag shall name.
type Retag struct {
	Repository string // such as payments/checkout
	Tag        string
	Digest     string
	Was        string // the digest that the tag named when it was looked at, empty: none; checked where Checked
	Checked    bool
}

// Tag points the tag at an image that the repository has, as a push would. The
// team's developers may, with a token that may push. It fails with a Conflict
// where a pattern keeps the tag where it is, or where it moved since Was.
func (s *Service) Tag(ctx context.Context, in Retag) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		now, err := s.settings(ctx, tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Session(&gorm.Session{}), in.Repository, models.RoleDeveloper)
		if err != nil {
			return err
		}
		if p := models.PrincipalFrom(ctx); !p.HasScope(models.ScopeRegistryWrite) {
			return models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeRegistryWrite)
		}
		p, err := in.push(tx, now.Repository)
		if err != nil {
			return err
		}
		was, err := s.checkWas(tx, now.Repository.Name, in)
		if err != nil || was == p.digest.String() {
			return err
		}
		if err := s.moveTag(ctx, tx, p); err != nil {
			return err
		}
		entry := audit.Entry{TeamID: now.Repository.TeamID, Action: "image.tag", Subject: "image:" + now.Repository.Name, Name: p.title(),
			Detail: map[string]string{"digest": p.digest.String(), "tag": in.Tag, "previous": was}}
		if err := audit.Record(ctx, tx, entry); err != nil {
			return err
		}
		return s.publishEvent(tx, now.Repository, "image.tagged", map[string]string{"repository": now.Repository.Name, "digest": in.Digest, "tag": in.Tag})
	})
}

// push is the tag's move as that of a push, of an image that must be there.
func (in Retag) push(tx *gorm.DB, repository models.RegistryRepository) (*push, error) {
	wrong := map[string]string{}
	if !tagName.MatchString(in.Tag) {
		wrong["tag"] = errTag.message
	}
	d, err := digest.Parse(in.Digest)
	if err != nil {
		wrong["digest"] = "Name the image by its whole digest, such as sha256:9f86d081…."
	}
	if err := models.InvalidFields(wrong); err != nil {
		return nil, err
	}
	var found int64
	if err := tx.Model(&models.RegistryManifest{}).Where("repository = ? AND digest = ?", repository.Name, d.String()).Count(&found).Error; err != nil {
		return nil, err
	}
	if found == 0 {
		return nil, models.InvalidField("digest", "%s has no such image any more.", repository.Name)
	}
	return &push{name: repository.Name, digest: d, tag: in.Tag}, nil
}

// checkWas returns the digest that the tag names, or fails where it is not the one that was looked at.
func (s *Service) checkWas(tx *gorm.DB, repository string, in Retag) (string, error) {
	var rows []models.RegistryTag
	if err := tx.Where("repository = ? AND name = ?", repository, in.Tag).Limit(1).Find(&rows).Error; err != nil {
		return "", err
	}
	was := ""
	if len(rows) == 1 {
		was = rows[0].Digest
	}
	if in.Checked && was != in.Was {
		return "", models.Errorf(models.Conflict, "The tag %s moved since you looked: it names %.19s now. Look again, and choose.", in.Tag, orNothing(was))
	}
	return was, nil
}

func orNothing(digest string) string {
	if digest == "" {
		return "nothing"
	}
	return digest
}
