package azure

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Fetch leaves the image to Azure, which pulls it when a replica starts. It looks
// whether there is something to pull, so that a lost image is no riddle.
func (t *target) Fetch(ctx context.Context, image deploy.Image, from deploy.Source, say func(string)) error {
	return deploy.LeaveImage(ctx, image, from, say, "Azure pulls it", "Azure tries to pull the image")
}

// Start makes the release's revision in the app's Container App, which it makes
// first where it is missing. Visitors stay with the revision that has them.
func (t *target) Start(ctx context.Context, r deploy.Release) error {
	if r.Health == models.HealthImage {
		return deploy.Failf(deploy.StageHealth, nil, "Azure Container Apps does not run an image's HEALTHCHECK. Choose an HTTP path or the TCP port in the app's settings.")
	}
	defer t.forget(t.appName(r))
	for began := time.Now(); ; {
		app, err := t.own(ctx, deploy.StageStart, r)
		if err != nil {
			return err
		}
		if app != nil {
			if there, err := t.goOn(ctx, app, r); there || err != nil {
				return err
			}
		}
		if app != nil && moving(app) { // another write goes on, such as the end of the release before
			if time.Since(began) > busyTime {
				return deploy.Failf(deploy.StageTimeout, nil, "Azure has been changing the Container App %s for %s, and takes no other change before it is done (%s). Deploy again when it is.", *app.Name, busyTime, value(app.Properties.ProvisioningState))
			}
			if err := t.pause(ctx); err != nil {
				return t.explain(ctx, deploy.StageStart, err)
			}
			continue
		}
		want, err := t.wanted(ctx, r, app)
		if err != nil {
			return err
		}
		if again, err := t.put(ctx, r, want); !again || err != nil {
			return err
		}
	}
}

// own returns the release's Container App, nil where there is none. One of the name that is not this target's is a *Failure.
func (t *target) own(ctx context.Context, stage string, r deploy.Release) (*aca.ContainerApp, error) {
	app, err := t.app(ctx, t.appName(r))
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, t.explain(ctx, stage, err)
	}
	if !t.owns(app.Tags) || value(app.Tags[tagEnvironment]) != r.EnvironmentID {
		return nil, deploy.Failf(stage, nil, "There is a Container App %s in the resource group %s that is not Slipway's, so it is not touched. Rename or remove it; or, to hand it over, tag it %s=%s and %s=%s.",
			t.appName(r), t.settings.Group, tagTarget, t.id, tagEnvironment, r.EnvironmentID)
	}
	return app, nil
}

func (t *target) app(ctx context.Context, name string) (*aca.ContainerApp, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	found, err := t.apps.Get(ctx, t.settings.Group, name, nil)
	if err != nil {
		return nil, err
	}
	if found.Properties == nil {
		found.Properties = &aca.ContainerAppProperties{}
	}
	if found.Properties.Configuration == nil {
		found.Properties.Configuration = &aca.Configuration{}
	}
	return &found.ContainerApp, nil
}

// goOn takes up a release that was started before.
func (t *target) goOn(ctx context.Context, app *aca.ContainerApp, r deploy.Release) (there bool, err error) {
	rev, err := t.revision(ctx, *app.Name, r.ID)
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, t.explain(ctx, deploy.StageStart, err)
	}
	return true, t.activate(ctx, deploy.StageStart, *app.Name, rev)
}

// revision returns the release's revision in the Container App.
func (t *target) revision(ctx context.Context, app, release string) (*aca.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	found, err := t.revisions.GetRevision(ctx, t.settings.Group, app, revisionOf(app, release), nil)
	if err != nil {
		return nil, err
	}
	if found.Properties == nil {
		found.Properties = &aca.RevisionProperties{}
	}
	return &found.Revision, nil
}

// activate lets a revision run that was told to rest.
func (t *target) activate(ctx context.Context, stage, app string, rev *aca.Revision) error {
	if rev.Properties.Active == nil || *rev.Properties.Active {
		return nil
	}
	return t.again(ctx, stage, func(ctx context.Context) error {
		_, err := t.revisions.ActivateRevision(ctx, t.settings.Group, app, *rev.Name, nil)
		return err
	})
}

// moving tells whether Azure still changes the Container App.
func moving(app *aca.ContainerApp) bool {
	state := value(app.Properties.ProvisioningState)
	return state == aca.ContainerAppProvisioningStateInProgress || state == aca.ContainerAppProvisioningStateDeleting
}

// wanted is the Container App with the release's revision, and all else as it is.
func (t *target) wanted(ctx context.Context, r deploy.Release, app *aca.ContainerApp) (aca.ContainerApp, error) {
	home, err := t.environment(ctx)
	if err != nil {
		return aca.ContainerApp{}, err
	}
	tags, config, port := map[string]*string{}, &aca.Configuration{}, int32(r.Port)
	var identity *aca.ManagedServiceIdentity
	traffic := []*aca.TrafficWeight{{RevisionName: to.Ptr(revisionOf(t.appName(r), r.ID)), Weight: to.Ptr[int32](100)}}
	config.Ingress = &aca.Ingress{External: to.Ptr(!t.settings.internal), TargetPort: &port, Transport: to.Ptr(aca.IngressTransportMethodAuto), AllowInsecure: to.Ptr(false)}
	config.Ingress.Traffic = traffic
	if app != nil {
		maps.Copy(tags, app.Tags)
		config, identity = app.Properties.Configuration, app.Identity
		if err := t.keep(ctx, r, app, traffic); err != nil {
			return aca.ContainerApp{}, err
		}
		port = value(config.Ingress.TargetPort)
	}
	maps.Copy(tags, t.tags(r))
	config.ActiveRevisionsMode = to.Ptr(aca.ActiveRevisionsModeMultiple)
	config.Secrets = append(config.Secrets, secrets(r)...)
	login, err := t.login(ctx, deploy.StageStart, r)
	if err != nil {
		return aca.ContainerApp{}, err
	}
	config.Registries, config.Secrets = login.into(config.Registries, config.Secrets)
	properties := &aca.ContainerAppProperties{EnvironmentID: to.Ptr(t.settings.environmentID()), Configuration: config, Template: template(r, port)}
	if app != nil {
		properties.WorkloadProfileName = app.Properties.WorkloadProfileName
	}
	if t.settings.profile != "" {
		properties.WorkloadProfileName = to.Ptr(t.settings.profile)
	}
	return aca.ContainerApp{Location: home.Location, Tags: tags, Identity: t.identity(identity), Properties: properties}, nil
}

