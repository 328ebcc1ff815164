package observe

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// maxDeployments is how many deployments of the last hour a place is shown with.
const maxDeployments = 20

// Usage is how the instances of a place are and what they took over the last hour.
type Usage struct {
	App         models.App
	Environment models.Environment
	Serving     *models.Deployment // nil: nothing serves
	From, Until time.Time
	Instances   []InstanceUsage // those that run first; of the others those of which something was measured
	Switches    []Switch        // oldest first
	// Mean says that each instance's samples are the mean of all instances of its
	// deployment, of which the target's provider tells none by itself.
	Mean bool
}

// InstanceUsage is one instance and its samples.
type InstanceUsage struct {
	models.Instance
	Deployment *models.Deployment
	Gone       bool // it does not run any more
	Samples    []Sample
}

// Limits are what the instance may take; zero fields are no limits.
func (i InstanceUsage) Limits() models.Scale { return i.Deployment.Config.Scale }

// Switch is a moment at which another deployment began to serve.
type Switch struct {
	At         time.Time
	Deployment *models.Deployment
}

// Usage returns how the place's instances are and what they took.
func (s *Service) Usage(ctx context.Context, p Place) (*Usage, error) {
	e, app, err := s.find(ctx, p)
	if err != nil {
		return nil, err
	}
	now := s.now()
	u := &Usage{App: *app, Environment: *e, From: now.Add(-KeepUsage), Until: now, Mean: s.Deploy.Means(e.Target)}
	recent, err := s.recent(ctx, p, u.From)
	if err != nil {
		return nil, err
	}
	for i := range recent {
		u.add(&recent[i])
	}
	slices.SortFunc(u.Switches, func(a, b Switch) int { return a.At.Compare(b.At) })
	if err := s.fill(ctx, u); err != nil {
		return nil, err
	}
	u.Instances = slices.DeleteFunc(u.Instances, func(i InstanceUsage) bool { return i.Gone && len(i.Samples) == 0 })
	slices.SortStableFunc(u.Instances, func(a, b InstanceUsage) int { return rank(a) - rank(b) })
	return u, nil
}

// rank puts what serves first, then what is on its way, then what is gone.
func rank(i InstanceUsage) int {
	switch {
	case i.Gone:
		return 2
	case i.Deployment.Active:
		return 0
	}
	return 1
}

// recent are the deployments that ran in the place since the time, newest first.
func (s *Service) recent(ctx context.Context, p Place, since time.Time) (all []models.Deployment, err error) {
	err = s.DB.WithContext(ctx).Omit("sealed_secrets").Where("environment_id = ? AND app_id = ? AND started_at IS NOT NULL", p.EnvironmentID, p.AppID).
		Where("active OR retired_at > ? OR (retired_at IS NULL AND (state = ? OR drain_until IS NOT NULL))", since, models.DeploymentRunning).
		Preload("Build").Preload("Instances", func(tx *gorm.DB) *gorm.DB { return tx.Omit("last_logs").Order("created_at, name") }).
		Order("id DESC").Limit(maxDeployments).Find(&all).Error
	if err != nil {
		return nil, fmt.Errorf("looking for what ran lately: %w", err)
	}
	return all, nil
}

func (u *Usage) add(d *models.Deployment) {
	if d.Active {
		u.Serving = d
	}
	served := d.State == models.DeploymentSucceeded || d.State == models.DeploymentRolledBack
	if served && d.FinishedAt != nil && d.FinishedAt.After(u.From) {
		u.Switches = append(u.Switches, Switch{At: *d.FinishedAt, Deployment: d})
	}
	for _, i := range d.Instances {
		u.Instances = append(u.Instances, InstanceUsage{Instance: i, Deployment: d, Gone: d.RetiredAt != nil || i.State == models.InstanceStopped})
	}
}

// fill reads the samples of all instances at once.
func (s *Service) fill(ctx context.Context, u *Usage) error {
	at := make(map[string]int, len(u.Instances))
	var ids []string
	for n, i := range u.Instances {
		at[i.ID] = n
		ids = append(ids, i.ID)
	}
	if len(ids) == 0 {
		return nil
	}
	var buckets []models.UsageBucket
	err := s.DB.WithContext(ctx).Where("instance_id IN ? AND starts_at >= ?", ids, bucketOf(u.From)).Order("instance_id, starts_at").Find(&buckets).Error
	if err != nil {
		return fmt.Errorf("reading what instances took: %w", err)
	}
	for _, b := range buckets {
		i := &u.Instances[at[b.InstanceID]]
		for _, sample := range unpack(b.StartsAt, b.Samples) {
			if sample.At.After(u.From) {
				i.Samples = append(i.Samples, sample)
			}
		}
	}
	return nil
}

// Place returns the place's environment and app, and the deployments of which
// there may be something kept, newest first.
func (s *Service) Place(ctx context.Context, p Place) (*models.Environment, *models.App, []models.Deployment, error) {
	e, app, err := s.find(ctx, p)
	if err != nil {
		return nil, nil, nil, err
	}
	var all []models.Deployment
	err = s.DB.WithContext(ctx).Omit("sealed_secrets").Where("environment_id = ? AND app_id = ? AND started_at IS NOT NULL", p.EnvironmentID, p.AppID).
		Preload("Build").Order("id DESC").Limit(maxDeployments).Find(&all).Error
	if err != nil {
		return nil, nil, nil, fmt.Errorf("looking for the deployments of a place: %w", err)
	}
	return e, app, all, nil
}
