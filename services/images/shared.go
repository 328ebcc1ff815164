package images

import (
	"context"
	"fmt"
	"strings"

	"slipway.dev/models"
)

// maxSharedLayers is of how many layers it is counted who else has them; images have at most 127.
const maxSharedLayers = 127

// fillShared counts for each layer the other images of the embedded registry
// that the reader may see and that have it too. A layer is known by its digest,
// so this tells of images of external registries as well.
func (s *Service) fillShared(ctx context.Context, who reader, p *models.ImagePassport) error {
	var parts []string
	var args []any
	places := map[string][]int{}
	for k, l := range p.Layers {
		if l.Digest == "" {
			continue
		}
		if _, known := places[l.Digest]; !known && len(parts) < maxSharedLayers {
			query, own := s.sharing(who, p, l.Digest)
			parts = append(parts, "SELECT ? AS digest, COUNT(*) AS sum FROM ("+query+" LIMIT ?) AS n"+fmt.Sprint(len(parts)))
			args = append(append(append(args, l.Digest), own...), models.MaxShared)
		}
		places[l.Digest] = append(places[l.Digest], k)
	}
	if len(parts) == 0 {
		return nil
	}
	var rows []struct {
		Digest string
		Sum    int
	}
	if err := s.DB.WithContext(ctx).Raw(strings.Join(parts, " UNION ALL "), args...).Scan(&rows).Error; err != nil {
		return fmt.Errorf("counting who shares the layers of %s: %w", p.Digest, err)
	}
	for _, r := range rows {
		for _, k := range places[r.Digest] {
			p.Layers[k].Shared = r.Sum
		}
	}
	return nil
}

// sharing is the query for the other images that have the layer. It goes from
// the layer to the repositories that have it, and looks into those alone that
// the reader may see.
func (s *Service) sharing(who reader, p *models.ImagePassport, layer string) (query string, args []any) {
	query = `SELECT r.repository, r.manifest FROM registry_links l
		JOIN registry_repositories p ON p.name = l.repository
		JOIN registry_references r ON r.repository = l.repository AND r.child = l.digest
		WHERE l.digest = ?`
	args = []any{layer}
	if !who.all {
		query += " AND p.team_id IN ?"
		args = append(args, who.teams)
	}
	if p.Registry == "" {
		query += " AND NOT (r.repository = ? AND r.manifest IN ?)"
		args = append(args, p.Repository, []string{p.Digest, p.Shown})
	}
	return query, args
}

// Sharing returns the image, and lists the other ones of the embedded registry that have the layer
// of the image and that the reader may see, the one pushed last first. The list
// ends after a page of the largest size.
func (s *Service) Sharing(ctx context.Context, w Which, layer string) (of models.Image, list []models.Image, err error) {
	who, err := readerFrom(ctx)
	if err != nil {
		return of, nil, err
	}
	p, err := s.Passport(ctx, w)
	if err != nil {
		return of, nil, err
	}
	list, err = s.sharingOf(ctx, who, p, layer)
	return p.Image, list, err
}

func (s *Service) sharingOf(ctx context.Context, who reader, p *models.ImagePassport, layer string) ([]models.Image, error) {
	query, args := s.sharing(who, p, layer)
	var at []struct{ Repository, Manifest string }
	if err := s.DB.WithContext(ctx).Raw(query+" LIMIT ?", append(args, models.MaxShared)...).Scan(&at).Error; err != nil {
		return nil, fmt.Errorf("reading who shares the layer %s: %w", layer, err)
	}
	var names, digests []string
	wanted := map[spot]bool{}
	for _, r := range at {
		names, digests = append(names, r.Repository), append(digests, r.Manifest)
		wanted[spot{r.Repository, r.Manifest}] = true
	}
	var rows []models.RegistryManifest
	if err := s.DB.WithContext(ctx).Select(columns).Where("repository IN ? AND digest IN ?", names, digests).Order("push_id DESC").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading the images that share the layer %s: %w", layer, err)
	}
	kept := rows[:0]
	for _, r := range rows {
		if wanted[spot{r.Repository, r.Digest}] {
			kept = append(kept, r)
		}
	}
	out, err := s.imagesOf(ctx, kept)
	if err != nil {
		return nil, err
	}
	return out, s.complete(ctx, who, out)
}
