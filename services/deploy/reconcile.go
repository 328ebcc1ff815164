package deploy

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

const (
	touchEvery    = 10 * time.Second // how often an instance that did not change is written
	unknownAfter  = 30 * time.Second // without news of its target
	orphanAfter   = 30 * time.Second // after its end, so that nobody who still works on it is disturbed
	evidenceLines = 20               // of an instance that has ended
	// ReconcileEvery is how often Reconcile is meant to run.
	ReconcileEvery = time.Second
)

// Reconcile looks at what really runs: it stores the state of each instance,
// follows published ports that changed, says what was stopped behind Slipway's
// back, and removes what a dead worker left. Every worker may run it.
func (s *Service) Reconcile(ctx context.Context) error {
	var targets []string
	used := s.DB.Model(&models.Deployment{}).Select("environment_id")
	err := s.DB.WithContext(ctx).Model(&models.Environment{}).Where("id IN (?)", used).Distinct().Pluck("target_id", &targets).Error
	if err != nil {
		return err
	}
	errs := []error{s.requeue(ctx), s.requeueShifts(ctx), s.endPauses(ctx)}
	for _, id := range targets {
		errs = append(errs, s.reconcile(ctx, id))
	}
	return errors.Join(errs...)
}

func (s *Service) reconcile(ctx context.Context, targetID string) error {
	target, err := s.target(ctx, targetID)
	if err != nil {
		return err
	}
	serving, err := s.serving(ctx, targetID) // before the list: what serves by now and did not then may have started after it
	if err != nil {
		return err
	}
	found, err := target.List(ctx)
	if f := new(Failure); errors.As(err, &f) {
		return s.unknown(ctx, serving, f.Message)
	}
	if err != nil {
		return err
	}
	byRelease := map[string][]Instance{}
	for _, i := range found {
		byRelease[i.Release] = append(byRelease[i.Release], i)
	}
	heals, err := s.heals(ctx, targetID)
	if err != nil {
		return err
	}
	for i := range serving {
		if own := byRelease[serving[i].ID]; heals && len(own) > 0 {
			if err := s.follow(ctx, &serving[i], own); err != nil {
				return err
			}
		}
		if err := s.sync(ctx, target, &serving[i], byRelease[serving[i].ID]); err != nil {
			return err
		}
		delete(byRelease, serving[i].ID)
	}
	for release := range byRelease {
		if err := s.removeOrphan(ctx, target, release); err != nil {
			return err
		}
	}
	return s.retireGone(ctx, targetID, byRelease)
}

// retireGone retires deployments that have ended and of which the target lists nothing: whoever removed their instances
// died before it was written down.
func (s *Service) retireGone(ctx context.Context, targetID string, listed map[string][]Instance) error {
	on := s.DB.Model(&models.Environment{}).Select("id").Where("target_id = ?", targetID)
	var left []models.Deployment
	err := s.DB.WithContext(ctx).Preload("Environment").Where("retired_at IS NULL AND started_at IS NOT NULL AND drain_until < ? AND (stopped OR NOT active) AND NOT paused AND state NOT IN ? AND environment_id IN (?)",
		s.now().Add(-orphanAfter), models.UnendedDeployments, on).Order("id").Find(&left).Error
	if err != nil {
		return err
	}
	for i := range left {
		if len(listed[left[i].ID]) > 0 {
			continue // removeOrphan has looked at it
		}
		if switching, err := s.switching(ctx, &left[i]); err != nil || switching {
			return err
		}
		if err := s.retire(ctx, &left[i], graceTime); err != nil {
			return err
		}
	}
	return nil
}

// serving are the deployments on the target whose instances have to run.
func (s *Service) serving(ctx context.Context, targetID string) (all []models.Deployment, err error) {
	on := s.DB.Model(&models.Environment{}).Select("id").Where("target_id = ?", targetID)
	err = s.DB.WithContext(ctx).Omit("sealed_secrets").Where("active AND NOT stopped AND NOT paused AND environment_id IN (?)", on).
		Preload("Instances", func(tx *gorm.DB) *gorm.DB { return tx.Omit("last_logs") }).Find(&all).Error
	return all, err
}

// heals tells whether the target replaces instances by itself.
func (s *Service) heals(ctx context.Context, targetID string) (bool, error) {
	var t models.Target
	if err := s.DB.WithContext(ctx).Select("kind").First(&t, "id = ?", targetID).Error; err != nil {
		return false, models.FromDB(err, "target")
	}
	kind, err := s.KindOf(t.Kind)
	return kind.Heals, err
}

