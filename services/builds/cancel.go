package builds

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/logs"
)

// Cancel ends a build: at once where no worker carries it, within two seconds
// where one does. The team's developers may. Canceling twice is no error.
func (s *Service) Cancel(ctx context.Context, id string) (*models.Build, error) {
	b, err := s.build(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if done, err := s.cancelIdle(ctx, tx, b); done || err != nil {
			return err
		}
		return s.cancelRunning(ctx, tx, b)
	})
	if err != nil {
		return nil, fmt.Errorf("canceling build %s: %w", b.Title(), err)
	}
	return b, nil
}

// cancelIdle ends the build where it waits or its worker is dead.
func (s *Service) cancelIdle(ctx context.Context, tx *gorm.DB, b *models.Build) (bool, error) {
	now := s.DB.NowFunc()
	failure := &models.BuildError{Class: ClassCanceled, Message: canceledBy(personIn(ctx))}
	r := s.Jobs.Free(tx.Model(&models.Build{}), b.ID).
		Where("state IN ?", []models.BuildState{models.BuildWaiting, models.BuildQueued, models.BuildRunning}).
		Select("State", "FinishedAt", "CancelRequestedAt", "CanceledBy", "Error").
		Updates(models.Build{State: models.BuildCanceled, FinishedAt: &now, CancelRequestedAt: &now, CanceledBy: personIn(ctx), Error: failure})
	if r.Error != nil || r.RowsAffected == 0 {
		return false, r.Error
	}
	b.State, b.FinishedAt, b.CancelRequestedAt, b.Error = models.BuildCanceled, &now, &now, failure
	if err := endSteps(tx, b.ID, now); err != nil {
		return false, err
	}
	if err := logs.End(tx, b.ID); err != nil {
		return false, err
	}
	if err := s.stopElsewhere(ctx, tx, b); err != nil {
		return false, err
	}
	return true, s.record(ctx, tx, b, b.App, "build.cancel")
}

// endSteps closes the steps that a worker which is gone left open.
func endSteps(tx *gorm.DB, buildID string, at time.Time) error {
	open := func() *gorm.DB { return tx.Model(&models.BuildStep{}).Where("build_id = ?", buildID) }
	err := open().Where("state = ?", models.StepRunning).Updates(map[string]any{"state": models.StepCanceled, "finished_at": at}).Error
	if err != nil {
		return err
	}
	return open().Where("state = ?", models.StepPending).Update("state", models.StepCanceled).Error
}

// cancelRunning asks the worker that carries the build to end it.
func (s *Service) cancelRunning(ctx context.Context, tx *gorm.DB, b *models.Build) error {
	var now models.Build
	if err := tx.Where("id = ?", b.ID).Take(&now).Error; err != nil {
		return models.FromDB(err, "build")
	}
	b.State, b.CancelRequestedAt = now.State, now.CancelRequestedAt
	switch {
	case b.State.Ended():
		return models.Errorf(models.Conflict, "Build %s has ended already: it is %s.", b.Title(), b.State)
	case b.CancelRequestedAt != nil:
		return nil
	}
	at := s.DB.NowFunc()
	b.CancelRequestedAt = &at
	if err := tx.Model(&models.Build{}).Where("id = ?", b.ID).Updates(map[string]any{"cancel_requested_at": at, "canceled_by": personIn(ctx)}).Error; err != nil {
		return err
	}
	return s.record(ctx, tx, b, b.App, "build.cancel")
}

// personIn is the name of whoever asks, empty where nobody does.
func personIn(ctx context.Context) string {
	if p := models.PrincipalFrom(ctx); p != nil {
		return p.Name
	}
	return ""
}

// canceledBy says who canceled a build, where that is known.
func canceledBy(name string) string {
	if name == "" {
		return "The build was canceled."
	}
	return name + " canceled the build."
}
