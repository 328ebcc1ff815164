package images

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// maxPlaces is how many deployments are shown of one move.
const maxPlaces = 5

// History lists which image the tag named when, newest first, with what built
// each and where it was deployed. A tag that was deleted has a history too; one that never was has none, and is NotFound.
func (s *Service) History(ctx context.Context, repository, tag string, page models.Page) (*models.TagHistory, error) {
	who, err := readerFrom(ctx)
	if err != nil {
		return nil, err
	}
	row, err := s.repository(ctx, repository)
	if err != nil {
		return nil, err
	}
	q := s.DB.WithContext(ctx).Where("repository = ? AND tag = ?", row.Name, tag)
	events, err := models.Newest(q, page, "id", func(e models.RegistryTagEvent) string { return e.ID })
	if err != nil {
		return nil, fmt.Errorf("reading the history of %s:%s: %w", row.Name, tag, err)
	}
	if len(events.Items) == 0 && page.Cursor == "" {
		return nil, models.Errorf(models.NotFound, "No such tag.")
	}
	h := &models.TagHistory{Repository: row.Name, TeamID: row.TeamID, Tag: tag, Next: events.Next}
	for _, e := range events.Items {
		h.Moves = append(h.Moves, models.TagMove{RegistryTagEvent: e})
	}
	if err := s.now(ctx, h); err != nil {
		return nil, err
	}
	return h, s.explain(ctx, who, h)
}

// now fills in what the tag names now.
func (s *Service) now(ctx context.Context, h *models.TagHistory) error {
	var tags []models.RegistryTag
	err := s.DB.WithContext(ctx).Where("repository = ? AND name = ?", h.Repository, h.Tag).Limit(1).Find(&tags).Error
	if err != nil {
		return fmt.Errorf("reading the tag %s of %s: %w", h.Tag, h.Repository, err)
	}
	if len(tags) == 1 {
		h.Digest = tags[0].Digest
	}
	return nil
}

// explain fills in the builds and deployments of the images that the tag named, and which of them are still there.
func (s *Service) explain(ctx context.Context, who reader, h *models.TagHistory) error {
	var digests []string
	for _, m := range h.Moves {
		digests = append(digests, m.Digest)
	}
	var kept []string
	err := s.DB.WithContext(ctx).Model(&models.RegistryManifest{}).Where("repository = ? AND digest IN ?", h.Repository, digests).Pluck("digest", &kept).Error
	if err != nil {
		return fmt.Errorf("reading the images of a tag: %w", err)
	}
	there := map[string]bool{}
	for _, d := range kept {
		there[d] = true
	}
	builds, err := s.latestBuilds(ctx, who, digests)
	if err != nil {
		return err
	}
	places, err := s.deployments(ctx, who, func(q *gorm.DB) *gorm.DB {
		return q.Where("deployments.image_digest IN ? AND deployments.image_repository IN ?", digests, s.full(h.Repository)).Limit(maxPlaces * len(digests))
	})
	if err != nil {
		return err
	}
	for k := range h.Moves {
		m := &h.Moves[k]
		m.Kept, m.Build = there[m.Digest], builds[spot{h.Repository, m.Digest}]
		for _, d := range places {
			if d.Digest == m.Digest && m.Digest != "" && len(m.Places) < maxPlaces {
				m.Places = append(m.Places, d)
			}
		}
	}
	return nil
}

// pulls returns how often the image was pulled; all images of the repository where digest is empty.
func (s *Service) pulls(ctx context.Context, repository, digest string) (out models.ImagePulls, err error) {
	q := s.DB.WithContext(ctx).Model(&models.RegistryPulls{}).Where("repository = ?", repository)
	if digest != "" {
		q = q.Where("digest = ?", digest)
	}
	q = q.Session(&gorm.Session{})
	var last []models.RegistryPulls
	if err := q.Order("last_at DESC").Limit(1).Find(&last).Error; err != nil || len(last) == 0 {
		return out, err
	}
	out.LastAt, out.LastBy = last[0].LastAt, last[0].LastBy
	if err := q.Select("CAST(COALESCE(SUM(pulls), 0) AS BIGINT)").Scan(&out.Times).Error; err != nil {
		return out, fmt.Errorf("counting the pulls of %s: %w", repository, err)
	}
	return out, nil
}
