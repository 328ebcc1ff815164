package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// pause stops what serves, before the new version of an app starts that runs one version at a time. From its commit on
// visitors get a page that says so. The former version stays the one that serves by record: the rollout either succeeds
// it, or starts it again.
func (r *rollout) pause(ctx context.Context, say func(string)) error {
	former, err := r.serves(ctx)
	if former == nil || err != nil {
		return err
	}
	if !former.Paused {
		if err := r.markPaused(ctx, former); err != nil {
			return err
		}
	}
	say(fmt.Sprintf("Deployment %s stops: the app runs one version at a time.", former.Title()))
	if _, err := r.drained(ctx, former, say); err != nil {
		return err
	}
	return r.removeKeepingLogs(ctx, former, graceTime)
}

// serves returns the deployment that serves in the rollout's place and was not stopped by a person; nil: none.
func (r *rollout) serves(ctx context.Context) (*models.Deployment, error) {
	var d models.Deployment
	err := r.DB.WithContext(ctx).Preload("App").Preload("Environment").Preload("Environment.Team").Limit(1).
		Find(&d, "environment_id = ? AND app_id = ? AND active AND NOT stopped AND id <> ?", r.d.EnvironmentID, r.d.AppID, r.d.ID).Error
	if d.ID == "" || err != nil {
		return nil, err
	}
	return &d, nil
}

func (r *rollout) markPaused(ctx context.Context, former *models.Deployment) error {
	return r.whileHeld(ctx, func(tx *gorm.DB) error {
		if err := holdApp(tx, r.d.AppID); err != nil {
			return err
		}
		now := r.now()
		until := now.Add(r.drainTime())
		marked := tx.Model(&models.Deployment{}).Where("id = ? AND active AND NOT stopped", former.ID).Updates(map[string]any{"paused": true, "drain_until": until})
		if marked.Error != nil || marked.RowsAffected == 0 {
			return errors.Join(marked.Error, errChanged(marked.RowsAffected))
		}
		former.Paused, former.DrainUntil = true, &until
		err := tx.Model(&models.Route{}).Where("deployment_id = ?", former.ID).Select("addresses", "updated_at").
			Updates(&models.Route{Addresses: []string{}, UpdatedAt: now}).Error
		if err != nil {
			return err
		}
		return publish(tx, former, "deployment.paused")
	})
}

// errChanged says that somebody stopped or replaced what served while it was to be paused.
func errChanged(rows int64) error {
	if rows > 0 {
		return nil
	}
	return Failf(StageStart, nil, "What served was stopped or replaced while this deployment was about to stop it. Deploy again.")
}

// unpause starts again what the rollout has stopped for its new version, which is gone by now. It returns what a person
// should know where that did not work; empty where it did or nothing was stopped.
func (r *rollout) unpause(ctx context.Context) string {
	patience, err := r.patience()
	if err != nil {
		patience = r.startTime()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience+cleanTime)
	defer cancel()
	former, err := r.serves(ctx)
	if err != nil {
		slog.ErrorContext(ctx, "what a rollout has stopped could not be read", "deployment", r.d.ID, "error", err)
		return "Whether the former version runs is not known; look at it, and restart it."
	}
	if former == nil || !former.Paused {
		return ""
	}
	var found []Instance
	err = r.phase(ctx, "resume", func(ctx context.Context, say func(string)) (err error) {
		found, err = r.startAgain(ctx, former, say)
		return err
	})
	if told := r.returned(ctx, former, found); told != nil {
		err = errors.Join(err, told)
	}
	if err == nil {
		return ""
	}
	said := "the server's log says more"
	if f := new(Failure); errors.As(err, &f) {
		said = r.maskerOf(former).Mask(f.Message)
	} else {
		slog.ErrorContext(ctx, "what a rollout has stopped could not be started again", "deployment", former.ID, "error", err)
	}
	return fmt.Sprintf("And deployment %s, which had to stop for it, could not be started again: %s", former.Title(), said)
}

// startAgain runs the former version, leads its visitors there, and returns its instances, also those that are not healthy.
func (r *rollout) startAgain(ctx context.Context, former *models.Deployment, say func(string)) ([]Instance, error) {
	release, err := r.release(former)
	if err != nil {
		return nil, err
	}
	say("Deployment " + former.Title() + " starts again.")
	err = r.target.Fetch(ctx, release.Image, r.from(former, "release:", pullTTL), say)
	if err == nil {
		err = r.target.Start(ctx, release)
	}
	if err != nil {
		return nil, err
	}
	healthy, err := r.healthy(ctx, release, say)
	url, lost := r.lead(ctx, r.target, release, former.TeamID, say) // also where it is not healthy yet: it may only be slow
	if lost == nil && url != "" {
		former.URL = url
	}
	if err = errors.Join(err, lost); err == nil {
		return healthy, nil
	}
	all, listed := r.target.List(ctx)
	return slices.DeleteFunc(all, func(i Instance) bool { return i.Release != former.ID }), errors.Join(err, listed)
}

// returned records that the former version serves again, with the instances that it has now.
func (r *rollout) returned(ctx context.Context, former *models.Deployment, found []Instance) error {
	return r.whileHeld(ctx, func(tx *gorm.DB) error {
		if err := holdApp(tx, r.d.AppID); err != nil {
			return err
		}
		back := tx.Model(&models.Deployment{}).Where("id = ? AND active AND paused", former.ID).Updates(map[string]any{"paused": false, "drain_until": nil, "retired_at": nil, "url": former.URL})
		if back.Error != nil || back.RowsAffected == 0 {
			return back.Error // a person stopped it meanwhile
		}
		ids, addresses := []string{""}, []string{}
		for _, i := range found {
			if err := save(tx, former.ID, i, r.now()); err != nil {
				return err
			}
			ids = append(ids, i.ID)
			if i.Address != "" {
				addresses = append(addresses, i.Address)
			}
		}
		if len(found) > 0 { // what ran before the pause is no instance any more
			if err := tx.Delete(&models.Instance{}, "deployment_id = ? AND runtime_id NOT IN ?", former.ID, ids).Error; err != nil {
				return err
			}
		}
		if err := reroute(tx, former.ID, addresses, r.now()); err != nil {
			return err
		}
		return publish(tx, former, "deployment.switched")
	})
}
