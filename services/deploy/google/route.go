package google

import (
	"context"
	"time"

	"google.golang.org/api/run/v2"
	"slipway.dev/services/deploy"
)

// routeTime bounds how long Google may take to send visitors elsewhere.
const routeTime = 2 * time.Minute

// Route sends the service's visitors to the release, and waits until Cloud Run
// says that they come there. What else has an address of its own keeps it.
func (t *target) Route(ctx context.Context, r deploy.Release) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, routeTime)
	defer cancel()
	a, err := t.as(r.Subject())
	if err != nil {
		return "", err
	}
	name := serviceOf(r)
	there := false
	err = t.edit(ctx, a, deploy.StageTarget, name, func(s *run.GoogleCloudRunV2Service) string {
		there = entryOf(s, r.ID) != nil
		if !there || entryOf(s, r.ID).Percent == 100 {
			return ""
		}
		s.Traffic = sentTo(s, tagOf(r.ID))
		return "traffic"
	}, nil)
	if err != nil {
		return "", err
	}
	if !there {
		return "", t.gone(name, r)
	}
	return t.routed(ctx, a, name, r, 100)
}

// sentTo is the service's traffic with all visitors at the tag's revision.
func sentTo(s *run.GoogleCloudRunV2Service, tag string) []*run.GoogleCloudRunV2TrafficTarget {
	var out []*run.GoogleCloudRunV2TrafficTarget
	for _, e := range pinned(s) {
		if e.Tag == "" {
			continue // a share of the visitors that somebody else gave away
		}
		one := &run.GoogleCloudRunV2TrafficTarget{Type: byRevision, Revision: e.Revision, Tag: e.Tag}
		if e.Tag == tag {
			one.Percent = 100
		}
		out = append(out, one)
	}
	return out
}

// routed waits until that share of the service's visitors comes to the release, and returns the service's address.
func (t *target) routed(ctx context.Context, a *api, name string, r deploy.Release, share int64) (string, error) {
	for {
		s, err := a.Projects.Locations.Services.Get(t.path(name)).Context(ctx).Do()
		if err != nil {
			return "", t.explain(ctx, deploy.StageTarget, err, "service "+name)
		}
		for _, e := range s.TrafficStatuses {
			if e.Tag == tagOf(r.ID) && e.Percent == share && s.ObservedGeneration == s.Generation && s.Uri != "" {
				return s.Uri, nil
			}
		}
		if c := condition(s.Conditions, "RoutesReady"); c != nil && c.State == failed && s.ObservedGeneration == s.Generation {
			return "", deploy.Failf(deploy.StageTarget, nil, "Cloud Run could not send the visitors to the new revision: %s", deploy.Sentence(deploy.Plain(c.Message)))
		}
		if deploy.WaitFor(ctx, t.pace.look) != nil {
			return "", deploy.Failf(deploy.StageTimeout, context.Cause(ctx), "Cloud Run did not send the visitors to the new revision in time. Slipway tries again.")
		}
	}
}
