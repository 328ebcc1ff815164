package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// maxHistory is how many builds, deployments, tag moves or referrers of an image are shown.
const maxHistory = 20

// maxPlatforms is how many images of an index are shown; real ones have a dozen.
const maxPlatforms = 100

// Get returns everything about the image with the digest that the reader may
// see. Where several repositories have it, the one pushed to last is shown.
func (s *Service) Get(ctx context.Context, digest string) (*models.ImagePassport, error) {
	return s.Find(ctx, "", digest)
}

// Find is Get in one repository; an empty name means any.
func (s *Service) Find(ctx context.Context, repository, digest string) (*models.ImagePassport, error) {
	who, err := readerFrom(ctx)
	if err != nil {
		return nil, err
	}
	copies, err := s.copies(ctx, who, digest)
	if err != nil {
		return nil, err
	}
	var chosen *manifest
	var others []string
	for k := range copies {
		if chosen == nil && (repository == "" || copies[k].Repository == repository) {
			chosen = &copies[k]
		} else {
			others = append(others, copies[k].Repository)
		}
	}
	if chosen == nil {
		return nil, models.Errorf(models.NotFound, "No such image.")
	}
	return s.passport(ctx, who, *chosen, others)
}

// manifest is a stored manifest and the team that owns it.
type manifest struct {
	models.RegistryManifest
	TeamID string
}

// copies returns the manifest in every repository that the reader may see, the one pushed last first.
func (s *Service) copies(ctx context.Context, who reader, digest string) ([]manifest, error) {
	q := s.DB.WithContext(ctx).Table("registry_manifests").
		Select("registry_manifests.repository, digest, registry_manifests.push_id, media_type, platforms, image_size, pushed_by_name, pushed_at, annotations, registry_repositories.team_id").
		Joins("JOIN registry_repositories ON registry_repositories.name = registry_manifests.repository").
		Where("registry_manifests.digest = ?", digest).Order("registry_manifests.push_id DESC").Limit(maxHistory)
	var rows []manifest
	if err := who.only(q, "registry_repositories.team_id").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading an image: %w", err)
	}
	return rows, nil
}

