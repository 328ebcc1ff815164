package images

import (
	"context"
	"fmt"
	"io"

	"slipway.dev/models"
)

// embedded reads a repository of the embedded registry out of the tables.
type embedded struct {
	*Service
	name   string
	teamID string
}

func (s *Service) embeddedPlace(name, teamID string) place {
	return place{source: embedded{s, name, teamID}, host: s.Registry.Host(), repository: name, teamID: teamID}
}

func (e embedded) manifest(ctx context.Context, reference string) (content, error) {
	var m models.RegistryManifest
	q := e.DB.WithContext(ctx).Select("digest", "media_type", "content").Where("repository = ?", e.name)
	if isDigest(reference) {
		q = q.Where("digest = ?", reference)
	} else {
		q = q.Where("digest = (?)", e.DB.Model(&models.RegistryTag{}).Select("digest").Where("repository = ? AND name = ?", e.name, reference))
	}
	if err := q.Take(&m).Error; err != nil {
		return content{}, models.FromDB(err, "image")
	}
	return content{m.MediaType, m.Digest, m.Content}, nil
}

func (e embedded) manifests(ctx context.Context, digests []string) (map[string]content, error) {
	var rows []models.RegistryManifest
	err := e.DB.WithContext(ctx).Select("digest", "media_type", "content").Where("repository = ? AND digest IN ?", e.name, digests).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading manifests of %s: %w", e.name, err)
	}
	out := map[string]content{}
	for _, m := range rows {
		out[m.Digest] = content{m.MediaType, m.Digest, m.Content}
	}
	return out, nil
}

func (e embedded) children(ctx context.Context, digests []string) (map[string]child, error) {
	var rows []models.RegistryManifest
	err := e.DB.WithContext(ctx).Select(columns).Where("repository = ? AND digest IN ?", e.name, digests).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the images of an index of %s: %w", e.name, err)
	}
	out := map[string]child{}
	for _, r := range rows {
		c := child{size: r.ImageSize}
		if len(r.Platforms) == 1 {
			c.platform = r.Platforms[0]
		}
		out[r.Digest] = c
	}
	return out, nil
}

func (e embedded) blob(ctx context.Context, digest string) (io.ReadCloser, int64, error) {
	return e.Registry.OpenBlob(ctx, e.name, digest)
}

func (e embedded) config(ctx context.Context, digest string) ([]byte, error) {
	return e.Registry.Config(ctx, e.name, digest)
}

func (e embedded) referrers(ctx context.Context, digest string) ([]models.ImageReferrer, error) {
	var rows []models.RegistryManifest
	err := e.DB.WithContext(ctx).Select(columnsOfReferrers).
		Where("repository = ? AND subject = ?", e.name, digest).Order("push_id DESC").Limit(maxReferrers).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading what is about %s: %w", digest, err)
	}
	tagged, err := e.schemed(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("reading what tags say about %s: %w", digest, err)
	}
	var out []models.ImageReferrer
	for k, m := range append(rows, tagged...) {
		r := models.ImageReferrer{Digest: m.Digest, ArtifactType: clip(m.ArtifactType), Size: m.ImageSize, Via: ViaSubject,
			PushedAt: m.PushedAt, PushedByName: m.PushedByName, Annotations: clipMap(m.Annotations)}
		if k >= len(rows) {
			r.Via = ViaTag
		}
		out = append(out, r)
	}
	return out, nil
}
