package google

import (
	"context"
	"slices"
	"time"

	"google.golang.org/api/run/v2"
	"slipway.dev/services/deploy"
)

// removeTime bounds how long Google may take to delete something.
const removeTime = 2 * time.Minute

// Remove takes the release out of its service's traffic, or deletes the service
// where nothing else is in it, and then what only the release had. Its instances
// get ten seconds to end, which Cloud Run knows no other measure for
// (https://cloud.google.com/run/docs/container-contract#lifecycle-shutdown).
func (t *target) Remove(ctx context.Context, release string, _ time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	a, err := t.whole()
	if err != nil {
		return err
	}
	s, _, err := t.find(ctx, a, release)
	if err != nil {
		return err
	}
	if s != nil {
		if err := t.leave(ctx, a, last(s.Name), release); err != nil {
			return err
		}
	}
	if err := t.dropJob(ctx, a, release); err != nil {
		return err
	}
	return t.dropSecrets(ctx, a, release)
}

// leave takes the release out of the service's traffic; a share of the visitors that
// it has goes to the one that has the others. One that still has all of them stays
// while there is another one that they were not sent to yet.
func (t *target) leave(ctx context.Context, a *api, name, release string) error {
	alone, serves := false, false
	var unknown error
	err := t.edit(ctx, a, deploy.StageTarget, name, func(s *run.GoogleCloudRunV2Service) string {
		own := entryOf(s, release)
		if own == nil {
			return ""
		}
		var rest []*run.GoogleCloudRunV2TrafficTarget
		for _, e := range pinned(s) {
			if e.Tag != own.Tag && (e.Revision != own.Revision || e.Percent == 0) {
				rest = append(rest, e)
			}
		}
		alone, serves = !tagged(rest), false
		if !alone && shareOf(s, own.Revision) > 0 {
			var former string
			former, unknown = t.former(ctx, a, s, own.Revision)
			serves = former == ""
			rest = slices.DeleteFunc(shared(s, own.Tag, former, 0), func(e *run.GoogleCloudRunV2TrafficTarget) bool { return e.Tag == own.Tag })
		}
		if alone || serves {
			return ""
		}
		s.Traffic = rest
		return "traffic"
	}, nil)
	switch {
	case err != nil:
		return err
	case unknown != nil:
		return unknown
	case alone:
		return t.dropService(ctx, a, name)
	case serves:
		return deploy.Failf(deploy.StageTarget, nil, "The revision %s still has the visitors. It is removed once they were sent to another one.", revisionOf(name, release))
	}
	return t.sweep(ctx, a, name)
}

// tagged tells whether there is another release in the traffic.
func tagged(all []*run.GoogleCloudRunV2TrafficTarget) bool {
	for _, e := range all {
		if e.Tag != "" {
			return true
		}
	}
	return false
}

// dropService deletes the service with its revisions, and waits until it is gone,
// so that a service of the name can be made again.
func (t *target) dropService(ctx context.Context, a *api, name string) error {
	_, err := a.Projects.Locations.Services.Delete(t.path(name)).Context(ctx).Do()
	for err == nil || isConflict(err) {
		_, err = a.Projects.Locations.Services.Get(t.path(name)).Context(ctx).Do()
		if err == nil {
			if err := deploy.WaitFor(ctx, t.pace.look/4); err != nil {
				return err
			}
		}
	}
	if isGone(err) {
		return nil
	}
	return t.explain(ctx, deploy.StageTarget, err, "service "+name)
}

// sweep deletes the service's revisions that no traffic names. Cloud Run keeps the
// newest one, and those that are not retired yet: they hold no instances, and go the next time.
func (t *target) sweep(ctx context.Context, a *api, name string) error {
	s, err := a.Projects.Locations.Services.Get(t.path(name)).Context(ctx).Do()
	if isGone(err) {
		return nil
	}
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, "service "+name)
	}
	all, err := t.revisions(ctx, a, name)
	if err != nil {
		return err
	}
	delete(all, last(s.LatestCreatedRevision))
	delete(all, s.Template.Revision)
	for _, e := range append(pinned(s), trafficOf(s)...) {
		delete(all, e.Revision)
	}
	for _, r := range all {
		_, err := a.Projects.Locations.Services.Revisions.Delete(r.Name).Context(ctx).Do()
		if err != nil && !isGone(err) && !isConflict(err) && status(err) != badRequest {
			return t.explain(ctx, deploy.StageTarget, err, "revision "+last(r.Name))
		}
	}
	return nil
}

// badRequest is how Google says that a thing is not in the state for what is asked (FAILED_PRECONDITION).
const badRequest = 400

// trafficOf is where visitors come now, whatever was asked for since.
func trafficOf(s *run.GoogleCloudRunV2Service) (out []*run.GoogleCloudRunV2TrafficTarget) {
	for _, e := range s.TrafficStatuses {
		out = append(out, &run.GoogleCloudRunV2TrafficTarget{Revision: e.Revision})
	}
	return out
}

// dropJob deletes the job of the release's command with its executions.
func (t *target) dropJob(ctx context.Context, a *api, release string) error {
	path := t.settings.location() + "/jobs/" + jobOf(release)
	j, err := a.Projects.Locations.Jobs.Get(path).Context(ctx).Do()
	if err == nil && t.mine(j.Labels) && j.DeleteTime == "" {
		_, err = a.Projects.Locations.Jobs.Delete(path).Context(ctx).Do()
	}
	if err != nil && !isGone(err) {
		return t.explain(ctx, deploy.StageTarget, err, "job "+jobOf(release))
	}
	return nil
}
