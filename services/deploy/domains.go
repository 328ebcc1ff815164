package deploy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

// DomainsEvery is how often KeepAllDomains is meant to run: certificates begin and end by themselves.
const DomainsEvery = 5 * time.Minute

// Site is a host name and a path of a team's own at which visitors are to find an app, beside the address that its
// target gives.
type Site struct {
	Host       string
	Path       string // / for all paths; else it begins with a slash and ends with none, and the longest that fits counts
	Chain, Key []byte // PEM, of a certificate that was given for the host; empty: none was
}

// DomainKeeper is a Target that sends visitors itself, and can do so at hosts of the teams' own too.
type DomainKeeper interface {
	// KeepDomains sends visitors of the sites to the app of the release, to which Route was called last, and visitors
	// of no others beside Route's. It may come at any time while the release serves; Remove of the release ends what it
	// made. A site that is refused keeps none of the others from being served, and is a *Failure.
	KeepDomains(ctx context.Context, r Release, sites []Site) error
	// DomainDrift compares what there is of the sites with what KeepDomains makes of them, which puts it back. It changes
	// nothing.
	DomainDrift(ctx context.Context, r Release, sites []Site) ([]Drift, error)
}

// KeepDomains is the job that has a target learn which hosts and paths lead to an app in an environment.
type KeepDomains struct {
	EnvironmentID string `json:"environment_id"`
	AppID         string `json:"app_id"`
}

// Kind names the job.
func (KeepDomains) Kind() string { return "deployment.domains" }

// Front says who answers the visitors of environments whose targets are of the kind.
func (s *Service) Front(kind string) (itself, domains bool) {
	k, err := s.KindOf(kind)
	return err == nil && k.Routes, err == nil && k.Routes && k.Domains
}

// kindsThat are the names of the kinds for which it holds, and a name that no kind has, for queries.
func (s *Service) kindsThat(holds func(Kind) bool) []string {
	out := []string{""}
	for _, k := range s.Kinds {
		if holds(k) {
			out = append(out, k.Name)
		}
	}
	return out
}

// RoutedElsewhere names the kinds of targets whose visitors never come to Slipway's proxy.
func (s *Service) RoutedElsewhere() []string {
	return s.kindsThat(func(k Kind) bool { return k.Routes })
}

// DomainsChanged queues what targets that send visitors themselves have to learn of it: those of one app in one
// environment; with an empty environmentID of all of the team; with an empty teamID of everybody.
func (s *Service) DomainsChanged(ctx context.Context, tx *gorm.DB, teamID, environmentID, appID string) error {
	q := s.keeping(tx)
	switch {
	case environmentID != "":
		q = q.Where("deployments.environment_id = ? AND deployments.app_id = ?", environmentID, appID)
	case teamID != "":
		q = q.Where("deployments.team_id = ?", teamID)
	}
	var places []KeepDomains
	if err := q.Scan(&places).Error; err != nil {
		return err
	}
	for _, p := range places {
		if err := s.Queue.Insert(ctx, tx, jobs.QueueDeployments, p); err != nil {
			return err
		}
	}
	return nil
}

// keeping are the places that serve on targets that keep domains.
func (s *Service) keeping(tx *gorm.DB) *gorm.DB {
	return tx.Model(&models.Deployment{}).Select("deployments.environment_id, deployments.app_id").
		Joins("JOIN environments ON environments.id = deployments.environment_id").
		Joins("JOIN targets ON targets.id = environments.target_id").
		Where("deployments.active AND NOT deployments.stopped AND targets.kind IN ?", s.kindsThat(func(k Kind) bool { return k.Domains }))
}

// KeepAllDomains has the targets look anew at every app that has addresses there.
func (s *Service) KeepAllDomains(ctx context.Context) error {
	var places []KeepDomains
	err := s.keeping(s.DB.WithContext(ctx)).
		Where("EXISTS (SELECT 1 FROM addresses WHERE addresses.environment_id = deployments.environment_id AND addresses.app_id = deployments.app_id)").Scan(&places).Error
	faults := []error{err}
	for _, p := range places {
		if err := s.KeepDomains(ctx, p); err != nil {
			faults = append(faults, fmt.Errorf("domains of app %s in environment %s: %w", p.AppID, p.EnvironmentID, err))
		}
	}
	return errors.Join(faults...)
}

