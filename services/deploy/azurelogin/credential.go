package azurelogin

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Connect returns what Slipway signs in with, and the options of clients of Resource Manager, which call by the client and
// make calls that fail for now again. A credential that nobody could sign in with is an error about its field.
func (l Login) Connect(client *http.Client, again policy.RetryOptions) (azcore.TokenCredential, *arm.ClientOptions, error) {
	base := azcore.ClientOptions{Cloud: l.Cloud, Transport: client, Retry: again, Telemetry: policy.TelemetryOptions{ApplicationID: "slipway"}}
	credential, err := l.credential(base)
	if err != nil {
		return nil, nil, err
	}
	base.PerRetryPolicies = []policy.Policy{Renewal(credential, l.Cloud.Services[cloud.ResourceManager].Audience+"/.default")}
	// What a subscription may use is for its owner to say: nothing is registered on the way.
	return credential, &arm.ClientOptions{ClientOptions: base, DisableRPRegistration: true}, nil
}

// credential is what Slipway signs in with: a secret, a token of its own, or
// what the machine has. A federated credential of Azure matches one subject
// exactly, so the target speaks for itself, whatever release a call is for.
func (l Login) credential(base azcore.ClientOptions) (azcore.TokenCredential, error) {
	switch {
	case l.Machine:
		return l.ofMachine(base)
	case l.Secret != "":
		found, err := azidentity.NewClientSecretCredential(l.Tenant, l.Application, l.Secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: base, DisableInstanceDiscovery: l.private})
		if err != nil {
			return nil, models.InvalidField("client_secret", "Nobody can sign in with this: %v.", err)
		}
		return found, nil
	}
	assertion := func(ctx context.Context) (string, error) { return l.Identity(ctx, Audience, deploy.Subject{}) }
	found, err := azidentity.NewClientAssertionCredential(l.Tenant, l.Application, assertion, &azidentity.ClientAssertionCredentialOptions{ClientOptions: base, DisableInstanceDiscovery: l.private})
	if err != nil {
		return nil, models.InvalidField("client_id", "Nobody can sign in with this: %v.", err)
	}
	return found, nil
}

// ofMachine is the chain of what Azure gives a machine. The SDK's own default
// chain goes on to run programs that a developer may be signed in with; this one runs none.
func (l Login) ofMachine(base azcore.ClientOptions) (azcore.TokenCredential, error) {
	var chain []azcore.TokenCredential
	if own, err := azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{ClientOptions: base, DisableInstanceDiscovery: l.private}); err == nil {
		chain = append(chain, own)
	}
	if own, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: base, ClientID: l.Application, TenantID: l.Tenant, DisableInstanceDiscovery: l.private}); err == nil {
		chain = append(chain, own)
	}
	options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: base}
	if l.Application != "" {
		options.ID = azidentity.ClientID(l.Application)
	}
	own, err := azidentity.NewManagedIdentityCredential(options)
	if err != nil {
		return nil, fmt.Errorf("azure: %w", err)
	}
	return azidentity.NewChainedTokenCredential(append(chain, own), nil)
}

// Renewal signs in again, once, where Azure takes a token of the scope for expired
// that this machine's clock does not. The SDK's own policy does so only where it is
// asked for it by a claims challenge.
func Renewal(credential azcore.TokenCredential, scope string) policy.Policy {
	return &renewal{credential: credential, scope: scope}
}

type renewal struct {
	credential azcore.TokenCredential
	scope      string

	mu    sync.Mutex
	token azcore.AccessToken // in place of the one that was refused
}

// Do sends the request, with another token where the first was refused.
func (p *renewal) Do(req *policy.Request) (*http.Response, error) {
	p.mu.Lock()
	token := p.token
	p.mu.Unlock()
	if token.Token != "" && time.Until(token.ExpiresOn) > 5*time.Minute {
		req.Raw().Header.Set("Authorization", "Bearer "+token.Token)
	}
	sent := req.Raw().Header.Get("Authorization")
	res, err := req.Next()
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		return res, err
	}
	claims := fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, time.Now().Unix()) // it keeps the client's cache out
	token, err = p.credential.GetToken(req.Raw().Context(), policy.TokenRequestOptions{Scopes: []string{p.scope}, Claims: claims})
	if err != nil {
		runtime.Drain(res)
		return nil, err
	}
	if sent == "Bearer "+token.Token || req.RewindBody() != nil {
		return res, nil // the refusal says more
	}
	runtime.Drain(res)
	p.mu.Lock()
	p.token = token
	p.mu.Unlock()
	req.Raw().Header.Set("Authorization", "Bearer "+token.Token)
	return req.Next()
}
