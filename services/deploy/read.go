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
	if ahead.Shifting() {
		return fmt.Sprintf("Visitors move to deployment %s in the same place in steps. This one begins when that has ended: send everyone to %s now, or cancel it.", ahead.Title(), ahead.Title()), nil
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
