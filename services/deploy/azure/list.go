package azure

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// viewAge is how long what was seen of an app holds while nobody writes it. Azure
// counts each question: with many apps each is looked at less often.
const (
	viewAge    = 10 * time.Second
	viewPerApp = 200 * time.Millisecond
)

// view is what was seen of an app's revisions.
type view struct {
	at        time.Time
	written   time.Time // of the app, as Azure says
	instances []deploy.Instance
}

// List returns the replicas of all releases. A release without a replica is one
// instance by the name of its revision, so that it is not taken for gone.
func (t *target) List(ctx context.Context) ([]deploy.Instance, error) {
	all, err := t.ownApps(ctx)
	if err != nil {
		return nil, err
	}
	var out []deploy.Instance
	for _, app := range all {
		found, err := t.see(ctx, app, viewAge+time.Duration(len(all))*viewPerApp)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, t.explain(ctx, deploy.StageTarget, err)
		}
		out = append(out, found...)
	}
	return out, nil
}

// ownApps returns the Container Apps that this target made and that are not being deleted.
func (t *target) ownApps(ctx context.Context) (all []*aca.ContainerApp, err error) {
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for pager := t.apps.NewListByResourceGroupPager(t.settings.Group, nil); pager.More(); {
		page, err := pager.NextPage(call)
		if err != nil {
			return nil, t.explain(ctx, deploy.StageTarget, err)
		}
		for _, app := range page.Value {
			if t.owns(app.Tags) && app.Properties != nil && value(app.Properties.ProvisioningState) != aca.ContainerAppProvisioningStateDeleting {
				all = append(all, app)
			}
		}
	}
	return all, nil
}

// see returns the app's instances as they were seen at most so long ago.
func (t *target) see(ctx context.Context, app *aca.ContainerApp, age time.Duration) ([]deploy.Instance, error) {
	name := value(app.Name)
	var written time.Time
	if app.SystemData != nil {
		written = value(app.SystemData.LastModifiedAt)
	}
	t.mu.Lock()
	v := t.views[name]
	t.mu.Unlock()
	if v != nil && time.Since(v.at) < age && v.written.Equal(written) && !moving(app) {
		return v.instances, nil
	}
	v = &view{at: time.Now(), written: written}
	all, err := t.revisionsOf(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, rev := range all {
		if !active(rev) || releaseOf(rev) == "" {
			continue
		}
		found, err := t.instancesOf(ctx, name, rev)
		if err != nil {
			return nil, err
		}
		v.instances = append(v.instances, found...)
	}
	t.mu.Lock()
	t.views[name] = v
	t.mu.Unlock()
	return v.instances, nil
}

// forget lets the app be seen anew, for it was written.
func (t *target) forget(app string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.views, app)
}

// instancesOf returns the revision's replicas, or the revision itself where it has none.
func (t *target) instancesOf(ctx context.Context, app string, rev *aca.Revision) ([]deploy.Instance, error) {
	all, err := t.replicasOf(ctx, app, *rev.Name)
	if err != nil && !missing(err) {
		return nil, err
	}
	var out []deploy.Instance
	for n, replica := range all {
		out = append(out, instance(app, rev, replica, releaseOf(rev), n+1))
	}
	if len(out) > 0 {
		return out, nil
	}
	i := deploy.Instance{ID: app + "/" + *rev.Name, Release: releaseOf(rev), Replica: 1, Name: *rev.Name, State: models.InstanceStarting, Message: "Azure has not made a replica yet."}
	if value(rev.Properties.ProvisioningState) == aca.RevisionProvisioningStateFailed || value(rev.Properties.RunningState) == aca.RevisionRunningStateFailed || value(rev.Properties.RunningState) == "ActivationFailed" {
		i.State, i.Message = models.InstanceFailing, "Azure gave the revision up: "+azurelogin.Sentence(or(deploy.Plain(value(rev.Properties.ProvisioningError)), string(value(rev.Properties.RunningState))))
	}
	return []deploy.Instance{i}, nil
}

