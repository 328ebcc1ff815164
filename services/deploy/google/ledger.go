package google

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"slipway.dev/services/deploy"
)

const (
	maxEvents = 100
	console   = "https://console.cloud.google.com"
)

// page is a link into the console. Another universe has another one, which is not known here.
func (t *target) page(format string, args ...any) string {
	if t.settings.Endpoint != "" {
		return ""
	}
	return console + fmt.Sprintf(format, args...) + "?project=" + t.settings.Project
}

// Resources lists the release's revision, job and secrets, and the app's service.
func (t *target) Resources(ctx context.Context, release string) ([]deploy.Resource, error) {
	a, err := t.whole()
	if err != nil {
		return nil, err
	}
	out := []deploy.Resource{}
	s, e, err := t.find(ctx, a, release)
	if err != nil {
		return nil, err
	}
	if s != nil {
		name := last(s.Name)
		out = append(out, deploy.Resource{Kind: "Service", Name: name, Link: t.page("/run/detail/%s/%s/metrics", t.settings.region, name)},
			deploy.Resource{Kind: "Revision", Name: e.Revision, Link: t.page("/run/detail/%s/%s/revisions", t.settings.region, name)})
	}
	j, err := a.Projects.Locations.Jobs.Get(t.settings.location() + "/jobs/" + jobOf(release)).Context(ctx).Do()
	if err != nil && !isGone(err) {
		return nil, t.explain(ctx, deploy.StageTarget, err, "job "+jobOf(release))
	}
	if err == nil && t.mine(j.Labels) {
		out = append(out, deploy.Resource{Kind: "Job", Name: jobOf(release), Link: t.page("/run/jobs/details/%s/%s/executions", t.settings.region, jobOf(release))})
	}
	secrets, err := t.secretsOf(ctx, a, release)
	if err != nil && !isOff(err) {
		return nil, t.explain(ctx, deploy.StageTarget, err, "secrets")
	}
	for _, s := range secrets {
		out = append(out, deploy.Resource{Kind: "Secret", Name: last(s.Name), Link: t.page("/security/secret-manager/secret/%s/versions", last(s.Name))})
	}
	return out, nil
}

// Events returns what Cloud Run says of the release's revision: its conditions, and its own log of the instances.
func (t *target) Events(ctx context.Context, release string) ([]deploy.Event, error) {
	a, err := t.whole()
	if err != nil {
		return nil, err
	}
	found, err := t.entries(ctx, a, t.ofRelease(release)+" AND "+t.logName(logSystem), newestFirst, maxEvents)
	if err != nil {
		return nil, err
	}
	out := []deploy.Event{}
	for _, e := range found {
		l := line(e)
		object := "Instance"
		if e.Resource != nil {
			object = "Revision " + e.Resource.Labels["revision_name"]
		}
		out = append(out, deploy.Event{At: l.At, Object: object, Text: deploy.Plain(l.Text), Warning: e.Severity == "WARNING" || e.Severity == "ERROR"})
	}
	of, err := t.conditionsOf(ctx, a, release)
	if err != nil {
		return nil, err
	}
	out = append(out, of...)
	slices.SortStableFunc(out, func(a, b deploy.Event) int { return cmp.Compare(b.At.UnixNano(), a.At.UnixNano()) })
	return out[:min(len(out), maxEvents)], nil
}

// conditionsOf are the conditions of the release's revision, by the time at which each became what it is.
func (t *target) conditionsOf(ctx context.Context, a *api, release string) (out []deploy.Event, err error) {
	s, e, err := t.find(ctx, a, release)
	if err != nil || s == nil {
		return nil, err
	}
	r, err := a.Projects.Locations.Services.Revisions.Get(s.Name + "/revisions/" + e.Revision).Context(ctx).Do()
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err, "revision "+e.Revision)
	}
	for _, c := range r.Conditions {
		at, err := time.Parse(time.RFC3339Nano, c.LastTransitionTime)
		if err != nil {
			continue
		}
		text := c.Type
		if c.Message != "" {
			text += ": " + deploy.Plain(c.Message)
		}
		out = append(out, deploy.Event{At: at.UTC(), Object: "Revision " + e.Revision, Text: text, Warning: c.State == failed})
	}
	return out, nil
}
