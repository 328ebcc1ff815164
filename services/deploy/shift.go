package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

const (
	shiftEvery = 3 * time.Second  // how often a new version is looked at while visitors move to it
	splitTime  = 30 * time.Second // for a target to be told of a step
)

// errAgain says that there is nothing to do for a rollout for a while. Its worker lets go of it meanwhile.
var errAgain = errors.New("the rollout goes on later")

// atOnce says why all visitors go to a new version at once although its configuration has steps; empty: they move in
// steps. Former is what serves; nil: nothing does.
func atOnce(action models.DeploymentAction, config models.DeploymentConfig, former *models.Deployment, kind Kind) string {
	switch {
	case action == models.ActionRollback:
		return "A rollback switches at once."
	case action != models.ActionDeploy:
		return "The version stays the same."
	case config.Recreate:
		return "The app runs one version at a time."
	case former == nil || former.Stopped:
		return "Nothing serves here now."
	case !kind.Splits:
		return "The target sends visitors to one version alone."
	}
	return ""
}

// gradual tells whether visitors move to the new version in steps.
func (r *rollout) gradual(ctx context.Context) (bool, error) {
	if len(r.d.Config.Gradual) == 0 || r.d.Shifting() {
		return len(r.d.Config.Gradual) > 0, nil
	}
	kind, err := r.KindOf(r.d.Environment.Target.Kind)
	if err != nil {
		return false, err
	}
	former, err := r.serves(ctx)
	return atOnce(r.d.Action, r.d.Config, former, kind) == "", err
}

// shift moves visitors to the new version in the steps of its configuration, and looks after the version meanwhile. It
// returns nil when all visitors are to go to it.
func (r *rollout) shift(ctx context.Context, say func(string)) error {
	former, err := r.serves(ctx)
	switch {
	case err != nil:
		return err
	case r.d.CancelRequestedAt != nil:
		return errNotOurs
	case former == nil:
		say("What served was stopped: all visitors go to the new version.")
		return nil
	case r.d.Shift.HurriedAt != nil:
		say("All visitors go to the new version: a person asked for it.")
		return nil
	}
	at := r.d.Shift
	if at.Step > 0 {
		if err := r.well(ctx); err != nil {
			return err
		}
	}
	if at.Until != nil && r.now().Before(*at.Until) {
		return errAgain
	}
	answers, err := r.Answers(ctx, r.d)
	if err != nil {
		return err
	}
	if told := answers.String(); told != "" {
		say(told)
	}
	next := at.Step + 1
	if at.Step > 0 && at.Until == nil {
		next = at.Step // a worker died in the middle of telling the target
	}
	if next > len(r.d.Config.Gradual) {
		say("All steps are done: all visitors go to the new version.")
		return nil
	}
	if err := r.step(ctx, next, say); err != nil {
		return err
	}
	return errAgain
}

// step begins the step. It is written down first, so that whoever takes over knows that visitors may have come.
func (r *rollout) step(ctx context.Context, n int, say func(string)) error {
	s := r.d.Config.Gradual[n-1]
	routes, err := r.routes(r.d)
	if err != nil {
		return err
	}
	length := time.Duration(s.Minutes) * orElse(r.Minute, time.Minute)
	say(fmt.Sprintf("%d%% of the visitors go to the new version for %s.", s.Percent, count(s.Minutes, "minute", "minutes")))
	at := models.Shift{Step: n, Percent: s.Percent}
	if !routes {
		until := r.now().Add(length)
		at.Until = &until
		return r.saveShift(ctx, at, func(tx *gorm.DB) error { return r.routeNext(tx, s.Percent) })
	}
	none := func(*gorm.DB) error { return nil }
	if err := r.saveShift(ctx, at, none); err != nil {
		return err
	}
	if err := r.split(ctx, s.Percent); err != nil {
		return err
	}
	until := r.now().Add(length)
	at.Until = &until
	return r.saveShift(ctx, at, none)
}

