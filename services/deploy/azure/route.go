package azure

import (
	"context"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/services/deploy"
)

// routeTime bounds how long Azure may take to move the traffic.
const routeTime = 3 * time.Minute

// Route gives all of the app's traffic to the release's revision, and returns
// the app's address, which stays the same.
func (t *target) Route(ctx context.Context, r deploy.Release) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, routeTime)
	defer cancel()
	app, err := t.own(ctx, deploy.StageTarget, r)
	if err != nil {
		return "", err
	}
	if app == nil {
		return "", deploy.Failf(deploy.StageTarget, nil, "The Container App %s is gone: something other than Slipway removed it. Deploy again.", t.appName(r))
	}
	there, err := t.goOn(ctx, app, r)
	if err != nil {
		return "", err
	}
	if !there {
		return "", deploy.Failf(deploy.StageTarget, nil, "The revision %s is gone: something other than Slipway removed it. Deploy again.", revisionOf(*app.Name, r.ID))
	}
	if err := t.turn(ctx, app, revisionOf(*app.Name, r.ID), int32(r.Port)); err != nil {
		return "", err
	}
	if app, err = t.app(ctx, *app.Name); err != nil {
		return "", t.explain(ctx, deploy.StageTarget, err)
	}
	if i := app.Properties.Configuration.Ingress; i != nil && value(i.Fqdn) != "" {
		return "https://" + *i.Fqdn, nil
	}
	return "", deploy.Failf(deploy.StageTarget, nil, "Azure gives the Container App %s no address: its ingress is off. Turn it on in the Azure portal, or remove the app there and deploy again.", *app.Name)
}

// turn sends the traffic to the revision, and to the port that it listens on,
// unless it goes there already.
func (t *target) turn(ctx context.Context, app *aca.ContainerApp, revision string, port int32) error {
	config := app.Properties.Configuration
	if config.Ingress != nil && !moving(app) && value(config.Ingress.TargetPort) == port && all(config.Ingress.Traffic, revision) {
		return nil
	}
	ingress := &aca.Ingress{Traffic: []*aca.TrafficWeight{{RevisionName: to.Ptr(revision), Weight: to.Ptr[int32](100)}}, TargetPort: to.Ptr(port)}
	if config.Ingress == nil { // somebody turned it off
		ingress.External, ingress.Transport = to.Ptr(!t.settings.internal), to.Ptr(aca.IngressTransportMethodAuto)
	}
	return t.patch(ctx, deploy.StageTarget, *app.Name, &aca.Configuration{Ingress: ingress})
}

// all tells whether all of the traffic goes to the revision.
func all(traffic []*aca.TrafficWeight, revision string) bool {
	weighs := func(w *aca.TrafficWeight) bool { return value(w.Weight) > 0 && value(w.RevisionName) != revision }
	return len(traffic) > 0 && !slices.ContainsFunc(traffic, weighs)
}
