package deploy

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
)

const (
	maxDetail = 60                     // lines of a phase's transcript
	sayEvery  = 250 * time.Millisecond // how often a phase that goes on is written
)

// phase does one part of the rollout and writes its story while it goes on.
func (r *rollout) phase(ctx context.Context, name string, do func(context.Context, func(string)) error) error {
	p, said := r.opened(name), 0
	if p == nil {
		r.seq++
		began := r.now()
		p = &models.DeploymentPhase{DeploymentID: r.d.ID, Seq: r.seq, Name: name, State: models.StepRunning, StartedAt: &began}
		if err := r.write(ctx, p); err != nil {
			return err
		}
	}
	written := time.Now()
	err := do(ctx, func(line string) {
		line = short(line)
		p.Message = line
		said++
		if p.Detail = append(p.Detail, line); len(p.Detail) > maxDetail {
			p.Detail = p.Detail[1:]
		}
		if time.Since(written) > sayEvery && r.write(ctx, p) == nil {
			written = time.Now()
		}
	})
	if errors.Is(err, errAgain) { // it stays open
		if said > 0 {
			err = errors.Join(err, r.write(ctx, p))
		}
		return err
	}
	ended := r.now()
	p.State, p.FinishedAt = stateAfter(ctx, err), &ended
	return errors.Join(err, r.write(context.WithoutCancel(ctx), p))
}

// opened is the phase of the name that a worker before this one left open; nil: none.
func (r *rollout) opened(name string) *models.DeploymentPhase {
	for i := range r.d.Phases {
		if p := &r.d.Phases[i]; p.Name == name && p.State == models.StepRunning && name == "shift" {
			return p
		}
	}
	return nil
}

func stateAfter(ctx context.Context, err error) models.StepState {
	switch {
	case err == nil:
		return models.StepSucceeded
	case ctx.Err() != nil, errors.Is(err, errNotOurs):
		return models.StepCanceled
	}
	return models.StepFailed
}

// write stores the phase while this worker holds the deployment.
func (r *rollout) write(ctx context.Context, p *models.DeploymentPhase) error {
	return r.whileHeld(ctx, func(tx *gorm.DB) error {
		return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(p).Error
	})
}

// whileHeld makes the changes and tells the pages, if the deployment is still this worker's.
func (r *rollout) whileHeld(ctx context.Context, change func(tx *gorm.DB) error) error {
	return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		held := r.Queue.Held(tx.Model(&models.Deployment{}), r.d.ID).UpdateColumn("attempt", gorm.Expr("attempt"))
		if held.Error != nil {
			return held.Error
		}
		if held.RowsAffected == 0 {
			return jobs.ErrLost
		}
		if err := change(tx); err != nil {
			return err
		}
		return publish(tx, r.d, "deployment.progress")
	})
}

// record stores the instances as the target has just described them, in place of those that went.
func (r *rollout) record(ctx context.Context, found []Instance) error {
	return r.whileHeld(ctx, func(tx *gorm.DB) error {
		if err := dropOthers(tx, r.d.ID, found); err != nil {
			return err
		}
		for _, i := range found {
			if err := save(tx, r.d.ID, i, r.now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropOthers forgets the deployment's instances that are none of those, if there are any.
func dropOthers(tx *gorm.DB, deploymentID string, found []Instance) error {
	var ids []string
	for _, i := range found {
		ids = append(ids, i.ID)
	}
	if len(ids) == 0 {
		return nil
	}
	return tx.Delete(&models.Instance{}, "deployment_id = ? AND runtime_id NOT IN ?", deploymentID, ids).Error
}

// save stores an instance of the deployment, the row of its runtime id where there is one.
func save(tx *gorm.DB, deploymentID string, i Instance, now time.Time) error {
	var row models.Instance
	if err := tx.Where("deployment_id = ? AND runtime_id = ?", deploymentID, i.ID).Limit(1).Find(&row).Error; err != nil {
		return err
	}
	if row.ID == "" {
		row = models.Instance{ID: models.NewID(), DeploymentID: deploymentID, RuntimeID: i.ID, CreatedAt: now}
	}
	row.Name, row.Address, row.State, row.Message = i.Name, i.Address, i.State, i.Message
	row.Restarts, row.ExitCode, row.StartedAt, row.UpdatedAt = i.Restarts, i.ExitCode, i.StartedAt, now
	return tx.Save(&row).Error
}

// masker hides the deployment's secrets in what its instances print.
type masker struct{ *logs.Masker }

func (r *rollout) masker() masker { return r.maskerOf(r.d) }

func (s *Service) maskerOf(d *models.Deployment) masker {
	m := logs.NewMasker()
	values, err := s.openValues(d)
	if err != nil {
		return masker{m} // it could not have started without them
	}
	for _, v := range values {
		m.Add(v)
	}
	return masker{m}
}

// HideSecrets adds the secrets that the deployment's instances were given to those that the masker hides.
func (s *Service) HideSecrets(ctx context.Context, deploymentID string, m *logs.Masker) error {
	var d models.Deployment
	if err := s.DB.WithContext(ctx).Select("id", "sealed_secrets").First(&d, "id = ?", deploymentID).Error; err != nil {
		return models.FromDB(err, "deployment")
	}
	values, err := s.openValues(&d)
	if err != nil {
		return err
	}
	for _, v := range values {
		m.Add(v)
	}
	return nil
}

func (m masker) lines(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = short(m.Mask(l))
	}
	return out
}
