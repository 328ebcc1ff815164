package deploy

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

// Rollout is the job that carries a deployment.
type Rollout struct {
	DeploymentID string `json:"deployment_id"`
}

// Kind names the job.
func (Rollout) Kind() string { return "deployment.rollout" }

const (
	proxyTime  = 5 * time.Second // for the proxies to take a new version over
	proxyEvery = 20 * time.Millisecond
	lookAgain  = time.Second // at what another worker carries

	commandTime = 15 * time.Minute // for the command before the switch
)

// rollout is one worker's attempt at a deployment that it holds.
type rollout struct {
	*Service
	d      *models.Deployment
	target Target
	to     models.ImagePlaceName // where the target's own registry gets the image; without a host: it need not
	seq    int                   // of the last phase
}

// Roll carries the deployment to its end: look whether it can work, copy the
// image to where its target pulls from, pull it, start it beside what runs, wait until it is healthy, move visitors to it
// in steps where the app asks for that, switch the requests over, let the old one drain, stop it. Where an app runs one version
// at a time the old one stops before the new one starts. Roll may be called
// again at any point, by any worker.
func (s *Service) Roll(ctx context.Context, job Rollout) error {
	end, alone := s.Queue.Alone(job.DeploymentID)
	if !alone {
		return jobs.Later(lookAgain)
	}
	defer end()
	d, err := s.claim(ctx, job.DeploymentID)
	if d == nil || err != nil {
		return err
	}
	work, done := s.Queue.Watch(ctx, &models.Deployment{}, d.ID)
	defer done()
	r := &rollout{Service: s, d: d, seq: len(d.Phases)}
	return r.finish(ctx, work, r.run(work))
}

func (r *rollout) run(ctx context.Context) (err error) {
	if r.target, err = r.Service.target(ctx, r.d.Environment.TargetID); err != nil {
		return err
	}
	if !r.d.Active {
		if r.to, err = r.mirrored(ctx); err != nil {
			return err
		}
	}
	for _, p := range []struct {
		name string
		do   func(context.Context, func(string)) error
	}{{"check", r.check}, {"copy", r.copy}, {"pull", r.pull}, {"pause", r.pause}, {"command", r.command}, {"start", r.start}, {"health", r.wait}, {"shift", r.shift}, {"switch", r.switchOver}} {
		if r.d.Active && p.name != "switch" || r.d.State == models.DeploymentSucceeded {
			continue // a worker before this one came further
		}
		if r.d.Shifting() && p.name != "shift" && p.name != "switch" {
			continue // visitors come to it already
		}
		if p.name == "shift" {
			gradual, err := r.gradual(ctx)
			if err != nil {
				return err
			}
			if !gradual {
				continue
			}
		}
		if p.name == "copy" && r.to.Host == "" {
			continue // the target pulls from where the image is
		}
		if p.name == "pause" && !r.d.Config.Recreate {
			continue
		}
		if p.name == "command" && (len(r.d.Config.Command) == 0 || r.d.Action != models.ActionDeploy) {
			continue // what served before has run it
		}
		if err := r.phase(ctx, p.name, p.do); err != nil {
			return err
		}
	}
	return r.retireOthers(ctx)
}

// claim makes this worker the deployment's, when it is its turn. It returns nil
// where there is nothing to do: the rollout that is under way queues the next one when it ends.
func (s *Service) claim(ctx context.Context, id string) (*models.Deployment, error) {
	d := &models.Deployment{}
	err := s.DB.WithContext(ctx).Select("id", "team_id", "app_id", "environment_id").Limit(1).Find(d, "id = ?", id).Error
	if d.ID == "" || err != nil {
		return nil, err
	}
	claimed := false
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := holdApp(tx, d.AppID); err != nil {
			return err
		}
		if err := tx.Select("state", "shift_step").First(d, "id = ?", id).Error; err != nil {
			return err
		}
		if ready, err := s.ready(tx, d); !ready || err != nil {
			return err
		}
		if claimed, err = s.Queue.Claim(ctx, tx, &models.Deployment{}, id); err != nil {
			return err
		}
		if !claimed {
			return jobs.Later(lookAgain) // a living worker has it: look again when it may have died
		}
		return s.begin(tx, d)
	})
	if err != nil || !claimed {
		return nil, err
	}
	return s.deployment(ctx, id, models.RoleDeveloper) // as the worker before has left it
}

