package deploy

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

// cleanTime is how long it may take to take away what a failed or canceled rollout left.
const cleanTime = 20 * time.Second

// errNotOurs says that a person canceled the deployment, or another worker took it, just now.
var errNotOurs = errors.New("the deployment is not this worker's to change any more")

// finish decides what the end of the work means. Ctx is the job's, work ended for a cause.
func (r *rollout) finish(ctx, work context.Context, err error) error {
	cause := context.Cause(work)
	switch {
	case err == nil:
		return nil
	case errors.Is(cause, jobs.ErrLost), errors.Is(cause, jobs.ErrTaken), errors.Is(err, jobs.ErrLost):
		return jobs.Later(lookAgain) // another worker may have it: touch nothing
	case !r.d.Active && errors.Is(cause, jobs.ErrCanceled), errors.Is(err, errNotOurs):
		return r.abandon(ctx, models.DeploymentCanceled, &models.DeploymentError{Stage: "canceled", Message: "A person canceled the deployment. What served before goes on serving."})
	case errors.Is(err, errAgain):
		return r.comeAgain(ctx)
	case ctx.Err() != nil:
		return errors.Join(err, r.letGo(ctx))
	case r.d.Active:
		return errors.Join(err, r.letGo(ctx)) // it serves; what is left to do is tried again
	}
	return r.abandon(ctx, models.DeploymentFailed, r.explain(ctx, err))
}

// letGo gives the deployment back, so that another worker takes it at once.
func (r *rollout) letGo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	return r.Queue.Held(r.DB.WithContext(ctx).Model(&models.Deployment{}), r.d.ID).Update("worker", "").Error
}

// explain says why the rollout failed, for people.
func (r *rollout) explain(ctx context.Context, err error) *models.DeploymentError {
	if f := new(Failure); errors.As(err, &f) {
		out := f.DeploymentError
		out.Logs = r.masker().lines(out.Logs)
		out.Message = r.masker().Mask(out.Message)
		return &out
	}
	if e := new(models.Error); errors.As(err, &e) {
		return &models.DeploymentError{Stage: StageTarget, Message: e.Message}
	}
	slog.ErrorContext(ctx, "a deployment failed by a fault", "deployment", r.d.ID, "error", err)
	return &models.DeploymentError{Stage: StageTarget, Message: "The target answered in a way that Slipway does not understand; the server's log says more. What served before goes on serving. Deploy again."}
}

// abandon ends the deployment, and then takes its instances away. What served
// before is not touched, or started again where it had to stop for this one.
// The end comes first: from its commit on no worker goes on with the
// deployment, so nobody loses what another one has taken over.
func (r *rollout) abandon(ctx context.Context, state models.DeploymentState, why *models.DeploymentError) error {
	err := r.giveBack(ctx, why)
	if err == nil {
		err = r.takeBack(ctx, why)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime+r.stillOpen())
	defer cancel()
	if err == nil {
		err = r.end(ctx, state, why)
	}
	if errors.Is(err, jobs.ErrLost) {
		return jobs.Later(lookAgain)
	}
	if err != nil || r.target == nil {
		return err
	}
	grace := time.Duration(0)
	if r.d.Shift.Step > 0 { // visitors came
		grace = graceTime
		_, err = r.drained(ctx, r.d, func(string) {})
	}
	if err == nil {
		err = r.retire(ctx, r.d, grace)
	}
	if err != nil { // Reconcile removes what is left
		slog.WarnContext(ctx, "instances of a deployment that ended are left behind for a while", "deployment", r.d.ID, "error", err)
	}
	return nil
}

// stillOpen is how long requests of visitors who were sent back may last.
func (r *rollout) stillOpen() time.Duration {
	if r.d.DrainUntil == nil {
		return 0
	}
	return max(r.d.DrainUntil.Sub(r.now()), 0)
}

// giveBack makes room for the former version where it had to stop for this one,
// starts it again, and adds to why what a person should know where that did not work.
func (r *rollout) giveBack(ctx context.Context, why *models.DeploymentError) error {
	if r.target == nil || !r.d.Config.Recreate {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	if err := r.whileHeld(ctx, func(*gorm.DB) error { return nil }); err != nil {
		return err
	}
	if err := r.removeKeepingLogs(ctx, r.d, 0); err != nil {
		slog.WarnContext(ctx, "instances of a deployment that failed are in the way of what served before", "deployment", r.d.ID, "error", err)
	}
	if left := r.unpause(ctx); left != "" {
		why.Message += " " + left
	}
	return nil
}

// end records that the deployment did not come to serve, if it is this worker's.
func (r *rollout) end(ctx context.Context, state models.DeploymentState, why *models.DeploymentError) error {
	return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := holdApp(tx, r.d.AppID); err != nil {
			return err
		}
		now := r.now()
		d := *r.d
		d.Error, d.FinishedAt = why, &now
		if d.DrainUntil == nil {
			d.DrainUntil = &now
		}
		if r.target == nil && d.Shift.Step == 0 { // nothing was started
			d.RetiredAt = &now
		}
		if err := d.Move(state); err != nil {
			return err
		}
		held := r.Queue.Held(tx.Model(&models.Deployment{}), d.ID).Select("state", "error", "finished_at", "drain_until", "retired_at").Updates(&d)
		if held.Error != nil {
			return held.Error
		}
		if held.RowsAffected == 0 {
			return jobs.ErrLost
		}
		if err := publish(tx, &d, "deployment."+string(state)); err != nil {
			return err
		}
		*r.d = d
		return r.next(ctx, tx)
	})
}
