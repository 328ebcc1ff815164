package google

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/api/run/v2"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const pageSize = 500

// services lists the services of this target.
func (t *target) services(ctx context.Context, a *api) (out []*run.GoogleCloudRunV2Service, err error) {
	err = a.Projects.Locations.Services.List(t.settings.location()).PageSize(pageSize).Pages(ctx, func(p *run.GoogleCloudRunV2ListServicesResponse) error {
		for _, s := range p.Services {
			if t.mine(s.Labels) && s.DeleteTime == "" {
				out = append(out, s)
			}
		}
		return nil
	})
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "services")
	}
	return out, nil
}

// revisions lists the revisions of the service that this target made, by name; of all services for "-".
func (t *target) revisions(ctx context.Context, a *api, service string) (map[string]*run.GoogleCloudRunV2Revision, error) {
	out := map[string]*run.GoogleCloudRunV2Revision{}
	err := a.Projects.Locations.Services.Revisions.List(t.path(service)).PageSize(pageSize).Pages(ctx, func(p *run.GoogleCloudRunV2ListRevisionsResponse) error {
		for _, r := range p.Revisions {
			if t.mine(r.Labels) {
				out[last(r.Name)] = r
			}
		}
		return nil
	})
	if err != nil && !isGone(err) {
		return nil, t.explain(ctx, deploy.StageTarget, err, "revisions")
	}
	return out, nil
}

// List returns as many instances of each release as it was asked for. Cloud Run
// names none: all of a release are as its revision is, and answer at its tag's address.
func (t *target) List(ctx context.Context) ([]deploy.Instance, error) {
	a, err := t.whole()
	if err != nil {
		return nil, err
	}
	all, err := t.services(ctx, a)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	made, err := t.revisions(ctx, a, "-")
	if err != nil {
		return nil, err
	}
	var out []deploy.Instance
	for _, s := range all {
		for _, e := range s.Traffic {
			if e.Tag == "" {
				continue
			}
			out = append(out, instances(s, e, made[e.Revision])...)
		}
	}
	return out, nil
}

// instances are those of the release that the entry of traffic belongs to. Its
// revision may not be there yet; then the service's template says what it will be.
func instances(s *run.GoogleCloudRunV2Service, e *run.GoogleCloudRunV2TrafficTarget, r *run.GoogleCloudRunV2Revision) []deploy.Instance {
	if r == nil && (s.Template == nil || s.Template.Revision != e.Revision) {
		return nil
	}
	one := deploy.Instance{State: models.InstanceStarting, Message: "Cloud Run has not made the revision yet.", Address: address(uriOf(s, e.Tag))}
	var labels map[string]string
	if r == nil {
		labels = s.Template.Labels
	} else {
		labels = r.Labels
		one.State, one.Message = stateOf(r)
		if at, err := time.Parse(time.RFC3339Nano, r.CreateTime); err == nil {
			at = at.UTC().Truncate(time.Microsecond)
			one.StartedAt = &at
		}
	}
	one.Release = labels[labelRelease]
	n, err := strconv.Atoi(labels[labelInstances])
	if err != nil || n < 1 {
		n = 1
	}
	out := make([]deploy.Instance, n)
	for i := range out {
		out[i] = one
		out[i].Replica, out[i].ID, out[i].Name = i+1, fmt.Sprintf("%s/%d", e.Revision, i+1), e.Revision
		if n > 1 {
			out[i].Name = fmt.Sprintf("%s %d of %d", e.Revision, i+1, n)
		}
	}
	return out
}

// stateOf says how a revision is.
func stateOf(r *run.GoogleCloudRunV2Revision) (models.InstanceState, string) {
	c := condition(r.Conditions, "Ready")
	switch {
	case c == nil || c.State != succeeded && c.State != failed:
		return models.InstanceStarting, ""
	case c.State == failed:
		return models.InstanceFailing, "The revision does not work: " + deploy.Sentence(deploy.Plain(c.Message))
	}
	return models.InstanceHealthy, ""
}

// The states of a condition in which nothing changes any more by itself.
const (
	succeeded = "CONDITION_SUCCEEDED"
	failed    = "CONDITION_FAILED"
)

func condition(all []*run.GoogleCloudRunV2Condition, kind string) *run.GoogleCloudRunV2Condition {
	for _, c := range all {
		if c.Type == kind {
			return c
		}
	}
	return nil
}

// uriOf is the address of the tag; empty while it has none.
func uriOf(s *run.GoogleCloudRunV2Service, tag string) string {
	for _, e := range s.TrafficStatuses {
		if e.Tag == tag {
			return e.Uri
		}
	}
	return ""
}

// address is where a URI's host takes connections without TLS: Google's front end
// does at port 80, and sends visitors to HTTPS.
func address(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return ""
	}
	if u.Port() == "" {
		return u.Host + ":80"
	}
	return u.Host
}

// find returns the service that has the release in its traffic, or nothing.
func (t *target) find(ctx context.Context, a *api, release string) (*run.GoogleCloudRunV2Service, *run.GoogleCloudRunV2TrafficTarget, error) {
	all, err := t.services(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range all {
		if e := entryOf(s, release); e != nil {
			return s, e, nil
		}
	}
	return nil, nil, nil
}