// inOrder puts the replicas in the order in which they were made.
func inOrder(all []*aca.Replica) {
	slices.SortFunc(all, func(a, b *aca.Replica) int {
		return cmp.Or(created(a).Compare(created(b)), cmp.Compare(value(a.Name), value(b.Name)))
	})
}

func created(r *aca.Replica) time.Time {
	if r.Properties == nil {
		return time.Time{}
	}
	return value(r.Properties.CreatedTime)
}

// instance reads a replica as the so-manieth of its release. All of a release
// answer at the address of its revision.
func instance(app string, rev *aca.Revision, replica *aca.Replica, release string, n int) deploy.Instance {
	name := value(replica.Name)
	i := deploy.Instance{ID: app + "/" + value(rev.Name) + "/" + name, Release: release, Replica: n, Name: name, Address: addressOf(value(rev.Properties.Fqdn)), State: models.InstanceStarting}
	if at := created(replica); !at.IsZero() {
		at = at.UTC().Truncate(time.Microsecond)
		i.StartedAt = &at
	}
	if replica.Properties == nil {
		return i
	}
	for _, c := range replica.Properties.Containers {
		if value(c.Name) != containerName {
			continue
		}
		i.Restarts = int(value(c.RestartCount))
		i.State, i.Message = stateOf(c)
		if m := codeWords.FindStringSubmatch(value(c.RunningStateDetails)); m != nil && i.State == models.InstanceFailing {
			if code, known, _, _ := exit("was terminated with exit code '" + m[1] + "'"); known {
				i.ExitCode = &code
			}
		}
	}
	return i
}

// addressOf is the address of a host at which Azure's ingress takes HTTPS.
func addressOf(host string) string {
	if host == "" || strings.Contains(host, ":") {
		return host
	}
	return net.JoinHostPort(host, "443")
}

// stateOf says how a container is.
func stateOf(c *aca.ReplicaContainer) (models.InstanceState, string) {
	details := deploy.Plain(value(c.RunningStateDetails))
	switch running := value(c.RunningState); {
	case running == aca.ContainerAppContainerRunningStateTerminated, strings.Contains(details, "CrashLoopBackOff"):
		if m := codeWords.FindStringSubmatch(details); m != nil {
			return models.InstanceFailing, fmt.Sprintf("It ended with exit code %s and is started again.", m[1])
		}
		return models.InstanceFailing, "It ended and is started again."
	case running == aca.ContainerAppContainerRunningStateWaiting && details != "" && !strings.Contains(details, "ContainerCreating") && !strings.Contains(details, "PodInitializing"):
		return models.InstanceFailing, "It does not start: " + azurelogin.Sentence(details)
	case value(c.Ready):
		return models.InstanceHealthy, ""
	case value(c.Started):
		return models.InstanceFailing, "Its health check fails, so that no visitors come to it."
	}
	return models.InstanceStarting, ""
}

// appOf finds the Container App that has the release's revision; empty: none has.
func (t *target) appOf(ctx context.Context, release string) (string, error) {
	for _, name := range t.seen(release) {
		if rev, err := t.revision(ctx, name, release); err == nil && releaseOf(rev) == release {
			return name, nil
		}
	}
	all, err := t.ownApps(ctx)
	if err != nil {
		return "", err
	}
	for _, app := range all {
		rev, err := t.revision(ctx, *app.Name, release)
		if err == nil && releaseOf(rev) == release {
			return *app.Name, nil
		}
		if err != nil && !missing(err) {
			return "", t.explain(ctx, deploy.StageTarget, err)
		}
	}
	return "", nil
}

// seen are the Container Apps in which the release was seen.
func (t *target) seen(release string) (names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, v := range t.views {
		if slices.ContainsFunc(v.instances, func(i deploy.Instance) bool { return i.Release == release }) {
			names = append(names, name)
		}
	}
	return names
}
