package google

import (
	"context"
	"slices"

	"google.golang.org/api/run/v2"
	"slipway.dev/services/deploy"
)

// Split sends a share of the service's visitors to the release, and all others to the one that had
// them. Nothing is kept of it but the service's traffic, whose percentages are a hundred together
// (https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration#gradual).
func (t *target) Split(ctx context.Context, r deploy.Release, percent int) error {
	ctx, cancel := context.WithTimeout(ctx, routeTime)
	defer cancel()
	a, err := t.as(r.Subject())
	if err != nil {
		return err
	}
	name, share := serviceOf(r), int64(deploy.Share(percent))
	there, moves := false, false
	var unknown error
	err = t.edit(ctx, a, deploy.StageTarget, name, func(s *run.GoogleCloudRunV2Service) string {
		own, former := entryOf(s, r.ID), ""
		there, moves = own != nil, false
		if there {
			former, unknown = t.former(ctx, a, s, own.Revision)
		}
		if moves = former != "" && unknown == nil; !moves {
			return ""
		}
		next := shared(s, own.Tag, former, share)
		if slices.EqualFunc(s.Traffic, next, alike) {
			return ""
		}
		s.Traffic = next
		return "traffic"
	}, nil)
	switch {
	case err != nil:
		return err
	case unknown != nil:
		return unknown
	case !there && share > 0:
		return t.gone(name, r)
	case !moves:
		return nil
	}
	_, err = t.routed(ctx, a, name, r, share)
	return err
}

// former is the revision that had the service's visitors before the given one; empty: none has any.
func (t *target) former(ctx context.Context, a *api, s *run.GoogleCloudRunV2Service, beside string) (string, error) {
	var all []string
	for _, e := range pinned(s) {
		if e.Percent > 0 && e.Revision != beside && !slices.Contains(all, e.Revision) {
			all = append(all, e.Revision)
		}
	}
	if len(all) < 2 { // so that nobody has to be asked
		return deploy.Former(all, nil), nil
	}
	made, err := t.revisions(ctx, a, last(s.Name))
	if err != nil {
		return "", err
	}
	return deploy.Former(all, func(name string) string {
		if r := made[name]; r != nil {
			return r.Labels[labelRelease]
		}
		return ""
	}), nil
}

// shared is the service's traffic with a share of the visitors at the tag's revision, and the others at the former one.
func shared(s *run.GoogleCloudRunV2Service, tag, former string, share int64) (out []*run.GoogleCloudRunV2TrafficTarget) {
	rest := 100 - share
	for _, e := range pinned(s) {
		if e.Tag == "" {
			continue // its revision has another entry, or it is a share that somebody else gave away
		}
		one := &run.GoogleCloudRunV2TrafficTarget{Type: byRevision, Revision: e.Revision, Tag: e.Tag}
		switch {
		case e.Tag == tag:
			one.Percent = share
		case e.Revision == former:
			one.Percent, rest = rest, 0
		}
		out = append(out, one)
	}
	if rest > 0 {
		out = append(out, &run.GoogleCloudRunV2TrafficTarget{Type: byRevision, Revision: former, Percent: rest})
	}
	return out
}

// alike tells whether both entries of traffic say the same.
func alike(a, b *run.GoogleCloudRunV2TrafficTarget) bool {
	return a.Type == b.Type && a.Revision == b.Revision && a.Tag == b.Tag && a.Percent == b.Percent
}

// shareOf is the revision's share of the service's visitors.
func shareOf(s *run.GoogleCloudRunV2Service, revision string) (percent int64) {
	for _, e := range pinned(s) {
		if e.Revision == revision {
			percent += e.Percent
		}
	}
	return percent
}

// gone says that the release's revision has no entry in the traffic any more.
func (t *target) gone(service string, r deploy.Release) error {
	return deploy.Failf(deploy.StageTarget, nil, "Somebody removed the revision %s, so that no visitors can be sent there. Deploy again.", revisionOf(service, r.ID))
}
