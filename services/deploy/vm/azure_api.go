package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// The versions of Azure's APIs that are called.
const (
	apiCompute = "2024-07-01"
	apiNetwork = "2024-05-01"
	apiGroups  = "2021-04-01"
	apiRights  = "2022-04-01"
)

// azureAttempts bounds how often a call is made that is throttled or not answered.
const azureAttempts = 4

// azureAPI calls Azure Resource Manager through the SDK's own pipeline, which signs, repeats and follows long operations
// (https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations). The SDK's packages for compute
// and network are left out: a machine takes five resources of their hundreds.
type azureAPI struct {
	client *arm.Client
	every  time.Duration // between two looks at an operation
}

func newAzureAPI(o Options, login azurelogin.Login) (*azureAPI, error) {
	credential, options, err := login.Connect(o.Client, policy.RetryOptions{MaxRetries: azureAttempts - 1, RetryDelay: min(o.Every, time.Second), MaxRetryDelay: o.Every, TryTimeout: callTime})
	if err != nil {
		return nil, err
	}
	client, err := arm.NewClient("slipway", "v1.0.0", credential, options)
	return &azureAPI{client: client, every: o.Every}, err
}

// armCall is a request to Resource Manager.
type armCall struct {
	method, path, version string
	body                  any  // nil: none
	fresh                 bool // refuse to change what is there already
}

// call makes the request, waits until its work is done, and decodes what comes of it.
func (a *azureAPI) call(ctx context.Context, c armCall, out any) error {
	err := a.once(ctx, c, out)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case azurelogin.Status(err) >= 500 && azurelogin.Code(err) == "":
		return &silence{err}
	}
	return err
}

func (a *azureAPI) once(ctx context.Context, c armCall, out any) error {
	req, err := runtime.NewRequest(ctx, c.method, runtime.JoinPaths(a.client.Endpoint(), c.path))
	if err != nil {
		return err
	}
	query := req.Raw().URL.Query()
	query.Set("api-version", c.version)
	req.Raw().URL.RawQuery = query.Encode()
	req.Raw().Header.Set("Accept", "application/json")
	if c.fresh {
		req.Raw().Header.Set("If-None-Match", "*")
	}
	if c.body != nil {
		if err := runtime.MarshalAsJSON(req, c.body); err != nil {
			return err
		}
	}
	res, err := a.client.Pipeline().Do(req)
	if err != nil {
		return unsent(err)
	}
	if !runtime.HasStatusCode(res, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent) {
		return runtime.NewResponseError(res)
	}
	if c.method != http.MethodGet {
		return a.finish(ctx, res)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, answerMax))
	if err != nil {
		return &silence{err}
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("reading an answer of Azure's: %w", err)
	}
	return nil
}

// unsent tells a request without an answer from one that nobody could sign.
func unsent(err error) error {
	if told := azurelogin.Refused(err); told != nil {
		return told
	}
	return &silence{err}
}

// finish waits for the work that a request began.
func (a *azureAPI) finish(ctx context.Context, res *http.Response) error {
	work, err := runtime.NewPoller[json.RawMessage](res, a.client.Pipeline(), nil)
	if err != nil {
		return err
	}
	for !work.Done() {
		if _, err := work.Poll(ctx); err != nil {
			if azurelogin.Status(err) == 0 {
				return unsent(err)
			}
			return err
		}
		if work.Done() {
			break
		}
		if err := deploy.WaitFor(ctx, a.every); err != nil {
			return err
		}
	}
	_, err = work.Result(ctx)
	return err
}
