package copies

import (
	"context"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

// Cancel ends a copy: at once where no worker carries it, within seconds where
// one does. The team's developers may. What was sent stays at the target, which
// forgets in time what no image needs. Canceling twice is no error.
func (s *Service) Cancel(ctx context.Context, id string) (*models.Copy, error) {
	c, err := s.copy(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if done, err := s.cancelIdle(ctx, tx, c); done || err != nil {
			return err
		}
		return s.cancelRunning(ctx, tx, c)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// cancelIdle ends the copy where it waits or its worker is dead.
func (s *Service) cancelIdle(ctx context.Context, tx *gorm.DB, c *models.Copy) (bool, error) {
	now := s.DB.NowFunc()
	ended := models.Copy{State: models.CopyCanceled, FinishedAt: &now, CancelRequestedAt: &now, CanceledBy: models.PrincipalFrom(ctx).Name}
	r := s.Jobs.Free(tx.Model(&models.Copy{}), c.ID).Where("state IN ?", []models.CopyState{models.CopyQueued, models.CopyRunning}).
		Select("State", "FinishedAt", "CancelRequestedAt", "CanceledBy", "NextTryAt", "Note").Updates(ended)
	if r.Error != nil || r.RowsAffected == 0 {
		return false, r.Error
	}
	c.State, c.FinishedAt, c.CancelRequestedAt, c.CanceledBy, c.NextTryAt, c.Note = ended.State, &now, &now, ended.CanceledBy, nil, ""
	return true, s.record(ctx, tx, c, "copy.cancel")
}

// cancelRunning asks the worker that carries the copy to end it.
func (s *Service) cancelRunning(ctx context.Context, tx *gorm.DB, c *models.Copy) error {
	if err := tx.Omit("Team").Where("id = ?", c.ID).Take(c).Error; err != nil {
		return models.FromDB(err, "copy")
	}
	switch {
	case c.State.Ended():
		return models.Errorf(models.Conflict, "The copy has ended already: it is %s.", c.State)
	case c.CancelRequestedAt != nil:
		return nil
	}
	now := s.DB.NowFunc()
	c.CancelRequestedAt, c.CanceledBy = &now, models.PrincipalFrom(ctx).Name
	if err := tx.Model(&models.Copy{}).Where("id = ?", c.ID).Select("CancelRequestedAt", "CanceledBy").Updates(c).Error; err != nil {
		return err
	}
	return s.record(ctx, tx, c, "copy.cancel")
}

// Retry goes on with a copy that failed or was canceled, from where it stood
// and for whoever asks now: a developer of the team.
func (s *Service) Retry(ctx context.Context, id string) (*models.Copy, error) {
	c, err := s.copy(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if !c.State.Ended() || c.State == models.CopySucceeded {
		return nil, models.Errorf(models.Conflict, "The copy is %s. Only one that failed or was canceled can be retried.", c.State)
	}
	was := c.State
	if err := c.Move(models.CopyQueued); err != nil {
		return nil, err
	}
	p := models.PrincipalFrom(ctx)
	c.AskedKind, c.AskedID, c.CreatedBy, c.CreatedByName = p.Kind, p.ID, p.UserID, p.Name
	c.Error, c.Note, c.Tries, c.Attempt, c.Worker, c.CanceledBy = "", "", 0, 0, "", ""
	c.CancelRequestedAt, c.FinishedAt, c.NextTryAt = nil, nil, nil
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		r := tx.Model(&models.Copy{}).Where("id = ? AND state = ?", c.ID, was).
			Select("State", "AskedKind", "AskedID", "CreatedBy", "CreatedByName", "Error", "Note", "Tries", "Attempt", "Worker", "CanceledBy", "CancelRequestedAt", "FinishedAt", "NextTryAt").Updates(c)
		if r.Error != nil {
			return r.Error
		}
		if r.RowsAffected == 0 {
			return models.Errorf(models.Conflict, "Somebody else has just retried the copy.")
		}
		if err := s.record(ctx, tx, c, "copy.retry"); err != nil {
			return err
		}
		return s.Jobs.Insert(ctx, tx, jobs.QueueCopies, Job{CopyID: c.ID})
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}
