package deploy

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// origin is where what an app gets in an environment comes from.
type origin struct {
	Environment *models.Environment // whose variables and scale; without an id where it is none's
	Secrets     bool                // and its secrets
}

// origin of a stage is the stage itself. A preview takes what the environment
// that its app's settings name has now; its secrets only where a maintainer
// said so, and never for code that comes from a fork.
func (s *Service) origin(tx *gorm.DB, p *place, c *Choice) (origin, error) {
	if p.Environment.Kind != models.EnvironmentPreview {
		return origin{Environment: p.Environment, Secrets: true}, nil
	}
	var preview models.Preview
	if err := tx.Take(&preview, "environment_id = ?", p.Environment.ID).Error; err != nil {
		return origin{}, models.FromDB(err, "preview")
	}
	var settings models.PreviewSettings
	if err := tx.Take(&settings, "app_id = ?", p.App.ID).Error; err != nil {
		return origin{}, models.FromDB(err, "app with previews")
	}
	if settings.TemplateID == "" {
		return origin{Environment: &models.Environment{TeamID: p.App.TeamID}}, nil
	}
	var template models.Environment
	err := tx.Limit(1).Find(&template, "id = ? AND team_id = ? AND kind = ?", settings.TemplateID, p.App.TeamID, models.EnvironmentStage).Error
	if err != nil {
		return origin{}, err
	}
	if template.ID == "" {
		return origin{}, models.Errorf(models.Conflict, "The environment that previews of %s take their variables from was deleted. Choose another one in the app's settings for previews.", p.App.Name)
	}
	own := !preview.Fork && c.Build != nil && !c.Build.Untrusted
	return origin{Environment: &template, Secrets: settings.Secrets && own}, nil
}

// stage is environment, of those that people may change and promote between.
func (s *Service) stage(ctx context.Context, id string, role models.Role) (*models.Environment, error) {
	e, err := s.environment(ctx, id, role)
	if err != nil {
		return nil, err
	}
	return e, e.OfPeople()
}

// asSystem lets nobody but Slipway's own work through.
func asSystem(ctx context.Context) error {
	if p := models.PrincipalFrom(ctx); p == nil || p.Kind != models.PrincipalSystem {
		return models.Errorf(models.Denied, "Only Slipway itself makes and removes previews so.")
	}
	return nil
}

// CreatePreview makes in tx the environment of a preview on the target, which
// the team must still be granted. Slipway's own work alone may call it.
func (s *Service) CreatePreview(ctx context.Context, tx *gorm.DB, preview *models.Preview, app *models.App, targetID string) (*models.Environment, error) {
	if err := asSystem(ctx); err != nil {
		return nil, err
	}
	var t models.Target
	if err := granted(tx, app.TeamID).Select("targets.id").Limit(1).Find(&t, "targets.id = ?", targetID).Error; err != nil {
		return nil, err
	}
	if t.ID == "" {
		return nil, models.Errorf(models.Conflict, "The target of the previews of %s was deleted, or the team may not use it any more. Choose another one in the app's settings for previews.", app.Name)
	}
	e := &models.Environment{ID: models.NewID(), TeamID: app.TeamID, TargetID: t.ID, Kind: models.EnvironmentPreview, Position: -1}
	short := fmt.Sprintf("pr-%d-%s", preview.Number, app.Name)
	mark := markOf(app.ID + "/" + e.ID)
	for _, e.Name = range []string{fit(short, mark), short[:min(len(short), maxLabel-len(mark))] + mark} {
		var taken int64
		if err := tx.Model(&models.Environment{}).Where("team_id = ? AND name = ?", e.TeamID, e.Name).Count(&taken).Error; err != nil {
			return nil, err
		}
		if taken == 0 {
			break
		}
	}
	if err := tx.Create(e).Error; err != nil {
		return nil, models.FromDB(err, "environment")
	}
	return e, s.environmentChanged(ctx, tx, e, "environment.create")
}

// DeployPreview deploys the preview's newest good build to its environment, as
// Deploy does. Also takes part in the transaction; where it fails nothing is
// deployed. Slipway's own work alone may call it.
func (s *Service) DeployPreview(ctx context.Context, preview *models.Preview, also func(*gorm.DB, *models.Deployment) error) (*models.Deployment, error) {
	if err := asSystem(ctx); err != nil {
		return nil, err
	}
	if preview.EnvironmentID == nil {
		return nil, models.Errorf(models.Conflict, "The preview has no environment.")
	}
	in := Input{EnvironmentID: *preview.EnvironmentID, AppID: preview.AppID, BuildID: preview.BuildID, preview: true}
	return s.deploy(ctx, in, func(tx *gorm.DB, d *models.Deployment) error {
		if err := holdApp(tx, preview.AppID); err != nil { // before the preview's own row, as everywhere
			return err
		}
		d.CreatedBy, d.CreatedByName = preview.WantedBy, or(preview.WantedByName, or(preview.Author, "preview"))
		d.Reason = fmt.Sprintf("build #%d of pull request %s was good", preview.BuildNumber, preview.Name())
		return also(tx, d)
	})
}

// EndPreview takes the preview's environment away: it cancels what is under way
// and stops what serves; once all instances are gone it deletes the environment
// with its deployments and its address, and tells so. It does as much as can be
// done now: call it again until it is gone. Slipway's own work alone may call it.
func (s *Service) EndPreview(ctx context.Context, preview *models.Preview) (gone bool, err error) {
	if err := asSystem(ctx); err != nil {
		return false, err
	}
	if preview.EnvironmentID == nil {
		return true, nil
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := holdApp(tx, preview.AppID); err != nil {
			return err
		}
		var e models.Environment
		if err := tx.Limit(1).Find(&e, "id = ? AND kind = ?", *preview.EnvironmentID, models.EnvironmentPreview).Error; err != nil {
			return err
		}
		var left []models.Deployment
		if err := busy(tx, e.ID).Omit("sealed_secrets").Preload("App").Order("id").Find(&left).Error; err != nil {
			return err
		}
		for i := range left {
			if err := s.quiet(ctx, tx, &left[i]); err != nil {
				return err
			}
		}
		gone = len(left) == 0
		if !gone || e.ID == "" {
			return nil
		}
		return s.deleteEnvironment(ctx, tx, &e)
	})
	return gone && err == nil, err
}

// UnloadPreview is the end of a preview's environment in the deletion of its app: in tx, after Unload, it deletes the
// environment. Whoever deletes the app has authorized it.
func (s *Service) UnloadPreview(ctx context.Context, tx *gorm.DB, environmentID string) error {
	var e models.Environment
	err := tx.Limit(1).Find(&e, "id = ? AND kind = ?", environmentID, models.EnvironmentPreview).Error
	if e.ID == "" || err != nil {
		return err
	}
	return s.deleteEnvironment(ctx, tx, &e)
}

// quiet does the next step towards the end of a deployment's instances.
func (s *Service) quiet(ctx context.Context, tx *gorm.DB, d *models.Deployment) error {
	switch {
	case !d.State.Ended() && !d.Active && d.CancelRequestedAt == nil:
		return s.cancel(ctx, tx, d)
	case d.State.Ended() && d.Active && !d.Stopped:
		return s.halt(ctx, tx, d)
	}
	return nil // a worker is at it
}