// saveShift records how far the visitors have moved, with what follows from it, unless a person cancels.
func (r *rollout) saveShift(ctx context.Context, at models.Shift, also func(tx *gorm.DB) error) error {
	err := r.whileHeld(ctx, func(tx *gorm.DB) error {
		d := models.Deployment{Shift: at}
		saved := tx.Model(&models.Deployment{}).Where("id = ? AND cancel_requested_at IS NULL", r.d.ID).Select("shift_step", "shift_percent", "shift_until").Updates(&d)
		if saved.Error != nil {
			return saved.Error
		}
		if saved.RowsAffected == 0 {
			return errNotOurs
		}
		if err := also(tx); err != nil {
			return err
		}
		return publish(tx, r.d, "deployment.shifted")
	})
	if err == nil {
		r.d.Shift.Step, r.d.Shift.Percent, r.d.Shift.Until = at.Step, at.Percent, at.Until
	}
	return err
}

// routeNext has the proxies send so many visitors to the new instances.
func (r *rollout) routeNext(tx *gorm.DB, percent int) error {
	addresses, err := addressesOf(tx, r.d.ID)
	if err != nil {
		return err
	}
	route := models.Route{Next: models.NextRoute{DeploymentID: r.d.ID, Addresses: addresses, Protocol: r.d.Config.Protocol, Percent: percent}, UpdatedAt: r.now()}
	return tx.Model(&models.Route{}).Where("app_id = ? AND environment_id = ?", r.d.AppID, r.d.EnvironmentID).
		Select("next_deployment_id", "next_addresses", "next_protocol", "next_percent", "updated_at").Updates(&route).Error
}

// routeBack has the proxies send no visitors of a share to the deployment any more.
func routeBack(tx *gorm.DB, id string, now time.Time) error {
	back := models.Route{Next: models.NextRoute{Addresses: []string{}}, UpdatedAt: now}
	return tx.Model(&models.Route{}).Where("next_deployment_id = ?", id).
		Select("next_deployment_id", "next_addresses", "next_protocol", "next_percent", "updated_at").Updates(&back).Error
}

// routes tells whether the deployment's target sends visitors itself.
func (s *Service) routes(d *models.Deployment) (bool, error) {
	kind, err := s.KindOf(d.Environment.Target.Kind)
	return kind.Routes, err
}

// split tells the target how many visitors the new version gets. What is no Failure is tried again for a while.
func (r *rollout) split(ctx context.Context, percent int) error {
	splitter, ok := r.target.(Splitter)
	if !ok {
		return Failf(StageShift, nil, "The target does not send visitors to two versions. Take the steps out of the app's settings in %s, and deploy again.", r.d.Environment.Name)
	}
	release, err := r.release(r.d)
	if err != nil {
		return err
	}
	for end := r.now().Add(splitTime); ; {
		err := splitter.Split(ctx, release, percent)
		if _, told := errors.AsType[*Failure](err); err == nil || told || r.now().After(end) {
			return err
		}
		slog.WarnContext(ctx, "a target was not told of a step", "deployment", r.d.ID, "percent", percent, "error", err)
		if err := WaitFor(ctx, time.Second); err != nil {
			return err
		}
	}
}

