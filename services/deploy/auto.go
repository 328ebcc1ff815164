package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// AutoEvery is how often DeployGoodBuilds is meant to run.
const AutoEvery = 2 * time.Second

// AutoInput says which builds of an app an environment gets by itself.
type AutoInput struct {
	EnvironmentID string
	AppID         string
	Branch        string // a glob
}

// AutoDeploys lists the apps that the environment gets by itself.
func (s *Service) AutoDeploys(ctx context.Context, environmentID string) ([]models.AutoDeploy, error) {
	if _, err := s.environment(ctx, environmentID, models.RoleViewer); err != nil {
		return nil, err
	}
	var all []models.AutoDeploy
	return all, s.DB.WithContext(ctx).Where("environment_id = ?", environmentID).Order("app_id").Find(&all).Error
}

// SetAuto has good builds of the branch deployed as soon as they are there, from the next one on.
func (s *Service) SetAuto(ctx context.Context, in AutoInput) (*models.AutoDeploy, error) {
	p, err := s.place(ctx, in.EnvironmentID, in.AppID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if err := p.Environment.OfPeople(); err != nil {
		return nil, err
	}
	if in.Branch == "" || len(in.Branch) > 200 || !doublestar.ValidatePattern(in.Branch) {
		return nil, models.InvalidField("branch", "Name a branch, or a pattern such as release/**.")
	}
	row := &models.AutoDeploy{EnvironmentID: p.Environment.ID, AppID: p.App.ID, Branch: in.Branch, SeenAt: s.now(), UpdatedAt: s.now()}
	if who := models.PrincipalFrom(ctx); who != nil {
		row.UpdatedBy = who.Name
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Model(&models.Build{}).Where("app_id = ?", p.App.ID).Select("COALESCE(MAX(number), 0)").Scan(&row.BuildNumber).Error; err != nil {
			return err
		}
		var before models.AutoDeploy
		if err := tx.Limit(1).Find(&before, "environment_id = ? AND app_id = ?", p.Environment.ID, p.App.ID).Error; err != nil {
			return err
		}
		kept := []string{"updated_by", "updated_at"} // what is held stays held
		if before.Branch != in.Branch {
			kept = append(kept, "branch", "build_number", "seen_at", "note")
		}
		if err := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "environment_id"}, {Name: "app_id"}}, DoUpdates: clause.AssignmentColumns(kept)}).Create(row).Error; err != nil {
			return err
		}
		return s.autoChanged(ctx, tx, p, "environment.auto_deploy", in.Branch)
	})
	if err != nil {
		return nil, err
	}
	return row, s.DB.WithContext(ctx).Take(row).Error
}

// UnsetAuto leaves the deployments of the app to people.
func (s *Service) UnsetAuto(ctx context.Context, environmentID, appID string) error {
	return s.changeAuto(ctx, environmentID, appID, "environment.auto_deploy_off", func(tx *gorm.DB) *gorm.DB { return tx.Delete(&models.AutoDeploy{}) })
}

// LiftHold has good builds deployed again after a rollback. The newest one that
// came meanwhile is deployed at once.
func (s *Service) LiftHold(ctx context.Context, environmentID, appID string) error {
	return s.changeAuto(ctx, environmentID, appID, "environment.auto_deploy_resume", func(tx *gorm.DB) *gorm.DB {
		return tx.Model(&models.AutoDeploy{}).Updates(map[string]any{"held_at": nil, "held_by_name": "", "held_why": "", "note": ""})
	})
}

func (s *Service) changeAuto(ctx context.Context, environmentID, appID, action string, change func(*gorm.DB) *gorm.DB) error {
	p, err := s.place(ctx, environmentID, appID, models.RoleDeveloper)
	if err != nil {
		return err
	}
	if err := p.Environment.OfPeople(); err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		r := change(tx.Where("environment_id = ? AND app_id = ?", environmentID, appID))
		if r.Error != nil {
			return r.Error
		}
		if r.RowsAffected == 0 {
			return models.Errorf(models.NotFound, "%s is not deployed to %s by itself.", p.App.Name, p.Environment.Name)
		}
		return s.autoChanged(ctx, tx, p, action, "")
	})
}

func (s *Service) autoChanged(ctx context.Context, tx *gorm.DB, p *place, action, branch string) error {
	e := p.Environment
	err := audit.Record(ctx, tx, audit.Entry{TeamID: e.TeamID, Action: action, Subject: "environment:" + e.ID, Name: p.App.Name, Detail: map[string]string{"environment": e.Name, "branch": branch}})
	if err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: e.TeamID, Kind: action, Topic: "environment:" + e.ID, Parent: "team:" + e.TeamID})
}

// hold keeps good builds from being deployed over what a person went back to.
func (s *Service) hold(ctx context.Context, tx *gorm.DB, d *models.Deployment, why string) error {
	who := ""
	if p := models.PrincipalFrom(ctx); p != nil {
		who = p.Name
	}
	return tx.Model(&models.AutoDeploy{}).Where("environment_id = ? AND app_id = ? AND held_at IS NULL", d.EnvironmentID, d.AppID).
		Updates(map[string]any{"held_at": s.now(), "held_by_name": who, "held_why": why}).Error
}