// KeepDomains has the target of what serves at the place learn which hosts and paths lead there.
func (s *Service) KeepDomains(ctx context.Context, job KeepDomains) error {
	d, err := s.servesAt(ctx, job)
	if d == nil || err != nil {
		return err
	}
	target, err := s.target(ctx, d.Environment.TargetID)
	if err != nil {
		return err
	}
	release, err := s.release(d)
	if err != nil {
		return err
	}
	refused := s.keepDomains(ctx, target, release, d.TeamID)
	if refused != nil && !errors.As(refused, new(*Failure)) {
		return refused
	}
	switch now, err := s.servesAt(ctx, job); {
	case err != nil:
		return err
	case now == nil: // it was stopped meanwhile, and what was made is nobody's any more
		return target.(DomainKeeper).KeepDomains(ctx, release, nil)
	case now.ID != d.ID:
		return s.KeepDomains(ctx, job) // its sites may carry the mark of a release that is about to go
	}
	return refused
}

// servesAt is the deployment that serves at the place; nil where none does, or one just makes room for another one.
func (s *Service) servesAt(ctx context.Context, at KeepDomains) (*models.Deployment, error) {
	var all []models.Deployment
	err := s.DB.WithContext(ctx).Preload("App").Preload("Environment").Preload("Environment.Team").Limit(1).
		Find(&all, "environment_id = ? AND app_id = ? AND active AND NOT stopped AND NOT paused", at.EnvironmentID, at.AppID).Error
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// keepDomains tells the target, where it keeps domains, until it knows what holds: somebody else may tell it at the same
// time, and whoever comes last has to have read last.
func (s *Service) keepDomains(ctx context.Context, target Target, r Release, teamID string) error {
	keeper, ok := target.(DomainKeeper)
	if !ok {
		return nil
	}
	sites, err := s.sites(ctx, r, teamID)
	for err == nil {
		refused := keeper.KeepDomains(ctx, r, sites)
		if refused != nil && !errors.As(refused, new(*Failure)) {
			return refused
		}
		var now []Site
		if now, err = s.sites(ctx, r, teamID); err == nil && reflect.DeepEqual(now, sites) {
			return refused
		}
		sites = now
	}
	return err
}

// sites are the addresses of the release's app in its environment whose hosts are proven to be the team's.
func (s *Service) sites(ctx context.Context, r Release, teamID string) ([]Site, error) {
	var all []Site
	err := s.DB.WithContext(ctx).Model(&models.Address{}).Select("addresses.host, addresses.path").
		Joins("JOIN domains ON domains.team_id = addresses.team_id AND domains.host = addresses.host AND domains.proven_at IS NOT NULL").
		Where("addresses.environment_id = ? AND addresses.app_id = ?", r.EnvironmentID, r.AppID).
		Order("addresses.host, addresses.path").Scan(&all).Error
	if err != nil || s.Certificate == nil {
		return all, err
	}
	for i := range all {
		if i > 0 && all[i].Host == all[i-1].Host {
			all[i].Chain, all[i].Key = all[i-1].Chain, all[i-1].Key
			continue
		}
		if all[i].Chain, all[i].Key, err = s.Certificate(ctx, teamID, all[i].Host); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// lead sends visitors to the release where its target does so itself, at the hosts of the teams' own too, and gives the
// address. A host that the target refuses is said, and keeps nobody else away.
func (s *Service) lead(ctx context.Context, target Target, r Release, teamID string, say func(string)) (string, error) {
	url, err := target.Route(ctx, r)
	if err != nil || url == "" {
		return url, err
	}
	err = s.keepDomains(ctx, target, r, teamID)
	if refused := new(Failure); errors.As(err, &refused) {
		say("Not every domain leads to it: " + refused.Message)
		err = nil
	}
	return url, err
}
