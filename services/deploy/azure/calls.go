package azure

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// busyTime is how long another write of the same thing is waited for.
const busyTime = 5 * time.Minute

// again makes a call until nothing else is being done to the same thing.
func (t *target) again(ctx context.Context, stage string, call func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	for {
		err := call(bounded)
		if err == nil {
			return nil
		}
		if !busy(err) || t.pause(bounded) != nil {
			return t.explain(ctx, stage, err)
		}
	}
}

// away is again for calls that take something away: what is gone already is no error.
func (t *target) away(ctx context.Context, call func(context.Context) error) error {
	return t.again(ctx, deploy.StageTarget, func(ctx context.Context) error {
		if err := call(ctx); err != nil && !missing(err) {
			return err
		}
		return nil
	})
}

// ended waits for the end of a call that goes on at Azure
// (https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations).
func ended[T any](ctx context.Context, t *target, poller *runtime.Poller[T]) error {
	for !poller.Done() {
		if err := t.pause(ctx); err != nil {
			return err
		}
		if _, err := poller.Poll(ctx); err != nil {
			return err
		}
	}
	_, err := poller.Result(ctx)
	return err
}

// patch changes the given parts of the Container App's configuration, by a JSON
// merge patch (RFC 7386): lists are replaced, and all that is not given stays.
func (t *target) patch(ctx context.Context, stage, app string, config *aca.Configuration) error {
	defer t.forget(app)
	return t.again(ctx, stage, func(ctx context.Context) error {
		poller, err := t.apps.BeginUpdate(ctx, t.settings.Group, app, aca.ContainerApp{Properties: &aca.ContainerAppProperties{Configuration: config}}, nil)
		if err != nil {
			return err
		}
		return ended(ctx, t, poller)
	})
}

// revisionsOf returns all revisions of the Container App.
func (t *target) revisionsOf(ctx context.Context, app string) (all []*aca.Revision, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for pager := t.revisions.NewListRevisionsPager(t.settings.Group, app, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Value...)
	}
	return all, nil
}

// replicasOf returns what runs of a revision.
func (t *target) replicasOf(ctx context.Context, app, revision string) ([]*aca.Replica, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	found, err := t.replicas.ListReplicas(ctx, t.settings.Group, app, revision, nil)
	if err != nil {
		return nil, err
	}
	inOrder(found.Value)
	return found.Value, nil
}

// environment returns the Container Apps environment, which does not move.
func (t *target) environment(ctx context.Context) (*aca.ManagedEnvironment, error) {
	t.mu.Lock()
	home := t.home
	t.mu.Unlock()
	if home != nil {
		return home, nil
	}
	return t.lookAround(ctx)
}

// lookAround reads the environment anew.
func (t *target) lookAround(ctx context.Context) (*aca.ManagedEnvironment, error) {
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	found, err := t.environments.Get(call, t.settings.environmentGroup, t.settings.environment, nil)
	if missing(err) {
		if code := azurelogin.Code(err); code == "ResourceGroupNotFound" || code == "SubscriptionNotFound" {
			return nil, t.explain(ctx, deploy.StageTarget, err)
		}
		return nil, deploy.Failf(deploy.StageTarget, err, "There is no Container Apps environment %s in the resource group %s. Make it (az containerapp env create), or correct the target's settings.", t.settings.environment, t.settings.environmentGroup)
	}
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err)
	}
	if found.Properties == nil {
		found.Properties = &aca.ManagedEnvironmentProperties{}
	}
	t.mu.Lock()
	t.home = &found.ManagedEnvironment
	t.mu.Unlock()
	return &found.ManagedEnvironment, nil
}

// ask makes a call that the SDK's package does not have, and reads its answer into out.
func (t *target) ask(ctx context.Context, method, path, version string, out any) error {
	return t.askFor(ctx, method, path, version, url.Values{}, out)
}

// askFor is ask with parameters.
func (t *target) askFor(ctx context.Context, method, path, version string, q url.Values, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	req, err := runtime.NewRequest(ctx, method, runtime.JoinPaths(t.arm.Endpoint(), path))
	if err != nil {
		return err
	}
	q.Set("api-version", version)
	req.Raw().URL.RawQuery = q.Encode()
	req.Raw().Header.Set("Accept", "application/json")
	res, err := t.arm.Pipeline().Do(req)
	if err != nil {
		return err
	}
	if !runtime.HasStatusCode(res, http.StatusOK) {
		return runtime.NewResponseError(res)
	}
	return runtime.UnmarshalAsJSON(res, out)
}

// missing tells whether Azure knows no such thing.
func missing(err error) bool { return azurelogin.Status(err) == http.StatusNotFound }

// busy tells whether Azure still does something else to the same thing.
func busy(err error) bool {
	code := azurelogin.Code(err)
	return azurelogin.Status(err) == http.StatusConflict && (code == "ContainerAppOperationInProgress" || code == "OperationNotAllowed" || code == "AnotherOperationInProgress" || code == "JobOperationInProgress")
}

// streamError is what Azure answers in place of a log, in the form of its other errors.
func streamError(res *http.Response) error {
	return &azcore.ResponseError{StatusCode: res.StatusCode, ErrorCode: http.StatusText(res.StatusCode)}
}