func (s *Service) passport(ctx context.Context, who reader, m manifest, others []string) (*models.ImagePassport, error) {
	content, err := s.content(ctx, m.Repository, m.Digest)
	if err != nil {
		return nil, err
	}
	p := &models.ImagePassport{Image: imageOf(m.RegistryManifest, m.TeamID), Others: others, Content: content, Annotations: clipMap(m.Annotations)}
	one := []models.Image{p.Image}
	if err := s.complete(ctx, who, one); err != nil {
		return nil, err
	}
	p.Image = one[0]
	for _, fill := range []func(context.Context, reader, *models.ImagePassport) error{
		s.fillContent, s.fillRelations, s.fillHistory,
	} {
		if err := fill(ctx, who, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// content is the manifest as it was pushed.
func (s *Service) content(ctx context.Context, repository, digest string) ([]byte, error) {
	var m models.RegistryManifest
	err := s.DB.WithContext(ctx).Select("content").Where("repository = ? AND digest = ?", repository, digest).Take(&m).Error
	if err != nil {
		return nil, fmt.Errorf("reading the manifest %s: %w", digest, models.FromDB(err, "image"))
	}
	return m.Content, nil
}

// fillContent reads the manifest and the config: of an index, those of its first platform.
func (s *Service) fillContent(ctx context.Context, _ reader, p *models.ImagePassport) error {
	var doc document
	if err := json.Unmarshal(p.Content, &doc); err != nil {
		return fmt.Errorf("reading the manifest %s: %w", p.Digest, err)
	}
	if len(doc.Manifests) > 0 {
		child, err := s.fillPlatforms(ctx, p, doc)
		if err != nil || child == nil {
			return err
		}
		doc = *child
	}
	if doc.Config == nil || !imageConfig(doc.Config.MediaType) {
		p.Layers = plainLayers(doc)
		return nil
	}
	raw, err := s.Registry.Config(ctx, p.Repository, doc.Config.Digest)
	if err != nil {
		return err
	}
	var c config
	if err := json.Unmarshal(raw, &c); err != nil { // a foreign tool may have pushed anything
		p.Layers = plainLayers(doc)
		return nil
	}
	p.Config, p.Layers = c.public(), c.layers(doc)
	return nil
}

// fillPlatforms lists the images of an index and returns the manifest of the first that is one for a platform.
func (s *Service) fillPlatforms(ctx context.Context, p *models.ImagePassport, index document) (*document, error) {
	var digests []string
	for _, m := range index.Manifests {
		digests = append(digests, m.Digest)
	}
	var rows []models.RegistryManifest
	err := s.DB.WithContext(ctx).Select(columns).Where("repository = ? AND digest IN ?", p.Repository, digests[:min(len(digests), maxPlatforms)]).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the platforms of %s: %w", p.Digest, err)
	}
	byDigest := map[string]models.RegistryManifest{}
	for _, r := range rows {
		byDigest[r.Digest] = r
	}
	for _, m := range index.Manifests {
		row, ok := byDigest[m.Digest]
		if !ok || len(row.Platforms) == 0 { // attestations have none
			continue
		}
		p.Images = append(p.Images, models.ImagePlatform{Platform: row.Platforms[0], Digest: row.Digest, Size: row.ImageSize})
	}
	if len(p.Images) == 0 {
		return nil, nil
	}
	content, err := s.content(ctx, p.Repository, p.Images[0].Digest)
	if err != nil {
		return nil, err
	}
	first := &document{}
	if err := json.Unmarshal(content, first); err != nil {
		return nil, fmt.Errorf("reading the manifest %s: %w", p.Images[0].Digest, err)
	}
	return first, nil
}

// fillRelations finds the indexes that hold the image and the artifacts about it.
func (s *Service) fillRelations(ctx context.Context, _ reader, p *models.ImagePassport) error {
	db := s.DB.WithContext(ctx)
	err := db.Model(&models.RegistryReference{}).Where("repository = ? AND child = ?", p.Repository, p.Digest).
		Order("manifest").Limit(maxHistory).Pluck("manifest", &p.Indexes).Error
	if err != nil {
		return fmt.Errorf("reading the indexes of %s: %w", p.Digest, err)
	}
	err = db.Model(&models.RegistryManifest{}).Select("digest", "artifact_type", "image_size AS size").
		Where("repository = ? AND subject = ?", p.Repository, p.Digest).Order("push_id DESC").Limit(maxHistory).Scan(&p.Referrers).Error
	if err != nil {
		return fmt.Errorf("reading what is about %s: %w", p.Digest, err)
	}
	return nil
}

// fillHistory finds the builds, deployments and tags that the image has had.
func (s *Service) fillHistory(ctx context.Context, who reader, p *models.ImagePassport) (err error) {
	db := s.DB.WithContext(ctx)
	p.Builds, err = s.builds(who.only(db, "team_id").Limit(maxHistory).
		Where("image_digest = ? AND image_repository IN ? AND state = ?", p.Digest, s.full(p.Repository), models.BuildSucceeded))
	if err != nil {
		return err
	}
	p.Deployments, err = s.deployments(ctx, who, func(q *gorm.DB) *gorm.DB {
		return q.Where("deployments.image_digest = ? AND deployments.image_repository IN ?", p.Digest, s.full(p.Repository)).Limit(maxHistory)
	})
	if err != nil {
		return err
	}
	err = db.Where("repository = ? AND (digest = ? OR previous = ?)", p.Repository, p.Digest, p.Digest).
		Order("id DESC").Limit(maxHistory).Find(&p.Moves).Error
	if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		return fmt.Errorf("reading the tags of %s: %w", p.Digest, err)
	}
	p.Pulls, err = s.pulls(ctx, p.Repository, p.Digest)
	return err
}
