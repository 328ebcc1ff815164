package retention

import (
	"context"
	"fmt"

	"slipway.dev/models"
)

// Runs lists the clean-ups of the repository, newest first; the team's viewers may.
func (s *Service) Runs(ctx context.Context, repository string, page models.Page) (models.List[models.RetentionRun], error) {
	r, err := s.repository(ctx, repository, models.RoleViewer)
	if err != nil {
		return models.List[models.RetentionRun]{}, err
	}
	q := s.DB.WithContext(ctx).Where("repository = ?", r.Name)
	return models.Newest(q, page, "id", func(r models.RetentionRun) string { return r.ID })
}

// Run returns a clean-up; the team's viewers may.
func (s *Service) Run(ctx context.Context, id string) (*models.RetentionRun, error) {
	var run models.RetentionRun
	if err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&run).Error; err != nil {
		return nil, models.FromDB(err, "clean-up")
	}
	if err := models.Authorize(ctx, run.TeamID, models.RoleViewer, "clean-up"); err != nil {
		return nil, err
	}
	return &run, nil
}

// Items lists what the clean-up named and what became of it, by digest; the team's viewers may.
func (s *Service) Items(ctx context.Context, id string, page models.Page) (models.List[models.RetentionItem], error) {
	none := models.List[models.RetentionItem]{}
	if _, err := s.Run(ctx, id); err != nil {
		return none, err
	}
	q := s.DB.WithContext(ctx).Where("run_id = ?", id)
	if page.Cursor != "" {
		q = q.Where("digest > ?", page.Cursor)
	}
	var items []models.RetentionItem
	if err := q.Order("digest").Limit(page.Size() + 1).Find(&items).Error; err != nil {
		return none, fmt.Errorf("listing what a clean-up named: %w", err)
	}
	list := models.List[models.RetentionItem]{Items: items}
	if len(items) > page.Size() {
		list.Items = items[:page.Size()]
		list.Next = list.Items[page.Size()-1].Digest
	}
	return list, nil
}
