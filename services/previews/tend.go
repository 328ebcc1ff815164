package previews

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// again is the pause before something is tried again that something else stands in the way of.
const again = 15 * time.Second

// Tend does what follows from what happened: previews whose time is over are
// told to end, what runs of those that were told is removed, those that wait
// get a place where one is free, and good builds are deployed. Every worker may run it.
func (s *Service) Tend(ctx context.Context) error {
	ctx = models.WithPrincipal(ctx, models.System("previews"))
	return errors.Join(s.expire(ctx), s.remove(ctx), s.follow(ctx), s.start(ctx), s.deploy(ctx))
}

// expire tells previews to end to which nothing was pushed for so long.
func (s *Service) expire(ctx context.Context) error {
	var over []models.Preview
	now := s.now()
	err := s.DB.WithContext(ctx).Where("state IN ? AND expires_at <= ?", models.PreviewsGoing, now).Order("id").Limit(atOnce).Find(&over).Error
	if err != nil {
		return fmt.Errorf("looking for previews whose time is over: %w", err)
	}
	var errs []error
	for i := range over {
		errs = append(errs, s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			r := tx.Model(&models.Preview{}).Where("id = ? AND expires_at <= ?", over[i].ID, now).UpdateColumn("updated_at", now)
			if r.Error != nil || r.RowsAffected == 0 {
				return r.Error // somebody has just given it more time
			}
			_, err := s.finish(ctx, tx, &over[i], models.PreviewExpired)
			return err
		}))
	}
	return errors.Join(errs...)
}

// remove takes away what runs of previews that were told to end, as far as it
// can be now, and ends those of which nothing is left.
func (s *Service) remove(ctx context.Context) error {
	var all []models.Preview
	if err := s.DB.WithContext(ctx).Where("state = ?", models.PreviewEnding).Order("id").Limit(atOnce).Find(&all).Error; err != nil {
		return fmt.Errorf("looking for previews that end: %w", err)
	}
	var errs []error
	for i := range all {
		p := &all[i]
		gone, err := s.Deploy.EndPreview(ctx, p)
		if err == nil && gone {
			err = s.ended(ctx, p)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("removing preview %s: %w", p.ID, err))
		}
	}
	return errors.Join(errs...)
}

// ended records that nothing is left of the preview. One that was pushed to
// meanwhile begins again.
func (s *Service) ended(ctx context.Context, p *models.Preview) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		now := s.now()
		r := tx.Model(&models.Preview{}).Where("id = ? AND state = ?", p.ID, models.PreviewEnding).UpdateColumns(map[string]any{
			"state":          gorm.Expr("CASE WHEN wanted AND NOT closed THEN ? ELSE ? END", models.PreviewBuilding, models.PreviewEnded),
			"end_reason":     gorm.Expr("CASE WHEN wanted AND NOT closed THEN '' ELSE end_reason END"),
			"environment_id": nil, "deployment_id": "", "deployment_state": "", "serving_id": "", "stopped": false, "url": "", "note": "", "ended_at": now, "updated_at": now,
		})
		if r.Error != nil || r.RowsAffected == 0 {
			return r.Error
		}
		if err := tx.Take(p, "id = ?", p.ID).Error; err != nil {
			return err
		}
		return s.changed(tx, p, "preview.ended")
	})
}

// standing is what the deployments of a preview's environment say.
type standing struct {
	DeploymentID    string
	DeploymentState models.DeploymentState
	ServingID       string
	Stopped         bool
	URL             string
}

func standingOf(p *models.Preview) standing {
	return standing{p.DeploymentID, p.DeploymentState, p.ServingID, p.Stopped, p.URL}
}

