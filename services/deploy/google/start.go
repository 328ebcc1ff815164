package google

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/api/run/v2"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const maxEdits = 8 // of a service that others change too

// hosts are the registries that Cloud Run pulls from; it takes no login for others.
var hosts = regexp.MustCompile(`^([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io|(index\.)?docker\.io)$`)

// foreign says why Cloud Run can't pull the image, or nothing.
func foreign(image deploy.Image) *deploy.Failure {
	host, _, _ := strings.Cut(image.Repository, "/")
	if hosts.MatchString(host) {
		return nil
	}
	return deploy.Failf(deploy.StageImage, nil, "Cloud Run pulls from Artifact Registry alone, not from %s. Add an Artifact Registry to Slipway's registries and choose it in the target's settings: Slipway then copies each image there first.", host)
}

// Fetch leaves the image to Cloud Run, which pulls it for a new revision. It looks
// whether there is something that it can pull.
func (t *target) Fetch(ctx context.Context, image deploy.Image, from deploy.Source, say func(string)) error {
	if f := foreign(image); f != nil {
		return f
	}
	return deploy.LeaveImage(ctx, image, from, say, "Cloud Run pulls it", "Cloud Run tries to pull the image")
}

// Start makes the release's revision, with a tag and without visitors. The first
// revision of a service gets all of them, as Cloud Run wants it; nobody knows the
// service's address before Route gives it.
func (t *target) Start(ctx context.Context, r deploy.Release) error {
	if r.Health == models.HealthImage {
		return deploy.Failf(deploy.StageHealth, nil, "Cloud Run does not run an image's HEALTHCHECK. Choose an HTTP path or the TCP port in the app's settings.")
	}
	of, err := sizeOf(r.Scale)
	if err != nil {
		return err
	}
	a, err := t.as(r.Subject())
	if err != nil {
		return err
	}
	if err := t.putSecrets(ctx, a, r); err != nil {
		return err
	}
	name := serviceOf(r)
	template := t.template(r, name, of)
	err = t.edit(ctx, a, deploy.StageStart, name, func(s *run.GoogleCloudRunV2Service) (mask string) {
		if entryOf(s, r.ID) != nil {
			return "" // a worker before this one came so far
		}
		s.Traffic = append(pinned(s), &run.GoogleCloudRunV2TrafficTarget{Type: byRevision, Revision: template.Revision, Tag: tagOf(r.ID)})
		s.Template, s.Labels, s.Ingress = template, t.placeLabels(r), t.settings.ingress
		return "template,traffic,labels,ingress"
	}, func() *run.GoogleCloudRunV2Service {
		first := &run.GoogleCloudRunV2TrafficTarget{Type: byRevision, Revision: template.Revision, Tag: tagOf(r.ID), Percent: 100}
		return &run.GoogleCloudRunV2Service{Labels: t.placeLabels(r), Ingress: t.settings.ingress, Template: template, Traffic: []*run.GoogleCloudRunV2TrafficTarget{first},
			Description: "Deployed by Slipway: " + r.App + " of " + r.Team + " in " + r.Environment}
	})
	if err != nil {
		return err
	}
	return t.publish(ctx, a, name)
}

// byRevision is the type of an entry of traffic that names its revision.
const byRevision = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"

// pinned is the service's traffic as it is, by names: what somebody sent to the
// latest revision stays with the one that is that now.
func pinned(s *run.GoogleCloudRunV2Service) []*run.GoogleCloudRunV2TrafficTarget {
	out := slices.Clone(s.Traffic)
	if len(out) == 0 {
		out = append(out, &run.GoogleCloudRunV2TrafficTarget{Percent: 100})
	}
	for i, e := range out {
		if e.Revision == "" {
			out[i] = &run.GoogleCloudRunV2TrafficTarget{Type: byRevision, Revision: last(s.LatestReadyRevision), Percent: e.Percent, Tag: e.Tag}
		}
	}
	return out
}