// follow makes the deployment's instances those that its target has now.
func (s *Service) follow(ctx context.Context, d *models.Deployment, found []Instance) error {
	has := func(i Instance) bool {
		return slices.ContainsFunc(d.Instances, func(row models.Instance) bool { return row.RuntimeID == i.ID })
	}
	fresh := slices.DeleteFunc(slices.Clone(found), has)
	if len(fresh) == 0 && len(found) == len(d.Instances) {
		return nil
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := dropOthers(tx, d.ID, found); err != nil {
			return err
		}
		for _, i := range fresh {
			if err := save(tx, d.ID, i, s.now()); err != nil {
				return err
			}
		}
		if err := tx.Omit("last_logs").Where("deployment_id = ?", d.ID).Find(&d.Instances).Error; err != nil {
			return err
		}
		return publish(tx, d, "deployment.instances")
	})
}

const goneMessage = "The container is gone: something other than Slipway removed it. Restart the deployment to run it again."

// sync stores what changed of the deployment's instances and points its route at those that run.
func (s *Service) sync(ctx context.Context, target Target, d *models.Deployment, found []Instance) error {
	now := s.now()
	var changed []Instance
	touched := false
	var addresses []string
	for _, row := range d.Instances {
		i := Instance{ID: row.RuntimeID, Name: row.Name, State: models.InstanceFailing, Message: goneMessage, Restarts: row.Restarts, StartedAt: row.StartedAt}
		if at := slices.IndexFunc(found, func(f Instance) bool { return f.ID == row.RuntimeID }); at >= 0 {
			i = found[at]
		}
		if i.Address != "" {
			addresses = append(addresses, i.Address)
		}
		if differs(row, i) {
			changed = append(changed, i)
		} else if now.Sub(row.UpdatedAt) > touchEvery {
			touched = true
		}
	}
	if len(changed) == 0 && !touched {
		return nil
	}
	lines := s.evidence(ctx, target, d, changed)
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		still := tx.Model(&models.Deployment{}).Where("id = ? AND active AND NOT stopped", d.ID).UpdateColumn("active", true)
		if still.Error != nil || still.RowsAffected == 0 {
			return still.Error // it was replaced since; what becomes of its instances is not for here to say
		}
		if err := tx.Model(&models.Instance{}).Where("deployment_id = ?", d.ID).UpdateColumn("updated_at", now).Error; err != nil || len(changed) == 0 {
			return err
		}
		for _, i := range changed {
			if err := update(tx, d.ID, i, lines); err != nil {
				return err
			}
		}
		if err := reroute(tx, d.ID, addresses, now); err != nil {
			return err
		}
		return publish(tx, d, "deployment.instances")
	})
}

func differs(row models.Instance, i Instance) bool {
	return row.State != i.State || row.Address != i.Address || row.Message != i.Message || row.Restarts != i.Restarts ||
		(row.StartedAt == nil) != (i.StartedAt == nil) || (row.StartedAt != nil && !row.StartedAt.Equal(*i.StartedAt))
}

// evidence is what the deployment's instances said last, where one of them has just ended.
func (s *Service) evidence(ctx context.Context, target Target, d *models.Deployment, changed []Instance) []string {
	if !slices.ContainsFunc(changed, ended) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, listenTime)
	defer cancel()
	lines := s.tail(ctx, target, d, LogOptions{})
	return lines[max(0, len(lines)-evidenceLines):]
}

func ended(i Instance) bool { return i.State == models.InstanceFailing && i.ExitCode != nil }

// update stores the instance, and with one that has ended its last lines.
func update(tx *gorm.DB, deploymentID string, i Instance, lines []string) error {
	if ended(i) && len(lines) > 0 {
		said := &models.Instance{LastLogs: lines}
		if err := tx.Model(&models.Instance{}).Where("deployment_id = ? AND runtime_id = ?", deploymentID, i.ID).Select("last_logs").Updates(said).Error; err != nil {
			return err
		}
	}
	row := models.Instance{Address: i.Address, State: i.State, Message: i.Message, Restarts: i.Restarts, ExitCode: i.ExitCode, StartedAt: i.StartedAt}
	return tx.Model(&models.Instance{}).Where("deployment_id = ? AND runtime_id = ?", deploymentID, i.ID).
		Select("address", "state", "message", "restarts", "exit_code", "started_at").Updates(&row).Error
}

