package deploy

import (
	"context"
	"fmt"
	"slices"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Filter narrows the list of deployments.
type Filter struct {
	models.Page
	TeamID        string `query:"team_id"`
	AppID         string `query:"app_id"`
	EnvironmentID string `query:"environment_id"`
	State         string `query:"state"`
	Digest        string `query:"digest"`
	Active        bool   `query:"active"` // only what serves now
}

// Get returns the deployment with its app, environment, build, phases and instances.
func (s *Service) Get(ctx context.Context, id string) (*models.Deployment, error) {
	d, err := s.deployment(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	d.SealedSecrets = nil
	return d, nil
}

func (s *Service) deployment(ctx context.Context, id string, role models.Role) (*models.Deployment, error) {
	var d models.Deployment
	err := s.DB.WithContext(ctx).Preload("App").Preload("App.Repository").Preload("Build").Preload("Environment").Preload("Environment.Team").Preload("Environment.Target", slim).
		Preload("Phases", func(tx *gorm.DB) *gorm.DB { return tx.Order("seq") }).
		Preload("Instances", func(tx *gorm.DB) *gorm.DB { return tx.Order("created_at") }).
		Preload("Approvals", func(tx *gorm.DB) *gorm.DB { return tx.Order("created_at") }).
		First(&d, "id = ?", id).Error
	if err != nil {
		return nil, models.FromDB(err, "deployment")
	}
	return &d, models.Authorize(ctx, d.TeamID, role, "deployment")
}

// List returns deployments, newest first.
func (s *Service) List(ctx context.Context, f Filter) (models.List[models.Deployment], error) {
	q, err := visible(ctx, s.DB.WithContext(ctx).Omit("sealed_secrets"), "team_id")
	if err != nil {
		return models.List[models.Deployment]{}, err
	}
	for column, value := range map[string]string{"team_id": f.TeamID, "app_id": f.AppID, "environment_id": f.EnvironmentID, "state": f.State, "image_digest": f.Digest} {
		if value != "" {
			q = q.Where(column+" = ?", value)
		}
	}
	if f.Active {
		q = q.Where("active")
	}
	q = q.Preload("App").Preload("Environment").Preload("Build").Preload("Instances", func(tx *gorm.DB) *gorm.DB { return tx.Omit("last_logs") })
	return models.Newest(q, f.Page, "id", func(d models.Deployment) string { return d.ID })
}

// Cell is an app in an environment.
type Cell struct {
	Active *models.Deployment // what serves; nil: nothing yet
	Latest *models.Deployment // the newest attempt; nil where Active is it
}

// Board is what runs where.
type Board struct {
	Environments []models.Environment
	Apps         []models.App
	Cells        map[string]Cell // by environment id + "/" + app id
}

// Cell returns an app in an environment; empty where it never was deployed.
func (b *Board) Cell(environmentID, appID string) Cell { return b.Cells[environmentID+"/"+appID] }

// Board returns the board of a team, or of all the principal's teams where
// teamID is empty; with an app id it is about that app alone.
func (s *Service) Board(ctx context.Context, teamID, appID string) (*Board, error) {
	b := &Board{Cells: map[string]Cell{}}
	var err error
	if b.Environments, err = s.Environments(ctx, EnvironmentFilter{TeamID: teamID}); err != nil {
		return nil, err
	}
	narrow := func(q *gorm.DB, app string) (*gorm.DB, error) {
		if teamID != "" {
			q = q.Where("team_id = ?", teamID)
		}
		if appID != "" {
			q = q.Where(app+" = ?", appID)
		}
		return visible(ctx, q, "team_id")
	}
	apps, err := narrow(s.DB.WithContext(ctx), "id")
	if err != nil {
		return nil, err
	}
	if err := apps.Order("team_id, name").Limit(1000).Find(&b.Apps).Error; err != nil {
		return nil, err
	}
	rows, err := narrow(s.DB.WithContext(ctx), "app_id")
	if err != nil {
		return nil, err
	}
	return b, s.fillCells(ctx, b, rows)
}

func (s *Service) fillCells(ctx context.Context, b *Board, rows *gorm.DB) error {
	newest := rows.Session(&gorm.Session{}).Model(&models.Deployment{}).Select("MAX(id)").Group("environment_id, app_id")
	var found []models.Deployment
	err := s.DB.WithContext(ctx).Omit("sealed_secrets").Where("id IN (?) OR (active AND id IN (?))", newest, rows.Session(&gorm.Session{}).Model(&models.Deployment{}).Select("id")).
		Preload("Build").Preload("Instances", func(tx *gorm.DB) *gorm.DB { return tx.Omit("last_logs") }).Order("id").Find(&found).Error
	if err != nil {
		return err
	}
	for i := range found {
		d := &found[i]
		key := d.EnvironmentID + "/" + d.AppID
		c := b.Cells[key]
		if d.Active {
			c.Active = d
		} else {
			c.Latest = d
		}
		b.Cells[key] = c
	}
	return nil
}

// WhyWaiting says in one sentence what a pending deployment waits for and what
// would end the wait; empty for others.
func (s *Service) WhyWaiting(ctx context.Context, d *models.Deployment) (string, error) {
	if d.State == models.DeploymentWaiting {
		return s.waitsFor(d), nil
	}
	if d.State != models.DeploymentPending {
		return "", nil
	}
	var ahead models.Deployment
	err := s.DB.WithContext(ctx).Where("environment_id = ? AND app_id = ? AND state = ? AND id <> ?", d.EnvironmentID, d.AppID, models.DeploymentRunning, d.ID).Limit(1).Find(&ahead).Error
	if err != nil {
		return "", err
	}
	if ahead.ID != "" {
		return fmt.Sprintf("Deployment %s is under way in the same place. This one begins when it has ended; cancel it to go first.", ahead.Title()), nil
	}
	alive, err := s.Queue.Workers(s.DB.WithContext(ctx))
	if err != nil {
		return "", err
	}
	if len(alive) == 0 {
		return "No worker is running, so nothing takes this deployment: start one with slipway worker, or slipway serve without --workers=false.", nil
	}
	if !slices.ContainsFunc(alive, func(w models.Worker) bool { return !w.Draining }) {
		return "Every worker drains, so nothing takes this deployment until an admin resumes one or starts another.", nil
	}
	return "A worker takes this deployment in a moment.", nil
}