// keep completes the configuration that there is: its traffic is pinned to the
// revision that has it, and of its secrets those stay that something still uses.
func (t *target) keep(ctx context.Context, r deploy.Release, app *aca.ContainerApp, own []*aca.TrafficWeight) error {
	all, err := t.revisionsOf(ctx, *app.Name)
	if err != nil {
		return t.explain(ctx, deploy.StageStart, err)
	}
	config := app.Properties.Configuration
	if config.Ingress == nil {
		config.Ingress = &aca.Ingress{External: to.Ptr(!t.settings.internal), TargetPort: to.Ptr(int32(r.Port)), Transport: to.Ptr(aca.IngressTransportMethodAuto)}
	}
	config.Ingress.Fqdn = nil
	config.Ingress.Traffic = pinned(app, all)
	if len(config.Ingress.Traffic) == 0 {
		config.Ingress.Traffic, config.Ingress.TargetPort = own, to.Ptr(int32(r.Port))
	}
	have, err := t.secrets(ctx, *app.Name)
	if err != nil {
		return t.explain(ctx, deploy.StageStart, err)
	}
	config.Secrets = used(have, all, suffixOf(r.ID))
	return nil
}

// pinned is the traffic as it is now, by name: a share of "the latest" would go to the new revision at once.
func pinned(app *aca.ContainerApp, all []*aca.Revision) (out []*aca.TrafficWeight) {
	for _, w := range app.Properties.Configuration.Ingress.Traffic {
		name := value(w.RevisionName)
		if value(w.LatestRevision) {
			if name = value(app.Properties.LatestReadyRevisionName); name == "" {
				name = value(app.Properties.LatestRevisionName)
			}
		}
		runs := slices.ContainsFunc(all, func(r *aca.Revision) bool { return value(r.Name) == name && active(r) })
		if runs && (value(w.Weight) > 0 || value(w.Label) != "") {
			out = append(out, &aca.TrafficWeight{RevisionName: to.Ptr(name), Weight: w.Weight, Label: w.Label})
		}
	}
	if !slices.ContainsFunc(out, func(w *aca.TrafficWeight) bool { return value(w.Weight) > 0 }) {
		return nil
	}
	return out
}

func active(r *aca.Revision) bool { return r.Properties != nil && value(r.Properties.Active) }

// used are the secrets but for those of releases that do not run any more, and of the one that is written anew.
func used(have []*aca.Secret, all []*aca.Revision, anew string) []*aca.Secret {
	return slices.DeleteFunc(slices.Clone(have), func(s *aca.Secret) bool {
		m := secretNames.FindStringSubmatch(value(s.Name))
		if m == nil {
			return false
		}
		return !runs(all, m[1]) || m[1] == anew
	})
}

// runs tells whether the revision of the suffix is active.
func runs(all []*aca.Revision, suffix string) bool {
	return slices.ContainsFunc(all, func(r *aca.Revision) bool { return active(r) && strings.HasSuffix(value(r.Name), "--"+suffix) })
}

// secrets returns the Container App's secrets with their values, as a write has to have them.
func (t *target) secrets(ctx context.Context, app string) (all []*aca.Secret, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	found, err := t.apps.ListSecrets(ctx, t.settings.Group, app, nil)
	for _, s := range found.Value {
		all = append(all, &aca.Secret{Name: s.Name, Value: s.Value, KeyVaultURL: s.KeyVaultURL, Identity: s.Identity})
	}
	return all, err
}

// put writes the Container App and returns once the revision is there: whether
// it gets well is Wait's to see. Again says that somebody else writes it now.
func (t *target) put(ctx context.Context, r deploy.Release, want aca.ContainerApp) (again bool, err error) {
	poller, err := t.apps.BeginCreateOrUpdate(ctx, t.settings.Group, t.appName(r), want, nil)
	if busy(err) {
		return true, t.pause(ctx)
	}
	if err != nil {
		return false, t.refusedTemplate(ctx, r, err)
	}
	for !poller.Done() {
		if _, err := t.revision(ctx, t.appName(r), r.ID); err == nil {
			return false, nil
		}
		if err := t.pause(ctx); err != nil {
			return false, t.explain(ctx, deploy.StageStart, err)
		}
		if _, err := poller.Poll(ctx); err != nil {
			return false, t.explain(ctx, deploy.StageStart, err)
		}
	}
	if _, err = poller.Result(ctx); err == nil {
		return false, nil
	}
	if _, gone := t.revision(ctx, t.appName(r), r.ID); gone == nil {
		return false, nil // it was made, and Wait tells what is the matter with it
	}
	return false, t.refusedTemplate(ctx, r, err)
}