// reroute points the route at the addresses while the deployment serves.
func reroute(tx *gorm.DB, deploymentID string, addresses []string, now time.Time) error {
	if addresses == nil {
		addresses = []string{}
	}
	serves := tx.Session(&gorm.Session{NewDB: true}).Model(&models.Deployment{}).Select("id").Where("id = ? AND active AND NOT stopped AND NOT paused", deploymentID)
	return tx.Model(&models.Route{}).Where("deployment_id = ? AND deployment_id IN (?)", deploymentID, serves).
		Select("addresses", "updated_at").Updates(&models.Route{Addresses: addresses, UpdatedAt: now}).Error
}

// unknown says of instances of which no worker has news that nobody knows how they are.
func (s *Service) unknown(ctx context.Context, serving []models.Deployment, why string) error {
	for i := range serving {
		d := &serving[i]
		err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			r := tx.Model(&models.Instance{}).Where("deployment_id = ? AND updated_at < ? AND state <> ?", d.ID, s.now().Add(-unknownAfter), models.InstanceUnknown).
				UpdateColumns(map[string]any{"state": models.InstanceUnknown, "message": why})
			if r.Error != nil || r.RowsAffected == 0 {
				return r.Error
			}
			return publish(tx, d, "deployment.instances")
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeOrphan removes instances of a deployment that has ended and does not
// serve, after all who could still be working on it have had their time.
func (s *Service) removeOrphan(ctx context.Context, target Target, release string) error {
	var d models.Deployment
	if err := s.DB.WithContext(ctx).Preload("Environment").Limit(1).Find(&d, "id = ?", release).Error; err != nil {
		return err
	}
	if d.ID == "" {
		return target.Remove(ctx, release, graceTime) // its environment was deleted
	}
	ended := d.FinishedAt
	if d.DrainUntil != nil {
		ended = d.DrainUntil
	}
	if !d.State.Ended() || (d.Active && !d.Stopped) || ended == nil || s.now().Before(ended.Add(orphanAfter)) {
		return nil
	}
	if switching, err := s.switching(ctx, &d); err != nil || switching {
		return err
	}
	slog.InfoContext(ctx, "removing instances that were left behind", "deployment", d.ID)
	return s.retire(ctx, &d, graceTime)
}

// switching tells whether another deployment to the same place is taking the
// requests over: until it has, visitors may still come to this one, and the
// rollout removes it by itself.
func (s *Service) switching(ctx context.Context, d *models.Deployment) (bool, error) {
	var n int64
	err := s.DB.WithContext(ctx).Model(&models.Deployment{}).
		Where("environment_id = ? AND app_id = ? AND active AND state = ? AND id <> ?", d.EnvironmentID, d.AppID, models.DeploymentRunning, d.ID).Count(&n).Error
	return n > 0, err
}

// requeue gives pending deployments a job again that have waited for long with
// nothing ahead: whatever lost their job, they must not wait for ever.
func (s *Service) requeue(ctx context.Context) error {
	var waiting []string
	err := s.DB.WithContext(ctx).Model(&models.Deployment{}).Where("state = ? AND created_at < ? AND created_at > ?", models.DeploymentPending, s.now().Add(-time.Minute), s.now().Add(-time.Minute-2*ReconcileEvery)).Pluck("id", &waiting).Error
	if err != nil || len(waiting) == 0 {
		return err
	}
	return s.rollAgain(ctx, waiting)
}

// rollAgain queues the deployments, all or none.
func (s *Service) rollAgain(ctx context.Context, ids []string) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for _, id := range ids {
			if err := s.Queue.Insert(ctx, tx, jobs.QueueDeployments, Rollout{DeploymentID: id}); err != nil {
				return err
			}
		}
		return nil
	})
}

// endPauses says of deployments that were stopped for a newer version, and that no rollout is at any more, that they
// should run: their instances are shown as gone then, and a person can restart them. It is for rollouts that could not
// reach their target at all when they ended.
func (s *Service) endPauses(ctx context.Context) error {
	under := s.DB.Table("deployments AS newer").Select("1").Where("newer.environment_id = deployments.environment_id AND newer.app_id = deployments.app_id AND newer.state = ?", models.DeploymentRunning)
	return s.DB.WithContext(ctx).Model(&models.Deployment{}).Where("paused AND NOT EXISTS (?)", under).
		Updates(map[string]any{"paused": false, "drain_until": nil, "retired_at": nil}).Error
}