// follow writes down where the deployments of live previews stand.
func (s *Service) follow(ctx context.Context) error {
	var live []models.Preview
	if err := s.DB.WithContext(ctx).Where("state = ?", models.PreviewLive).Order("id").Find(&live).Error; err != nil || len(live) == 0 {
		return err
	}
	within := s.DB.Model(&models.Preview{}).Select("environment_id").Where("state = ?", models.PreviewLive)
	newest := s.DB.Model(&models.Deployment{}).Select("MAX(id)").Where("environment_id IN (?)", within).Group("environment_id")
	var all []models.Deployment
	err := s.DB.WithContext(ctx).Select("id", "environment_id", "state", "active", "stopped", "url").
		Where("environment_id IN (?) AND (active OR id IN (?))", within, newest).Order("id").Find(&all).Error
	if err != nil {
		return fmt.Errorf("looking at the deployments of previews: %w", err)
	}
	now := map[string]*standing{}
	for _, d := range all {
		at := now[d.EnvironmentID]
		if at == nil {
			at = &standing{}
			now[d.EnvironmentID] = at
		}
		at.DeploymentID, at.DeploymentState, at.URL = d.ID, d.State, d.URL
		if d.Active {
			at.ServingID, at.Stopped = d.ID, d.Stopped
		}
	}
	var errs []error
	for i := range live {
		p := &live[i]
		if p.EnvironmentID == nil || now[*p.EnvironmentID] == nil || *now[*p.EnvironmentID] == standingOf(p) {
			continue
		}
		errs = append(errs, s.stands(ctx, p, *now[*p.EnvironmentID]))
	}
	return errors.Join(errs...)
}

func (s *Service) stands(ctx context.Context, p *models.Preview, at standing) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		r := tx.Model(&models.Preview{}).Where("id = ? AND state = ? AND environment_id = ? AND deployment_id <= ?", p.ID, models.PreviewLive, *p.EnvironmentID, at.DeploymentID).
			UpdateColumns(map[string]any{"deployment_id": at.DeploymentID, "deployment_state": at.DeploymentState, "serving_id": at.ServingID, "stopped": at.Stopped, "url": at.URL, "updated_at": s.now()})
		if r.Error != nil || r.RowsAffected == 0 {
			return r.Error
		}
		return s.changed(tx, p, "preview.deployment")
	})
}

// errSeen says that another worker deals with the preview, or that it ends just now.
var errSeen = errors.New("the preview was seen by another worker")

// deploy deploys the newest good builds of live previews.
func (s *Service) deploy(ctx context.Context) error {
	var all []models.Preview
	err := s.DB.WithContext(ctx).Where("state = ? AND wanted AND (next_at IS NULL OR next_at <= ?)", models.PreviewLive, s.now()).Order("waiting_since, id").Limit(atOnce).Find(&all).Error
	if err != nil {
		return fmt.Errorf("looking for previews that are to be deployed: %w", err)
	}
	var errs []error
	for i := range all {
		errs = append(errs, s.deployOne(ctx, &all[i]))
	}
	return errors.Join(errs...)
}

func (s *Service) deployOne(ctx context.Context, p *models.Preview) error {
	see := func(tx *gorm.DB, change map[string]any) error {
		change["updated_at"] = s.now()
		r := tx.Model(&models.Preview{}).Where("id = ? AND state = ? AND wanted AND build_id = ? AND environment_id = ?", p.ID, models.PreviewLive, p.BuildID, *p.EnvironmentID).UpdateColumns(change)
		if r.Error == nil && r.RowsAffected == 0 {
			return errSeen
		}
		if r.Error != nil {
			return r.Error
		}
		return s.changed(tx, p, "preview.deploy")
	}
	_, err := s.Deploy.DeployPreview(ctx, p, func(tx *gorm.DB, d *models.Deployment) error {
		return see(tx, map[string]any{"wanted": false, "waiting_since": nil, "next_at": nil, "note": "", "deployment_id": d.ID, "deployment_state": d.State})
	})
	told := new(models.Error)
	switch {
	case err == nil, errors.Is(err, errSeen):
		return nil
	case !errors.As(err, &told):
		return fmt.Errorf("deploying preview %s: %w", p.ID, err)
	}
	slog.InfoContext(ctx, "a preview was not deployed", "preview", p.ID, "build", p.BuildNumber, "error", err)
	change := map[string]any{"note": fmt.Sprintf("Build #%d was not deployed: %s", p.BuildNumber, told.Message), "wanted": false, "next_at": nil}
	if told.Code == models.Unavailable {
		change["wanted"], change["next_at"] = true, s.now().Add(again)
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return see(tx, change) })
	if errors.Is(err, errSeen) {
		return nil
	}
	return err
}
