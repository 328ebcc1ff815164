package builds

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Approve lets a build that waits for it run; the team's developers may. The commit is the one that the person has
// looked at: where it is given and the build is of another one, or the build waits no more, nothing happens.
func (s *Service) Approve(ctx context.Context, id, commit string) (*models.Build, error) {
	b, err := s.build(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if commit != "" && commit != b.Commit {
		return nil, models.InvalidField("commit", "Build %s is of the commit %s, not of the one that you looked at.", b.Title(), short(b.Commit))
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return s.approve(ctx, tx, b) })
	if err != nil {
		return nil, fmt.Errorf("approving build %s: %w", b.Title(), err)
	}
	return b, nil
}

func (s *Service) approve(ctx context.Context, tx *gorm.DB, b *models.Build) error {
	now, who := s.DB.NowFunc(), models.PrincipalFrom(ctx)
	r := tx.Model(&models.Build{}).Where("id = ? AND state = ?", b.ID, models.BuildWaiting).Updates(map[string]any{
		"state": models.BuildQueued, "queued_at": now, "approved_at": now, "approved_by": who.UserID, "approved_by_name": who.Name})
	if r.Error != nil {
		return r.Error
	}
	if r.RowsAffected == 0 {
		return s.notWaiting(tx, b)
	}
	b.State, b.QueuedAt, b.ApprovedAt, b.ApprovedBy, b.ApprovedByName = models.BuildQueued, now, &now, who.UserID, who.Name
	if err := s.record(ctx, tx, b, b.App, "build.approve"); err != nil {
		return err
	}
	return s.enqueue(ctx, tx, b)
}

func (s *Service) notWaiting(tx *gorm.DB, b *models.Build) error {
	var now models.Build
	if err := tx.Where("id = ?", b.ID).Take(&now).Error; err != nil {
		return models.FromDB(err, "build")
	}
	if now.State == models.BuildCanceled && now.Error != nil {
		return models.Errorf(models.Conflict, "Build %s waits no more. %s", b.Title(), now.Error.Message)
	}
	return models.Errorf(models.Conflict, "Build %s does not wait for approval: it is %s.", b.Title(), now.State)
}
