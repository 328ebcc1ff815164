package previews

import (
	"context"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Redeploy has the newest good build deployed again, with variables as they are
// now; one that has ended begins again. The team's developers may.
func (s *Service) Redeploy(ctx context.Context, id string) (*models.Preview, error) {
	return s.act(ctx, id, func(tx *gorm.DB, p *models.Preview) error {
		set, ok, err := settingsOf(tx, p.AppID)
		switch {
		case err != nil:
			return err
		case !ok || !set.Enabled:
			return models.Errorf(models.Conflict, "%s has no previews any more. A maintainer can switch them on in its settings for previews.", p.App.Name)
		case p.Closed:
			return models.Errorf(models.Conflict, "Pull request %s is closed. Its preview begins again when it is reopened.", p.Name())
		case p.BuildID == "":
			return models.Errorf(models.Conflict, "Pull request %s has no good build yet. Build it first.", p.Name())
		}
		now := s.now()
		change := map[string]any{"wanted": true, "wanted_by": "", "wanted_by_name": "", "next_at": nil, "updated_at": now,
			"waiting_since": gorm.Expr("COALESCE(waiting_since, ?)", now), "state": p.State}
		if who := models.PrincipalFrom(ctx); who != nil {
			change["wanted_by"], change["wanted_by_name"] = who.UserID, who.Name
		}
		if p.State == models.PreviewEnded {
			change["state"], change["ended_at"], change["end_reason"], change["expires_at"] = models.PreviewBuilding, nil, "", now.Add(set.life())
		}
		return s.change(ctx, tx, p, "preview.redeploy", change)
	})
}

// Extend gives the preview its whole time again from now on; the team's developers may.
func (s *Service) Extend(ctx context.Context, id string) (*models.Preview, error) {
	return s.act(ctx, id, func(tx *gorm.DB, p *models.Preview) error {
		if !p.Going() {
			return models.Errorf(models.Conflict, "The preview of %s has ended, or is about to. Deploy it again instead.", p.Name())
		}
		set, ok, err := settingsOf(tx, p.AppID)
		if err != nil {
			return err
		}
		life := time.Duration(defaultHours) * time.Hour
		if ok {
			life = set.life()
		}
		return s.change(ctx, tx, p, "preview.extend", map[string]any{"expires_at": s.now().Add(life), "updated_at": s.now()})
	})
}

// Remove ends the preview; the next push to its pull request begins it again.
// The team's developers may.
func (s *Service) Remove(ctx context.Context, id string) (*models.Preview, error) {
	return s.act(ctx, id, func(tx *gorm.DB, p *models.Preview) error {
		if !p.Going() {
			return models.Errorf(models.Conflict, "The preview of %s has ended already, or is about to.", p.Name())
		}
		done, err := s.finish(ctx, tx, p, models.PreviewRemoved)
		if err == nil && !done {
			return errBusy
		}
		return err
	})
}

// errBusy says that a worker changed the preview between a person's look and click.
var errBusy = models.Errorf(models.Conflict, "The preview has just changed. Look again.")

// act runs what a developer does with the preview, and reads it again.
func (s *Service) act(ctx context.Context, id string, do func(*gorm.DB, *models.Preview) error) (*models.Preview, error) {
	p, err := s.preview(ctx, "id = ?", id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return do(tx, p) }); err != nil {
		return nil, err
	}
	return s.Get(ctx, id)
}

// change writes the change to the preview as it was read, with its audit entry and its event.
func (s *Service) change(ctx context.Context, tx *gorm.DB, p *models.Preview, action string, change map[string]any) error {
	r := tx.Model(&models.Preview{}).Where("id = ? AND state = ?", p.ID, p.State).UpdateColumns(change)
	if r.Error != nil {
		return r.Error
	}
	if r.RowsAffected == 0 {
		return errBusy
	}
	return s.record(ctx, tx, p, action, nil)
}