// comeAgain lets go of the rollout, and has some worker look at it in a while. That is no new attempt.
func (r *rollout) comeAgain(ctx context.Context) error {
	pause := shiftEvery
	if until := r.d.Shift.Until; until != nil {
		pause = min(pause, max(until.Sub(r.now()), 10*time.Millisecond))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	err := r.Queue.Held(r.DB.WithContext(ctx).Model(&models.Deployment{}), r.d.ID).Updates(map[string]any{"worker": "", "attempt": gorm.Expr("attempt - 1")}).Error
	if err != nil {
		return err
	}
	return jobs.Later(pause)
}

// takeBack sends the visitors that came to the new version back to what served before, and gives their requests the time
// to end. Where the target could not be told it adds to why what a person should know; retire tries again.
func (r *rollout) takeBack(ctx context.Context, why *models.DeploymentError) error {
	if r.d.Active || r.d.Shift.Step == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	if err := r.whileHeld(ctx, func(*gorm.DB) error { return nil }); err != nil {
		return err
	}
	routes, err := r.routes(r.d)
	if routes && err == nil && r.target != nil {
		err = r.split(ctx, 0)
	}
	if err != nil || routes && r.target == nil {
		slog.WarnContext(ctx, "a target was not told to send visitors back", "deployment", r.d.ID, "error", err)
		why.Message += " The target could not be told yet to send the visitors of this version back; Slipway goes on trying, and removes it then."
		return nil
	}
	until := r.now().Add(r.drainTime())
	err = r.whileHeld(ctx, func(tx *gorm.DB) error {
		back := models.Deployment{DrainUntil: &until}
		if err := tx.Model(&models.Deployment{}).Where("id = ?", r.d.ID).Select("shift_percent", "shift_until", "drain_until").Updates(&back).Error; err != nil {
			return err
		}
		if err := routeBack(tx, r.d.ID, r.now()); err != nil {
			return err
		}
		return publish(tx, r.d, "deployment.shifted")
	})
	if err == nil {
		r.d.Shift.Percent, r.d.Shift.Until, r.d.DrainUntil = 0, nil, &until
	}
	return err
}

// unsplit takes visitors away from a deployment that has ended, whose target could not be told at its end.
func (s *Service) unsplit(ctx context.Context, d *models.Deployment) error {
	if d.Active || d.Shift.Percent == 0 {
		return nil
	}
	full, err := s.deployment(ctx, d.ID, models.RoleDeveloper)
	if err != nil {
		return err
	}
	target, err := s.target(ctx, full.Environment.TargetID)
	if err != nil {
		return err
	}
	if splitter, ok := target.(Splitter); ok {
		release, err := s.release(full)
		if err != nil {
			return err
		}
		if err := splitter.Split(ctx, release, 0); err != nil {
			return fmt.Errorf("taking visitors away from deployment %s: %w", d.ID, err)
		}
	}
	d.Shift.Percent = 0
	return s.DB.WithContext(ctx).Model(&models.Deployment{}).Where("id = ?", d.ID).Updates(map[string]any{"shift_percent": 0, "shift_until": nil}).Error
}

// SendEveryone ends the steps in which visitors move to the deployment: all go to it as soon as a worker has seen it.
func (s *Service) SendEveryone(ctx context.Context, id string) (*models.Deployment, error) {
	return s.change(ctx, id, func(tx *gorm.DB, d *models.Deployment) error {
		switch {
		case !d.Shifting():
			return models.Errorf(models.Conflict, "No visitors are on their way to deployment %s in steps.", d.Title())
		case d.CancelRequestedAt != nil:
			return models.Errorf(models.Conflict, "Deployment %s is being canceled.", d.Title())
		case d.Shift.HurriedAt != nil:
			return nil
		}
		now := s.now()
		d.Shift.HurriedAt = &now
		if err := tx.Model(&models.Deployment{}).Where("id = ?", id).Update("shift_hurried_at", now).Error; err != nil {
			return err
		}
		if err := recordAct(ctx, tx, d, "deployment.everyone"); err != nil {
			return err
		}
		if err := publish(tx, d, "deployment.hurried"); err != nil {
			return err
		}
		return s.Queue.Insert(ctx, tx, jobs.QueueDeployments, Rollout{DeploymentID: d.ID}) // its own job sleeps
	})
}

// addressesOf are where the deployment's healthy instances answer.
func addressesOf(tx *gorm.DB, id string) ([]string, error) {
	addresses := []string{}
	err := tx.Model(&models.Instance{}).Where("deployment_id = ? AND state = ? AND address <> ''", id, models.InstanceHealthy).Order("created_at").Pluck("address", &addresses).Error
	return addresses, err
}

// requeueShifts gives deployments a job again whose step ended a while ago and that nobody looks at.
func (s *Service) requeueShifts(ctx context.Context) error {
	late := s.now().Add(-time.Minute)
	var left []string
	err := s.DB.WithContext(ctx).Model(&models.Deployment{}).Where("state = ? AND NOT active AND worker = '' AND shift_until < ? AND shift_until > ?", models.DeploymentRunning, late, late.Add(-2*ReconcileEvery)).Pluck("id", &left).Error
	if err != nil || len(left) == 0 {
		return err
	}
	return s.rollAgain(ctx, left)
}
