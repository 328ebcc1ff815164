package azure

import (
	"context"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/services/deploy"
)

// erased is what stands in place of a secret whose name has to stay for a while. Azure takes no empty ones.
const erased = "removed"

// Remove puts the release's revision to rest, which ends its replicas as the
// revision says, and takes its secrets away. The Container App goes with its
// last release. Azure gives replicas the same time to end whatever grace is.
func (t *target) Remove(ctx context.Context, release string, _ time.Duration) error {
	if err := t.removeJob(ctx, release); err != nil {
		return err
	}
	name, err := t.appOf(ctx, release)
	if name == "" || err != nil {
		return err
	}
	defer t.forget(name)
	app, err := t.app(ctx, name)
	if missing(err) {
		return nil
	}
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err)
	}
	if !t.owns(app.Tags) {
		return nil
	}
	all, err := t.revisionsOf(ctx, name)
	if missing(err) {
		return nil
	}
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err)
	}
	own := revisionOf(name, release)
	others := slices.DeleteFunc(slices.Clone(all), func(r *aca.Revision) bool { return value(r.Name) == own || !active(r) })
	if len(others) == 0 {
		return t.removeApp(ctx, name)
	}
	if err := t.retire(ctx, app, own, others); err != nil {
		return err
	}
	return t.prune(ctx, name, release)
}

// retire puts the revision to rest. Traffic that it still has goes to the one that has the rest of it, or to
// the newest of the others: Azure lets none rest that has some.
func (t *target) retire(ctx context.Context, app *aca.ContainerApp, own string, others []*aca.Revision) error {
	if i := app.Properties.Configuration.Ingress; i != nil && slices.ContainsFunc(i.Traffic, func(w *aca.TrafficWeight) bool {
		return value(w.RevisionName) == own && value(w.Weight) > 0
	}) {
		kept := pinned(app, others)
		next := former(kept, others, own)
		if next == "" {
			next = value(slices.MaxFunc(others, func(a, b *aca.Revision) int {
				return value(a.Properties.CreatedTime).Compare(value(b.Properties.CreatedTime))
			}).Name)
		}
		traffic := shared(kept, own, next, 0)
		if err := t.patch(ctx, deploy.StageTarget, *app.Name, &aca.Configuration{Ingress: &aca.Ingress{Traffic: traffic}}); err != nil {
			return err
		}
	}
	return t.away(ctx, func(ctx context.Context) error {
		_, err := t.revisions.DeactivateRevision(ctx, t.settings.Group, *app.Name, own, nil)
		return err
	})
}

// prune takes the secrets of releases away that do not run any more. Those that
// the app's newest revision names have to stay until another one is made; their
// values go.
func (t *target) prune(ctx context.Context, name, release string) error {
	app, err := t.app(ctx, name)
	if missing(err) {
		return nil
	}
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err)
	}
	have, err := t.secrets(ctx, name)
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err)
	}
	all, err := t.revisionsOf(ctx, name)
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err)
	}
	keep := used(have, all, suffixOf(release))
	if newest := newestOf(app); newest == suffixOf(release) || !runs(all, newest) {
		keep = erase(have, keep, newest)
	}
	if same(have, keep) {
		return nil
	}
	config := &aca.Configuration{Secrets: keep}
	if len(keep) == 0 {
		config.Secrets = []*aca.Secret{}
	}
	return t.patch(ctx, deploy.StageTarget, name, config)
}

// newestOf is the suffix of the app's newest revision, which the app goes on to name when it rests.
func newestOf(app *aca.ContainerApp) string {
	if app.Properties.Template == nil {
		return ""
	}
	return value(app.Properties.Template.RevisionSuffix)
}

// erase adds to what stays the release's secrets without their values.
func erase(have, keep []*aca.Secret, suffix string) []*aca.Secret {
	for _, s := range have {
		if m := secretNames.FindStringSubmatch(value(s.Name)); m != nil && m[1] == suffix {
			keep = append(keep, &aca.Secret{Name: s.Name, Value: to.Ptr(erased)})
		}
	}
	return keep
}

// same tells whether both have the same names and values.
func same(a, b []*aca.Secret) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s *aca.Secret) bool {
		return !slices.ContainsFunc(b, func(o *aca.Secret) bool { return value(o.Name) == value(s.Name) && value(o.Value) == value(s.Value) })
	})
}

// removeApp deletes the Container App with all its revisions.
func (t *target) removeApp(ctx context.Context, name string) error {
	return t.away(ctx, func(ctx context.Context) error {
		poller, err := t.apps.BeginDelete(ctx, t.settings.Group, name, nil)
		if err != nil {
			return err
		}
		return ended(ctx, t, poller)
	})
}

// removeJob deletes the job of the release's command.
func (t *target) removeJob(ctx context.Context, release string) error {
	job, err := t.job(ctx, jobName(release))
	if missing(err) {
		return nil
	}
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err)
	}
	if !t.owns(job.Tags) || value(job.Tags[tagRelease]) != release {
		return nil
	}
	return t.deleteJob(ctx, jobName(release))
}

func (t *target) deleteJob(ctx context.Context, name string) error {
	return t.away(ctx, func(ctx context.Context) error {
		poller, err := t.jobs.BeginDelete(ctx, t.settings.Group, name, nil)
		if err != nil {
			return err
		}
		return ended(ctx, t, poller)
	})
}
