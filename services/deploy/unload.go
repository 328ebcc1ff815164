package deploy

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

// Removal is the job that removes what a deleted app or a deleted environment left on a target.
type Removal struct {
	TargetID     string   `json:"target_id"`
	Releases     []string `json:"releases,omitempty"`     // ids of deployments that are gone
	Environments []string `json:"environments,omitempty"` // ids of those that are gone
}

// Kind names the job.
func (Removal) Kind() string { return "deployment.remove" }

// Unload is the part of deployments in the deletion of an app: in tx it takes the app's routes away and queues the
// removal of its instances. Whoever deletes the app has authorized it.
func (s *Service) Unload(ctx context.Context, tx *gorm.DB, app *models.App) error {
	if err := holdApp(tx, app.ID); err != nil {
		return err
	}
	var left []struct{ ID, TargetID string }
	err := tx.Model(&models.Deployment{}).Select("deployments.id, environments.target_id").Joins("JOIN environments ON environments.id = deployments.environment_id").
		Where("deployments.app_id = ? AND deployments.retired_at IS NULL AND (deployments.active OR deployments.drain_until IS NOT NULL)", app.ID).Scan(&left).Error
	if err != nil {
		return err
	}
	removals := map[string]*Removal{}
	for _, d := range left {
		if removals[d.TargetID] == nil {
			removals[d.TargetID] = &Removal{TargetID: d.TargetID}
		}
		removals[d.TargetID].Releases = append(removals[d.TargetID].Releases, d.ID)
	}
	for _, removal := range removals {
		if err := s.Queue.Insert(ctx, tx, jobs.QueueDeployments, *removal); err != nil {
			return err
		}
	}
	return tx.Where("app_id = ?", app.ID).Delete(&models.Route{}).Error
}

// RemoveReleases does what a Removal asks for. A target that was deleted too has nothing left to remove.
func (s *Service) RemoveReleases(ctx context.Context, job Removal) error {
	target, err := s.target(ctx, job.TargetID)
	if models.IsCode(err, models.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var faults []error
	for _, release := range job.Releases {
		if err := target.Remove(ctx, release, graceTime); err != nil {
			faults = append(faults, fmt.Errorf("removing what is left of deployment %s: %w", release, err))
		}
	}
	if keeper, ok := target.(EnvironmentKeeper); ok {
		for _, id := range job.Environments {
			if err := keeper.RemoveEnvironment(ctx, id); err != nil {
				faults = append(faults, fmt.Errorf("removing what is left of environment %s: %w", id, err))
			}
		}
	}
	return errors.Join(faults...)
}
