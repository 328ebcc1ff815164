package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// maxHistory is how many builds, deployments, tag moves or copies of an image are shown.
const maxHistory = 20

// maxPlatforms is how many images of an index are shown; real ones have a dozen.
const maxPlatforms = 100

// Which says of what image a passport is asked for.
type Which struct {
	Registry   string // slug or id; empty: the embedded one
	Repository string // empty, in the embedded registry: any that has the image
	Digest     string
	Platform   string // of an index: the one whose config and layers are shown; empty: the first
}

// Get returns everything about the image with the digest that the reader may
// see. Where several repositories have it, the one pushed to last is shown.
func (s *Service) Get(ctx context.Context, digest string) (*models.ImagePassport, error) {
	return s.Passport(ctx, Which{Digest: digest})
}

// Find is Get in one repository; an empty name means any.
func (s *Service) Find(ctx context.Context, repository, digest string) (*models.ImagePassport, error) {
	return s.Passport(ctx, Which{Repository: repository, Digest: digest})
}

// Passport returns everything about an image that the reader may see: an
// external registry is asked for what it can tell, and what it does not answer
// in time is left out, which Unread says.
func (s *Service) Passport(ctx context.Context, w Which) (*models.ImagePassport, error) {
	who, err := readerFrom(ctx)
	if err != nil {
		return nil, err
	}
	if w.Registry != "" && w.Registry != EmbeddedRegistry {
		at, err := s.open(ctx, w.Registry, w.Repository)
		if err != nil {
			return nil, err
		}
		return s.passport(ctx, who, at, &models.ImagePassport{Image: at.image(w.Digest)}, w.Platform)
	}
	copies, err := s.copies(ctx, who, w.Digest)
	if err != nil {
		return nil, err
	}
	var chosen *manifest
	var others []string
	for k := range copies {
		if chosen == nil && (w.Repository == "" || copies[k].Repository == w.Repository) {
			chosen = &copies[k]
		} else {
			others = append(others, copies[k].Repository)
		}
	}
	if chosen == nil {
		return nil, models.Errorf(models.NotFound, "No such image.")
	}
	p := &models.ImagePassport{Image: s.imageOf(chosen.RegistryManifest, chosen.TeamID), Others: others}
	return s.passport(ctx, who, s.embeddedPlace(chosen.Repository, chosen.TeamID), p, w.Platform)
}

// manifest is a stored manifest and the team that owns it.
type manifest struct {
	models.RegistryManifest
	TeamID string
}

// copies returns the manifest in every repository that the reader may see, the one pushed last first.
func (s *Service) copies(ctx context.Context, who reader, digest string) ([]manifest, error) {
	q := s.DB.WithContext(ctx).Table("registry_manifests").
		Select("registry_manifests.repository, digest, registry_manifests.push_id, media_type, platforms, image_size, pushed_by_name, pushed_at, registry_repositories.team_id").
		Joins("JOIN registry_repositories ON registry_repositories.name = registry_manifests.repository").
		Where("registry_manifests.digest = ?", digest).Order("registry_manifests.push_id DESC").Limit(maxHistory)
	var rows []manifest
	if err := who.only(q, "registry_repositories.team_id").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading an image: %w", err)
	}
	return rows, nil
}

// passport reads the manifest and all that hangs on it.
func (s *Service) passport(ctx context.Context, who reader, at place, p *models.ImagePassport, platform string) (*models.ImagePassport, error) {
	c, err := at.manifest(ctx, p.Digest)
	if err != nil {
		return nil, err
	}
	p.Content, p.MediaType = c.bytes, c.mediaType
	doc := readDocument(c)
	p.Annotations, p.Subject, p.Files = clipMap(doc.Annotations), doc.subject(), doc.allFiles()
	if err := s.fillContent(ctx, at, p, doc, platform); err != nil {
		return nil, err
	}
	one := []models.Image{p.Image}
	if p.Registry == "" {
		err = s.complete(ctx, who, one)
	} else {
		err = s.originate(ctx, who, one)
	}
	if err != nil {
		return nil, err
	}
	p.Image = one[0]
	for _, fill := range []func(context.Context, reader, *models.ImagePassport) error{s.fillRelations, s.fillShared, s.fillHistory} {
		if err := fill(ctx, who, p); err != nil {
			return nil, err
		}
	}
	return p, s.fillReferrers(ctx, at, p, doc)
}

// fillContent reads the config and the layers: of an index, those of the platform, or else of its first.
func (s *Service) fillContent(ctx context.Context, at place, p *models.ImagePassport, doc *document, platform string) (err error) {
	p.Shown = p.Digest
	if doc.isIndex() {
		if doc, err = s.fillPlatforms(ctx, at, p, doc, platform); err != nil {
			return err
		}
	}
	if p.Size == 0 {
		p.Size = doc.size()
	}
	if doc.Config == nil || !imageConfig(doc.Config.MediaType) || doc.attests() {
		return artifact(p, doc)
	}
	p.ConfigDigest, p.Layers = doc.Config.Digest, plainLayers(doc.Layers)
	raw, err := at.config(ctx, doc.Config.Digest)
	if err != nil {
		return leaveOut(p, err, "the image's configuration")
	}
	var c config
	if err := json.Unmarshal(raw, &c); err != nil { // a foreign tool may have pushed anything
		return nil
	}
	p.Config, p.Layers, p.Base = c.public(), c.layers(doc), base(doc, c)
	if p.Registry != "" {
		p.MadeAt = p.Config.Created
	}
	if len(p.Platforms) == 0 && p.Config.Platform != "" {
		p.Platforms = []string{p.Config.Platform}
	}
	return nil
}

