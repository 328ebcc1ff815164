package previews

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// round is one look at the previews that want a place. Once a team, or an app,
// is found full it gives no more of its places, so that a place that becomes
// free meanwhile goes to whoever waits longest.
type round struct {
	*Service
	full map[string]bool // ids of teams and apps
}

// start gives previews with a good build an environment, where a place is
// free: to those that have waited longest first.
func (s *Service) start(ctx context.Context) error {
	var all []models.Preview
	err := s.DB.WithContext(ctx).Where("state IN ? AND wanted AND NOT closed AND (next_at IS NULL OR next_at <= ?)", []models.PreviewState{models.PreviewBuilding, models.PreviewQueued}, s.now()).
		Order("waiting_since, id").Limit(atOnce).Find(&all).Error
	if err != nil {
		return fmt.Errorf("looking for previews that want to start: %w", err)
	}
	r := &round{Service: s, full: map[string]bool{}}
	var errs []error
	for i := range all {
		err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return r.place(ctx, tx, &all[i]) })
		if told := new(models.Error); errors.As(err, &told) {
			err = s.putOff(ctx, &all[i], told.Message)
		}
		if err != nil && !errors.Is(err, errSeen) {
			errs = append(errs, fmt.Errorf("starting preview %s: %w", all[i].ID, err))
		}
	}
	return errors.Join(errs...)
}

// place gives the preview an environment, or has it wait. It holds the team's
// row, so that two workers can't both give away the last place.
func (r *round) place(ctx context.Context, tx *gorm.DB, p *models.Preview) error {
	if err := tx.Model(&models.Team{}).Where("id = ?", p.TeamID).UpdateColumn("preview_limit", gorm.Expr("preview_limit")).Error; err != nil {
		return err
	}
	var app models.App
	if err := tx.Preload("Team").Take(&app, "id = ?", p.AppID).Error; err != nil {
		return models.FromDB(err, "app")
	}
	set, ok, err := settingsOf(tx, p.AppID)
	if err != nil || !ok || !set.Enabled {
		return err
	}
	why, err := r.noPlace(tx, &app, set)
	if err != nil {
		return err
	}
	if why != "" {
		return r.queue(tx, p, why)
	}
	e, err := r.Deploy.CreatePreview(ctx, tx, p, &app, set.TargetID)
	if err != nil {
		return err
	}
	now := r.now()
	moved := r.waits(tx, p).UpdateColumns(map[string]any{"state": models.PreviewLive, "environment_id": e.ID, "started_at": now, "ended_at": nil, "end_reason": "", "note": "", "next_at": nil, "updated_at": now})
	if moved.Error != nil {
		return moved.Error
	}
	if moved.RowsAffected == 0 {
		return errSeen
	}
	p.State = models.PreviewLive
	return r.record(ctx, tx, p, "preview.start", map[string]string{"environment": e.Name})
}

// waits are the preview's row while it wants to start.
func (s *Service) waits(tx *gorm.DB, p *models.Preview) *gorm.DB {
	return tx.Model(&models.Preview{}).Where("id = ? AND state IN ? AND wanted AND NOT closed", p.ID, []models.PreviewState{models.PreviewBuilding, models.PreviewQueued})
}

// noPlace says why there is no place for another preview of the app; empty where there is one.
func (r *round) noPlace(tx *gorm.DB, app *models.App, set settings) (string, error) {
	usage, err := r.usage(tx, *app.Team)
	if err != nil {
		return "", err
	}
	if usage.Full() || r.full[app.TeamID] {
		r.full[app.TeamID] = true
		return fmt.Sprintf("The team has %s at once, and no place is free. This one starts as soon as one is.", places(usage.Limit)), nil
	}
	live, _, err := count(tx, "app_id", app.ID)
	if err != nil {
		return "", err
	}
	if set.AtMost > 0 && live >= set.AtMost || r.full[app.ID] {
		r.full[app.ID] = true
		return fmt.Sprintf("%s has %s at once, and no place is free. This one starts as soon as one is.", app.Name, places(set.AtMost)), nil
	}
	return "", nil
}

func places(n int) string {
	if n == 1 {
		return "1 preview"
	}
	return fmt.Sprintf("%d previews", n)
}

// queue has the preview wait for a place, and says why where that was not said yet.
func (r *round) queue(tx *gorm.DB, p *models.Preview, why string) error {
	moved := r.waits(tx, p).Where("state <> ? OR note <> ?", models.PreviewQueued, why).UpdateColumns(map[string]any{"state": models.PreviewQueued, "note": why, "updated_at": r.now()})
	if moved.Error != nil || moved.RowsAffected == 0 {
		return moved.Error
	}
	p.State = models.PreviewQueued
	return r.changed(tx, p, "preview.queued")
}

// putOff says what stands in the way of the preview's start, which is tried again later.
func (s *Service) putOff(ctx context.Context, p *models.Preview, why string) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		moved := s.waits(tx, p).UpdateColumns(map[string]any{"note": why, "next_at": s.now().Add(again), "updated_at": s.now()})
		if moved.Error != nil || moved.RowsAffected == 0 || why == p.Note {
			return moved.Error
		}
		return s.changed(tx, p, "preview.note")
	})
}