// edit changes the service as it is now, by change, which returns the fields that
// it changed, or makes it where there is none. One that others changed meanwhile is
// looked at again. It does not wait for the change to take effect. Without make
// nothing happens where there is no service.
func (t *target) edit(ctx context.Context, a *api, stage, name string, change func(*run.GoogleCloudRunV2Service) (mask string), make func() *run.GoogleCloudRunV2Service) error {
	for try := 1; ; try++ {
		s, err := a.Projects.Locations.Services.Get(t.path(name)).Context(ctx).Do()
		switch {
		case isGone(err) && make == nil:
			return nil
		case isGone(err):
			_, err = a.Projects.Locations.Services.Create(t.settings.location(), make()).ServiceId(name).Context(ctx).Do()
		case err != nil:
		case !t.mine(s.Labels):
			return deploy.Failf(deploy.StageTarget, nil, "The project has a service %s in %s that this target did not make. Remove or rename it, and deploy again.", name, t.settings.region)
		case s.DeleteTime != "": // it goes: wait until another one can be made
			if err := deploy.WaitFor(ctx, t.pace.look); err != nil {
				return err
			}
			try = 0
			continue
		default:
			mask := change(s)
			if mask == "" {
				return nil
			}
			in := &run.GoogleCloudRunV2Service{Name: s.Name, Etag: s.Etag, Template: s.Template, Traffic: s.Traffic, Labels: s.Labels, Ingress: s.Ingress}
			_, err = a.Projects.Locations.Services.Patch(t.path(name), in).UpdateMask(mask).Context(ctx).Do()
		}
		if !isConflict(err) || try == maxEdits {
			if err != nil {
				return t.explain(ctx, stage, err, "service "+name)
			}
			return nil
		}
		if err := deploy.WaitFor(ctx, t.pace.look/4); err != nil {
			return err
		}
	}
}

// invoker lets visitors in; of everybody who asks.
const (
	invoker  = "roles/run.invoker"
	everyone = "allUsers"
)

// publish lets everybody in, or nobody but whom others let in, as the target's settings say.
func (t *target) publish(ctx context.Context, a *api, name string) error {
	for try := 1; ; try++ {
		policy, err := a.Projects.Locations.Services.GetIamPolicy(t.path(name)).Context(ctx).Do()
		if err != nil {
			return t.explain(ctx, deploy.StageStart, err, "visitors' rights of the service "+name)
		}
		if !open(policy, t.settings.public) {
			return nil
		}
		_, err = a.Projects.Locations.Services.SetIamPolicy(t.path(name), &run.GoogleIamV1SetIamPolicyRequest{Policy: policy}).Context(ctx).Do()
		if isConflict(err) && try < maxEdits {
			continue
		}
		if err != nil && strings.Contains(err.Error(), "permitted customer") {
			return deploy.Failf(deploy.StageStart, err, "A policy of the organization (iam.allowedPolicyMemberDomains) forbids that anybody may visit. Ask its admins for an exception for the project, or switch \"Anybody may visit\" off in the target's settings.")
		}
		if err != nil {
			return t.explain(ctx, deploy.StageStart, err, "visitors' rights of the service "+name)
		}
		return nil
	}
}

// open puts everybody among those who may visit, or takes them out. It tells whether it changed something.
func open(p *run.GoogleIamV1Policy, public bool) (changed bool) {
	for _, b := range p.Bindings {
		if b.Role != invoker || b.Condition != nil {
			continue
		}
		has := slices.Contains(b.Members, everyone)
		switch {
		case has == public:
			return false
		case public:
			b.Members = append(b.Members, everyone)
		default:
			b.Members = slices.DeleteFunc(b.Members, func(m string) bool { return m == everyone })
		}
		return true
	}
	if public {
		p.Bindings = append(p.Bindings, &run.GoogleIamV1Binding{Role: invoker, Members: []string{everyone}})
	}
	return public
}