// artifact describes what is no container image. An index without images of platforms is not one either.
func artifact(p *models.ImagePassport, doc *document) error {
	p.Layers = plainLayers(doc.Layers)
	if len(p.Images) > 0 {
		return nil
	}
	p.ArtifactType = clip(doc.artifactType())
	if p.ArtifactType == "" {
		p.ArtifactType = emptyType
	}
	if p.Kind = ArtifactName(p.ArtifactType); doc.attests() {
		p.Kind = nameOf(models.ImageReferrer{Files: doc.files()})
	}
	if doc.Config != nil {
		p.ConfigDigest = doc.Config.Digest
	}
	return nil
}

// fillPlatforms lists what the index holds, and returns the manifest of the image that is shown.
func (s *Service) fillPlatforms(ctx context.Context, at place, p *models.ImagePassport, index *document, wanted string) (*document, error) {
	held := index.images()
	digests := make([]string, 0, len(held))
	for _, d := range held {
		digests = append(digests, d.Digest)
	}
	known, err := at.children(ctx, digests)
	if err != nil {
		return nil, err
	}
	var size int64
	for _, d := range held {
		i := models.ImagePlatform{Platform: clip(d.Platform.name()), MediaType: clip(d.MediaType), Digest: d.Digest, Size: d.Size}
		if c, ok := known[d.Digest]; ok {
			i.Size = c.size
			if i.Platform == "" {
				i.Platform = clip(c.platform)
			}
		}
		size += i.Size
		p.Images = append(p.Images, i)
	}
	if p.Size == 0 {
		p.Size = size
	}
	if len(p.Platforms) == 0 {
		for _, i := range p.Images {
			if i.Platform != "" {
				p.Platforms = append(p.Platforms, i.Platform)
			}
		}
	}
	return s.fillShown(ctx, at, p, wanted)
}

// fillShown reads the manifest of the platform that is shown. It is empty where the index holds no image of a
// platform: an index in an index has a page of its own.
func (s *Service) fillShown(ctx context.Context, at place, p *models.ImagePassport, wanted string) (*document, error) {
	shown := slices.IndexFunc(p.Images, func(i models.ImagePlatform) bool { return i.Platform != "" && i.Platform == wanted })
	if shown < 0 {
		shown = slices.IndexFunc(p.Images, func(i models.ImagePlatform) bool { return i.Platform != "" })
	}
	if shown < 0 {
		return &document{}, nil
	}
	p.Platform, p.Shown = p.Images[shown].Platform, p.Images[shown].Digest
	c, err := at.manifest(ctx, p.Shown)
	if err != nil {
		return &document{}, leaveOut(p, err, "the image of "+p.Platform)
	}
	return readDocument(c), nil
}

// leaveOut notes that a registry did not tell a part of an image, which is
// shown without it. Other errors are returned.
func leaveOut(p *models.ImagePassport, err error, what string) error {
	if e, ok := errors.AsType[*models.Error](err); ok && (e.Code == models.Unavailable || e.Code == models.NotFound) {
		p.Unread = fmt.Sprintf("The registry did not give %s: %s", what, e.Message)
		return nil
	}
	return err
}

// fillRelations finds the indexes that hold the image, which only the embedded registry knows.
func (s *Service) fillRelations(ctx context.Context, _ reader, p *models.ImagePassport) error {
	if p.Registry != "" {
		return nil
	}
	err := s.DB.WithContext(ctx).Model(&models.RegistryReference{}).Where("repository = ? AND child = ?", p.Repository, p.Digest).
		Order("manifest").Limit(maxHistory).Pluck("manifest", &p.Indexes).Error
	if err != nil {
		return fmt.Errorf("reading the indexes of %s: %w", p.Digest, err)
	}
	return nil
}

// fillHistory finds the builds, deployments and tags that the image has had.
func (s *Service) fillHistory(ctx context.Context, who reader, p *models.ImagePassport) (err error) {
	db := s.DB.WithContext(ctx)
	names := []string{p.FullName()}
	if p.Registry == "" {
		names = s.full(p.Repository)
	}
	p.Builds, err = s.builds(who.only(db, "team_id").Limit(maxHistory).
		Where("image_digest = ? AND image_repository IN ? AND state = ?", p.Digest, names, models.BuildSucceeded))
	if err != nil {
		return err
	}
	p.Deployments, err = s.deployments(ctx, who, func(q *gorm.DB) *gorm.DB {
		return q.Where("deployments.image_digest = ? AND deployments.image_repository IN ?", p.Digest, names).Limit(maxHistory)
	})
	if err != nil || p.Registry != "" {
		return err
	}
	err = db.Where("repository = ? AND (digest = ? OR previous = ?)", p.Repository, p.Digest, p.Digest).
		Order("id DESC").Limit(maxHistory).Find(&p.Moves).Error
	if err != nil {
		return fmt.Errorf("reading the tags of %s: %w", p.Digest, err)
	}
	p.Pulls, err = s.pulls(ctx, p.Repository, p.Digest)
	return err
}
