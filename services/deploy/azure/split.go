package azure

import (
	"context"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/services/deploy"
)

// Split gives a share of the app's traffic to the release's revision, and all else to the one that had
// it (https://learn.microsoft.com/azure/container-apps/traffic-splitting). Both have to listen on one
// port, for the ingress of a Container App leads to one alone.
func (t *target) Split(ctx context.Context, r deploy.Release, percent int) error {
	ctx, cancel := context.WithTimeout(ctx, routeTime)
	defer cancel()
	share := int32(deploy.Share(percent))
	app, err := t.own(ctx, deploy.StageTarget, r)
	if err != nil {
		return err
	}
	there := app != nil
	if there && share > 0 {
		if there, err = t.goOn(ctx, app, r); err != nil {
			return err
		}
	}
	switch {
	case !there && share > 0:
		return deploy.Failf(deploy.StageTarget, nil, "The revision %s is gone: something other than Slipway removed it. Deploy again.", revisionOf(t.appName(r), r.ID))
	case !there || app.Properties.Configuration.Ingress == nil:
		return nil // it has no visitors
	}
	return t.share(ctx, app, revisionOf(*app.Name, r.ID), share, int32(r.Port))
}

// share divides the app's traffic, unless it is divided so already or all of it is the revision's own.
func (t *target) share(ctx context.Context, app *aca.ContainerApp, own string, share, port int32) error {
	all, err := t.revisionsOf(ctx, *app.Name)
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err)
	}
	ingress := app.Properties.Configuration.Ingress
	traffic := pinned(app, all)
	from := former(traffic, all, own)
	if from == "" {
		return nil
	}
	if has := value(ingress.TargetPort); share > 0 && has != port {
		return deploy.Failf(deploy.StageTarget, nil, "The app's port changes from %d to %d, and a Container App leads visitors to one port, of whichever revision. They can't move to this release in steps: deploy it without.", has, port)
	}
	next := shared(traffic, own, from, share)
	if !moving(app) && slices.EqualFunc(ingress.Traffic, next, alike) {
		return nil
	}
	return t.patch(ctx, deploy.StageTarget, *app.Name, &aca.Configuration{Ingress: &aca.Ingress{Traffic: next}})
}

// former is the revision that had the traffic before the given one; empty: none has any.
func former(traffic []*aca.TrafficWeight, all []*aca.Revision, beside string) string {
	var names []string
	for _, w := range traffic {
		if value(w.Weight) > 0 && value(w.RevisionName) != beside {
			names = append(names, value(w.RevisionName))
		}
	}
	return deploy.Former(names, func(name string) string {
		for _, r := range all {
			if value(r.Name) == name {
				return releaseOf(r)
			}
		}
		return ""
	})
}

// shared is the traffic with a share of it at one revision and the rest at the former one. Labels stay where they are.
func shared(traffic []*aca.TrafficWeight, own, former string, share int32) (out []*aca.TrafficWeight) {
	weights := map[string]int32{own: share, former: 100 - share}
	for _, w := range traffic {
		name := value(w.RevisionName)
		if weights[name] > 0 || value(w.Label) != "" {
			out = append(out, &aca.TrafficWeight{RevisionName: to.Ptr(name), Weight: to.Ptr(weights[name]), Label: w.Label})
		}
		delete(weights, name) // of several entries the first has all
	}
	for _, name := range []string{former, own} {
		if weights[name] > 0 {
			out = append(out, &aca.TrafficWeight{RevisionName: to.Ptr(name), Weight: to.Ptr(weights[name])})
		}
	}
	return out
}

// alike tells whether both say the same of the traffic.
func alike(a, b *aca.TrafficWeight) bool {
	return value(a.RevisionName) == value(b.RevisionName) && value(a.Weight) == value(b.Weight) && value(a.Label) == value(b.Label) && value(a.LatestRevision) == value(b.LatestRevision)
}
