package deploy

import (
	"context"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

// Drift is one way in which what runs differs from what was deployed.
type Drift struct {
	Object     string // such as Deployment checkout-3fa9c01b22de
	Field      string // such as spec.replicas; empty: the object as a whole
	Want, Have string // for people; of a secret only that they differ
}

// Drifter is a Target whose objects others can change behind Slipway's back.
type Drifter interface {
	// Drift compares what runs of the release, which serves, with what was asked
	// for. It changes nothing. What a DomainKeeper made for hosts is not part of it.
	Drift(ctx context.Context, r Release) ([]Drift, error)
	// Restore makes the release as it was asked for again. Where a newer one has
	// the visitors by now they are left to it.
	Restore(ctx context.Context, r Release) error
}

// drifter returns the deployment's target as one whose objects others can change.
func (s *Service) drifter(ctx context.Context, d *models.Deployment) (Drifter, error) {
	target, err := s.target(ctx, d.Environment.TargetID)
	if err != nil {
		return nil, err
	}
	drifter, ok := target.(Drifter)
	if !ok {
		return nil, models.Errorf(models.Conflict, "On the target of %s nothing but Slipway changes what runs, so there is nothing to compare.", d.Environment.Name)
	}
	return drifter, nil
}

// CanDrift tells whether there is something to compare: the deployment serves on
// a target whose objects others can change.
func (s *Service) CanDrift(ctx context.Context, d *models.Deployment) bool {
	if !d.Active || d.Stopped || d.Paused {
		return false
	}
	_, err := s.drifter(ctx, d)
	return err == nil
}

// Drift compares what runs of a deployment that serves with what was deployed.
func (s *Service) Drift(ctx context.Context, id string) ([]Drift, error) {
	d, drifter, err := s.drifting(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	release, err := s.release(d)
	if err != nil {
		return nil, err
	}
	found, err := s.driftOf(ctx, drifter, release, d.TeamID)
	mask := s.maskerOf(d)
	for i := range found {
		found[i].Want, found[i].Have = mask.Mask(found[i].Want), mask.Mask(found[i].Have)
	}
	return found, forPeople(err)
}

// driftOf is how the release's objects differ from what was deployed, and those of the teams' own hosts, which are part
// of no release, from what holds for them now.
func (s *Service) driftOf(ctx context.Context, drifter Drifter, r Release, teamID string) ([]Drift, error) {
	found, err := drifter.Drift(ctx, r)
	keeper, ok := drifter.(DomainKeeper)
	if err != nil || !ok {
		return found, err
	}
	sites, err := s.sites(ctx, r, teamID)
	if err != nil {
		return nil, err
	}
	ofSites, err := keeper.DomainDrift(ctx, r, sites)
	return append(found, ofSites...), err
}

// drifting is a deployment that serves, with its target.
func (s *Service) drifting(ctx context.Context, id string, role models.Role) (*models.Deployment, Drifter, error) {
	d, err := s.deployment(ctx, id, role)
	if err != nil {
		return nil, nil, err
	}
	if !d.Active || d.Stopped || d.Paused {
		return nil, nil, models.Errorf(models.Conflict, "Deployment %s does not serve now, so there is nothing to compare.", d.Title())
	}
	drifter, err := s.drifter(ctx, d)
	return d, drifter, err
}

// Reapply is the job that makes what serves as it was deployed again.
type Reapply struct {
	DeploymentID string `json:"deployment_id"`
}

// Kind names the job.
func (Reapply) Kind() string { return "deployment.reapply" }

// ApplyAgain has what others changed of a deployment that serves put back.
func (s *Service) ApplyAgain(ctx context.Context, id string) (*models.Deployment, error) {
	d, _, err := s.drifting(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := recordAct(ctx, tx, d, "deployment.reapply"); err != nil {
			return err
		}
		if err := publish(tx, d, "deployment.reapplying"); err != nil {
			return err
		}
		return s.Queue.Insert(ctx, tx, jobs.QueueDeployments, Reapply{DeploymentID: d.ID})
	})
	if err != nil {
		return nil, err
	}
	d.SealedSecrets = nil
	return d, nil
}

// Restore does what ApplyAgain asked for, if the deployment still serves, and has the target see to the teams' own hosts.
func (s *Service) Restore(ctx context.Context, job Reapply) error {
	d, drifter, err := s.drifting(ctx, job.DeploymentID, models.RoleDeveloper)
	if models.IsCode(err, models.NotFound) || models.IsCode(err, models.Conflict) {
		return nil
	}
	if err != nil {
		return err
	}
	release, err := s.release(d)
	if err != nil {
		return err
	}
	if err := drifter.Restore(ctx, release); err != nil {
		return err
	}
	return s.KeepDomains(ctx, KeepDomains{EnvironmentID: d.EnvironmentID, AppID: d.AppID})
}