// ready tells whether there is something to do for the deployment now.
func (s *Service) ready(tx *gorm.DB, d *models.Deployment) (bool, error) {
	if d.State.Ended() {
		var left int64
		err := draining(tx, d).Count(&left).Error
		return left > 0 && d.State == models.DeploymentSucceeded, err
	}
	var ahead int64
	err := tx.Model(&models.Deployment{}).Where("environment_id = ? AND app_id = ? AND state = ? AND id <> ?", d.EnvironmentID, d.AppID, models.DeploymentRunning, d.ID).Count(&ahead).Error
	return ahead == 0, err
}

// begin moves a pending deployment on, and closes the phases that a dead worker left open. The one in which visitors
// move goes on: a worker lets go of it between its looks.
func (s *Service) begin(tx *gorm.DB, d *models.Deployment) error {
	now := s.now()
	open := tx.Model(&models.DeploymentPhase{}).Where("deployment_id = ? AND state = ?", d.ID, models.StepRunning)
	if d.Shift.Step > 0 {
		open = open.Where("name <> ?", "shift")
	}
	err := open.Updates(map[string]any{"state": models.StepCanceled, "finished_at": now, "message": "The worker went away in the middle. Another one goes on."}).Error
	if err != nil || d.State != models.DeploymentPending {
		return err
	}
	if err := d.Move(models.DeploymentRunning); err != nil {
		return err
	}
	d.StartedAt = &now
	if err := tx.Model(d).Select("state", "started_at").Updates(d).Error; err != nil {
		return err
	}
	return publish(tx, d, "deployment.running")
}

func (r *rollout) pull(ctx context.Context, say func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, r.pullTime())
	defer cancel()
	return r.target.Fetch(ctx, pulledAs(r.d), r.from(r.d, "deployment:", pullTTL), say)
}

// command runs the app's command before the switch; where it fails, nothing of the new version serves.
func (r *rollout) command(ctx context.Context, say func(string)) error {
	release, err := r.release(r.d)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	mask := r.masker()
	return r.target.Run(ctx, release, func(line string) { say(mask.Mask(clean(line))) })
}

func (r *rollout) start(ctx context.Context, _ func(string)) error {
	release, err := r.release(r.d)
	if err != nil {
		return err
	}
	if err := r.target.Start(ctx, release); err != nil {
		return err
	}
	all, err := r.target.List(ctx)
	if err != nil {
		return err
	}
	var own []Instance
	for _, i := range all {
		if i.Release == r.d.ID {
			i.State = models.InstanceStarting
			own = append(own, i)
		}
	}
	return r.record(ctx, own)
}

func (r *rollout) wait(ctx context.Context, say func(string)) error {
	release, err := r.release(r.d)
	if err != nil {
		return err
	}
	healthy, err := r.healthy(ctx, release, say)
	if err != nil {
		return err
	}
	return r.record(ctx, healthy)
}

// healthy waits for the release's instances for as long as they may take.
func (r *rollout) healthy(ctx context.Context, release Release, say func(string)) ([]Instance, error) {
	patience, err := r.patience()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return r.target.Wait(ctx, release, say)
}

// patience is how long a release may take to get healthy, with the time to get its image where the target does that only then.
func (r *rollout) patience() (time.Duration, error) {
	kind, err := r.KindOf(r.d.Environment.Target.Kind)
	if kind.Pulls {
		return r.startTime() + r.pullTime(), err
	}
	return r.startTime(), err
}

// switchOver makes the new version the one that serves: in one transaction for
// the records, and then where visitors come in, so that a deployment has
// succeeded only once its own revision answers.
func (r *rollout) switchOver(ctx context.Context, say func(string)) error {
	if !r.d.Active {
		if err := r.activate(ctx); err != nil {
			return err
		}
	}
	if err := r.send(ctx, say); err != nil {
		return err
	}
	return r.succeed(ctx)
}

// send waits until visitors reach the new version, through the target itself or the proxies.
func (r *rollout) send(ctx context.Context, say func(string)) error {
	release, err := r.release(r.d)
	if err != nil {
		return err
	}
	url, err := r.lead(ctx, r.target, release, r.d.TeamID, say)
	if err != nil {
		return err
	}
	if url == "" {
		return r.taken(ctx, say)
	}
	r.d.URL = url
	say("The target sends visitors of " + url + " to the new version.")
	return nil
}

