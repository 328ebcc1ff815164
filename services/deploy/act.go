package deploy

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/jobs"
)

// Rollback deploys what an earlier deployment ran, image and configuration as
// they were then. It needs neither the repository nor a build.
func (s *Service) Rollback(ctx context.Context, id string) (*models.Deployment, error) {
	return s.again(ctx, id, models.ActionRollback, func(d *models.Deployment) error {
		switch {
		case d.Active && !d.Stopped:
			return models.Errorf(models.Conflict, "Deployment %s serves already. Choose an earlier one to roll back to.", d.Title())
		case d.State != models.DeploymentSucceeded && d.State != models.DeploymentRolledBack:
			return models.Errorf(models.Conflict, "Deployment %s never served, so there is nothing to roll back to. Choose one that succeeded.", d.Title())
		}
		return nil
	})
}

// Restart replaces the instances of what serves by fresh ones, without a gap.
func (s *Service) Restart(ctx context.Context, id string) (*models.Deployment, error) {
	return s.again(ctx, id, models.ActionRestart, func(d *models.Deployment) error {
		if !d.Active || d.Stopped {
			return models.Errorf(models.Conflict, "Deployment %s does not serve now, so it can't be restarted.", d.Title())
		}
		return nil
	})
}

// Resume runs again what a person has stopped.
func (s *Service) Resume(ctx context.Context, id string) (*models.Deployment, error) {
	return s.again(ctx, id, models.ActionStart, func(d *models.Deployment) error {
		if !d.Active || !d.Stopped {
			return models.Errorf(models.Conflict, "Deployment %s is not stopped.", d.Title())
		}
		return nil
	})
}

// again asks for a new deployment with the image and the frozen configuration of an earlier one.
func (s *Service) again(ctx context.Context, id string, action models.DeploymentAction, allowed func(*models.Deployment) error) (*models.Deployment, error) {
	old, err := s.deployment(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if err := allowed(old); err != nil {
		return nil, err
	}
	p, err := s.place(ctx, old.EnvironmentID, old.AppID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	values, err := s.openValues(old)
	if err != nil {
		return nil, err
	}
	d := s.newDeployment(ctx, p, action)
	d.ImageRepository, d.ImageDigest, d.ImageTag, d.BuildID = old.ImageRepository, old.ImageDigest, old.ImageTag, old.BuildID
	d.Config, d.ConfigHash, d.RollbackOf = old.Config, old.ConfigHash, &old.ID
	if err := s.sealValues(d, values); err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		bad, err := badImage(tx, d.TeamID, d.ImageDigest)
		if err != nil {
			return err
		}
		if bad != nil && action == models.ActionRollback {
			return models.Errorf(models.Conflict, "%s marked the image of deployment %s as bad%s. Choose another one, or take the mark away.", bad.MarkedByName, old.Title(), because(bad.Reason))
		}
		if err := s.insert(ctx, tx, d, p); err != nil || action != models.ActionRollback {
			return err
		}
		return s.hold(ctx, tx, d, fmt.Sprintf("Deployment %s went back to %s.", d.Title(), old.Title()))
	})
	if err != nil {
		return nil, err
	}
	d.App, d.Environment = p.App, p.Environment
	return d, nil
}

// Stop ends the instances of what serves: requests get a page that says so,
// open ones may end. Resume runs it again.
func (s *Service) Stop(ctx context.Context, id string) (*models.Deployment, error) {
	d, err := s.deployment(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := holdApp(tx, d.AppID); err != nil {
			return err
		}
		return s.halt(ctx, tx, d)
	})
	return d, err
}

// halt has the instances of what serves end after their drain, in tx, which holds the app.
func (s *Service) halt(ctx context.Context, tx *gorm.DB, d *models.Deployment) error {
	now := s.now()
	until := now.Add(s.drainTime())
	r := tx.Model(&models.Deployment{}).Where("id = ? AND active AND NOT stopped", d.ID).Updates(map[string]any{"stopped": true, "paused": false, "drain_until": until, "retired_at": nil})
	if r.Error != nil {
		return r.Error
	}
	if r.RowsAffected == 0 {
		return models.Errorf(models.Conflict, "Deployment %s does not serve now, so it can't be stopped.", d.Title())
	}
	d.Stopped = true
	err := tx.Model(&models.Route{}).Where("deployment_id = ?", d.ID).Select("addresses", "updated_at").
		Updates(&models.Route{Addresses: []string{}, UpdatedAt: now}).Error
	if err != nil {
		return err
	}
	if err := recordAct(ctx, tx, d, "deployment.stop"); err != nil {
		return err
	}
	if err := publish(tx, d, "deployment.stopped"); err != nil {
		return err
	}
	return s.Queue.Insert(ctx, tx, jobs.QueueDeployments, Retire{DeploymentID: d.ID})
}

// Cancel ends a deployment that has not switched yet. What served before goes on serving.
func (s *Service) Cancel(ctx context.Context, id string) (*models.Deployment, error) {
	return s.change(ctx, id, func(tx *gorm.DB, d *models.Deployment) error {
		if d.State.Ended() {
			return models.Errorf(models.Conflict, "Deployment %s is %s already. Roll back instead.", d.Title(), sayState(d.State))
		}
		if d.Active {
			return models.Errorf(models.Conflict, "Deployment %s serves already. Roll back instead.", d.Title())
		}
		if err := recordAct(ctx, tx, d, "deployment.cancel"); err != nil {
			return err
		}
		return s.cancel(ctx, tx, d)
	})
}

// change does what a developer asks for with the deployment as it is by then, in a transaction that holds its app.
func (s *Service) change(ctx context.Context, id string, do func(tx *gorm.DB, d *models.Deployment) error) (*models.Deployment, error) {
	d, err := s.deployment(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := holdApp(tx, d.AppID); err != nil {
			return err
		}
		if err := tx.First(d, "id = ?", id).Error; err != nil {
			return models.FromDB(err, "deployment")
		}
		return do(tx, d)
	})
	return d, err
}

// recordAct writes into the audit log what somebody did with the deployment.
func recordAct(ctx context.Context, tx *gorm.DB, d *models.Deployment, action string) error {
	return audit.Record(ctx, tx, audit.Entry{TeamID: d.TeamID, Action: action, Subject: "deployment:" + d.ID, Name: d.App.Name + " " + d.Title()})
}

// cancel ends a deployment that waits at once, and tells the worker of one that runs.
func (s *Service) cancel(ctx context.Context, tx *gorm.DB, d *models.Deployment) error {
	now := s.now()
	d.CancelRequestedAt = &now
	kind := "deployment.canceling"
	if d.State == models.DeploymentPending || d.State == models.DeploymentWaiting {
		d.State, d.FinishedAt, kind = models.DeploymentCanceled, &now, "deployment.canceled"
	}
	if err := tx.Model(d).Select("state", "finished_at", "cancel_requested_at").Updates(d).Error; err != nil {
		return err
	}
	if err := publish(tx, d, kind); err != nil || !d.Shifting() {
		return err
	}
	return s.Queue.Insert(ctx, tx, jobs.QueueDeployments, Rollout{DeploymentID: d.ID}) // its own job sleeps between two looks
}

func sayState(state models.DeploymentState) string {
	switch state {
	case models.DeploymentRolledBack:
		return "rolled back"
	case models.DeploymentWaiting:
		return "waiting for approval"
	}
	return string(state)
}