// candidate is a good build that came after those that an automatic deployment has seen.
type candidate struct {
	models.AutoDeploy
	BuildID    string
	Number     int64
	Ref        string
	FinishedAt time.Time
	ByUser     string
	ByName     string
}

// DeployGoodBuilds deploys the newest good build of each branch that an
// environment gets by itself. A build that can't go in for good, such as one of
// an image that was marked bad, is passed over with a note; one that may later,
// such as after a freeze, is tried again. Every worker may run it.
func (s *Service) DeployGoodBuilds(ctx context.Context) error {
	var found []candidate
	err := s.DB.WithContext(ctx).Table("auto_deploys").
		Select("auto_deploys.*, b.id AS build_id, b.number, b.ref, b.finished_at, b.created_by AS by_user, b.created_by_name AS by_name").
		Joins("JOIN builds b ON b.app_id = auto_deploys.app_id AND b.finished_at > auto_deploys.seen_at").
		Where("auto_deploys.held_at IS NULL AND b.state = ? AND b.image_digest <> '' AND b.ref_kind = 'branch' AND NOT b.untrusted", models.BuildSucceeded).
		Order("b.finished_at").Limit(500).Find(&found).Error
	if err != nil {
		return err
	}
	newest, last := map[string]*candidate{}, map[string]*candidate{}
	for i := range found {
		c := &found[i]
		key := c.EnvironmentID + "/" + c.AppID
		last[key] = c
		ok, err := doublestar.Match(c.Branch, c.Ref)
		if ok && err == nil && c.Number > c.BuildNumber && (newest[key] == nil || c.Number > newest[key].Number) {
			newest[key] = c
		}
	}
	var errs []error
	for key, c := range last {
		if newest[key] == nil {
			errs = append(errs, s.passOver(ctx, c))
		}
	}
	for _, c := range newest {
		errs = append(errs, s.autoDeploy(models.WithPrincipal(ctx, models.System("automatic deployment")), c))
	}
	return errors.Join(errs...)
}

// late is how much later than it says a build's end may become visible.
const late = time.Minute

// passOver notes that the builds up to c are none that the environment gets, so that they are not read again.
func (s *Service) passOver(ctx context.Context, c *candidate) error {
	seen := c.FinishedAt.Add(-late)
	if !seen.After(c.SeenAt) {
		return nil
	}
	return s.DB.WithContext(ctx).Model(&models.AutoDeploy{}).Where("environment_id = ? AND app_id = ? AND seen_at < ?", c.EnvironmentID, c.AppID, seen).
		UpdateColumn("seen_at", seen).Error
}

// errSeen says that another worker deals with the build.
var errSeen = errors.New("the build was seen by another worker")

func (s *Service) autoDeploy(ctx context.Context, c *candidate) error {
	if frozen, err := s.frozen(ctx, c.EnvironmentID); err != nil {
		return err
	} else if frozen {
		return s.passOver(ctx, c) // it is still the newest when the freeze is over; those before it need not be read again
	}
	see := func(tx *gorm.DB, note string) error {
		r := tx.Model(&models.AutoDeploy{}).Where("environment_id = ? AND app_id = ? AND build_number = ? AND held_at IS NULL", c.EnvironmentID, c.AppID, c.BuildNumber).
			Updates(map[string]any{"build_number": c.Number, "seen_at": c.FinishedAt, "note": note})
		if r.Error == nil && r.RowsAffected == 0 {
			return errSeen
		}
		return r.Error
	}
	_, err := s.deploy(ctx, Input{EnvironmentID: c.EnvironmentID, AppID: c.AppID, BuildID: c.BuildID}, func(tx *gorm.DB, d *models.Deployment) error {
		d.CreatedBy, d.CreatedByName = c.ByUser, or(c.ByName, "automatic") // so that nobody approves their own build
		d.Reason = fmt.Sprintf("build #%d of %s was good", c.Number, c.Ref)
		return see(tx, "")
	})
	refused := new(models.Error)
	switch {
	case err == nil || errors.Is(err, errSeen):
		return nil
	case errors.As(err, &refused) && (refused.Code == models.Conflict || refused.Code == models.Invalid || refused.Code == models.NotFound):
		slog.InfoContext(ctx, "a good build was not deployed", "environment", c.EnvironmentID, "app", c.AppID, "build", c.Number, "error", err)
		err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			return see(tx, fmt.Sprintf("Build #%d was not deployed: %s", c.Number, refused.Message))
		})
		if errors.Is(err, errSeen) {
			return nil
		}
		return err
	}
	return fmt.Errorf("deploying build #%d by itself: %w", c.Number, err)
}

func (s *Service) frozen(ctx context.Context, environmentID string) (bool, error) {
	var e models.Environment
	err := s.DB.WithContext(ctx).Limit(1).Find(&e, "id = ?", environmentID).Error
	_, _, frozen := e.Protection.Frozen(s.now())
	return frozen, err
}