// activate is the point of no return: from its commit on proxies send new
// requests to the new version, and the deployment can't be canceled any more.
func (r *rollout) activate(ctx context.Context) error {
	return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := holdApp(tx, r.d.AppID); err != nil {
			return err
		}
		previous, err := r.retirePrevious(tx)
		if err != nil {
			return err
		}
		d := *r.d
		d.Active, d.PreviousID, d.Shift.Percent, d.Shift.Until = true, previous, 0, nil
		held := r.Queue.Held(tx.Model(&models.Deployment{}), d.ID).Where("cancel_requested_at IS NULL").Select("active", "previous_id", "shift_percent", "shift_until").Updates(&d)
		if held.Error != nil {
			return held.Error
		}
		if held.RowsAffected == 0 {
			return errNotOurs
		}
		if err := r.route(tx, r.now()); err != nil {
			return err
		}
		if err := publish(tx, &d, "deployment.switched"); err != nil {
			return err
		}
		*r.d = d
		return nil
	})
}

// taken waits until every living proxy sends its requests to the new version.
// One that can't in time is left behind: it follows as soon as it can.
func (r *rollout) taken(ctx context.Context, say func(string)) error {
	deadline := time.Now().Add(proxyTime)
	tick := time.NewTicker(proxyEvery)
	defer tick.Stop()
	for {
		var behind int64
		err := r.DB.WithContext(ctx).Model(&models.Proxy{}).Where("seen_at > ?", r.now().Add(-models.ProxySilence)).
			Where("id NOT IN (?)", r.DB.Model(&models.ProxyHold{}).Select("proxy_id").Where("deployment_id = ? AND serving", r.d.ID)).Count(&behind).Error
		if err != nil || behind == 0 {
			return err
		}
		if time.Now().After(deadline) {
			say(fmt.Sprintf("%d of the proxies did not take the new version over within %s; each follows when it can.", behind, proxyTime))
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// succeed records that the new version serves.
func (r *rollout) succeed(ctx context.Context) error {
	return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		now := r.now()
		d := *r.d
		d.FinishedAt = &now
		if err := d.Move(models.DeploymentSucceeded); err != nil {
			return err
		}
		held := r.Queue.Held(tx.Model(&models.Deployment{}), d.ID).Select("state", "finished_at", "url").Updates(&d)
		if held.Error != nil {
			return held.Error
		}
		if held.RowsAffected == 0 {
			return jobs.ErrLost
		}
		if err := publish(tx, &d, "deployment.succeeded"); err != nil {
			return err
		}
		*r.d = d
		return r.next(ctx, tx)
	})
}

// retirePrevious marks what served until now: it drains, and is rolled back where this is a rollback.
func (r *rollout) retirePrevious(tx *gorm.DB) (*string, error) {
	var previous models.Deployment
	err := tx.Where("environment_id = ? AND app_id = ? AND active", r.d.EnvironmentID, r.d.AppID).Limit(1).Find(&previous).Error
	if previous.ID == "" || err != nil {
		return nil, err
	}
	previous.Active, previous.Paused = false, false
	if r.d.Action == models.ActionRollback && previous.State == models.DeploymentSucceeded {
		previous.State = models.DeploymentRolledBack
	}
	if previous.RetiredAt == nil && previous.DrainUntil == nil {
		until := r.now().Add(r.drainTime())
		previous.DrainUntil = &until
	}
	return &previous.ID, tx.Model(&previous).Select("active", "paused", "state", "drain_until").Updates(&previous).Error
}

// route points the place's host name at the new instances.
func (r *rollout) route(tx *gorm.DB, now time.Time) error {
	addresses, err := addressesOf(tx, r.d.ID)
	if err != nil {
		return err
	}
	if err := routeBack(tx, r.d.ID, now); err != nil {
		return err
	}
	route := models.Route{DeploymentID: r.d.ID, Addresses: addresses, Protocol: r.d.Config.Protocol, UpdatedAt: now}
	return tx.Model(&models.Route{}).Where("app_id = ? AND environment_id = ?", r.d.AppID, r.d.EnvironmentID).Select("deployment_id", "addresses", "protocol", "updated_at").Updates(&route).Error
}

// next queues the deployment that waits for this one to end.
func (r *rollout) next(ctx context.Context, tx *gorm.DB) error {
	var waiting []models.Deployment
	err := tx.Select("id").Where("environment_id = ? AND app_id = ? AND state = ?", r.d.EnvironmentID, r.d.AppID, models.DeploymentPending).Find(&waiting).Error
	if err != nil {
		return err
	}
	for _, w := range waiting {
		if err := r.Queue.Insert(ctx, tx, jobs.QueueDeployments, Rollout{DeploymentID: w.ID}); err != nil {
			return err
		}
	}
	return nil
}
