package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"slipway.dev/services/deploy"
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
	options arm.ClientOptions
	every   time.Duration // between two looks at an operation
	login   func() (azcore.TokenCredential, error)

	mu     sync.Mutex
	client *arm.Client
}

func newAzureAPI(o Options, at cloud.Configuration, login func() (azcore.TokenCredential, error)) *azureAPI {
	a := &azureAPI{every: o.Every, login: login}
	a.options.ClientOptions = azcore.ClientOptions{Cloud: at, Transport: o.Client, Telemetry: policy.TelemetryOptions{ApplicationID: "slipway"},
		Retry: policy.RetryOptions{MaxRetries: azureAttempts - 1, RetryDelay: min(o.Every, time.Second), MaxRetryDelay: o.Every, TryTimeout: callTime}}
	a.options.DisableRPRegistration = true
	return a
}

// arm returns the client; one that has signed in anew where the last token was refused.
func (a *azureAPI) arm(fresh bool) (*arm.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client != nil && !fresh {
		return a.client, nil
	}
	credential, err := a.login()
	if err != nil {
		return nil, err
	}
	made, err := arm.NewClient("slipway", "v1.0.0", credential, &a.options)
	if err != nil {
		return nil, fmt.Errorf("azure: %w", err)
	}
	a.client = made
	return made, nil
}

// armCall is a request to Resource Manager.
type armCall struct {
	method, path, version string
	body                  any  // nil: none
	fresh                 bool // refuse to change what is there already
}

// call makes the request, once more where the token it had has ended, waits until its work is done, and decodes what comes of it.
func (a *azureAPI) call(ctx context.Context, c armCall, out any) error {
	err := a.once(ctx, c, out, false)
	if told := new(azcore.ResponseError); errors.As(err, &told) && told.StatusCode == http.StatusUnauthorized {
		err = a.once(ctx, c, out, true)
	}
	told := new(azcore.ResponseError)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &told) && told.StatusCode >= 500 && told.ErrorCode == "":
		return &silence{err}
	}
	return err
}

func (a *azureAPI) once(ctx context.Context, c armCall, out any, fresh bool) error {
	client, err := a.arm(fresh)
	if err != nil {
		return err
	}
	req, err := runtime.NewRequest(ctx, c.method, runtime.JoinPaths(client.Endpoint(), c.path))
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
	res, err := client.Pipeline().Do(req)
	if err != nil {
		return unsent(err)
	}
	if !runtime.HasStatusCode(res, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent) {
		return runtime.NewResponseError(res)
	}
	if c.method != http.MethodGet {
		return a.finish(ctx, client, res)
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
	var asked interface{ NonRetriable() } // as errors of credentials are
	if errors.As(err, &asked) {
		return &noLogin{err}
	}
	return &silence{err}
}

// noLogin says that there is no token.
type noLogin struct{ err error }

func (n *noLogin) Error() string { return "signing in: " + n.err.Error() }
func (n *noLogin) Unwrap() error { return n.err }

// finish waits for the work that a request began.
func (a *azureAPI) finish(ctx context.Context, client *arm.Client, res *http.Response) error {
	work, err := runtime.NewPoller[json.RawMessage](res, client.Pipeline(), nil)
	if err != nil {
		return err
	}
	for !work.Done() {
		if _, err := work.Poll(ctx); err != nil {
			told := new(azcore.ResponseError)
			if !errors.As(err, &told) {
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
