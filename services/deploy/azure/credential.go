package azure

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// exchange is the audience of tokens that Entra ID takes for its own
// (https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations).
const exchange = "api://AzureADTokenExchange"

// credential is what Slipway signs in with: a secret, a token of its own, or
// what the machine has. A federated credential of Azure matches one subject
// exactly, so the target speaks for itself, whatever release a call is for.
func (s settings) credential(c deploy.Config, base azcore.ClientOptions) (azcore.TokenCredential, error) {
	switch {
	case s.machine:
		return s.ofMachine(base)
	case s.secret != "":
		found, err := azidentity.NewClientSecretCredential(s.tenant, s.client, s.secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: base, DisableInstanceDiscovery: s.private})
		if err != nil {
			return nil, models.InvalidField("client_secret", "Nobody can sign in with this: %v.", err)
		}
		return found, nil
	}
	assertion := func(ctx context.Context) (string, error) { return c.Identity(ctx, exchange, deploy.Subject{}) }
	found, err := azidentity.NewClientAssertionCredential(s.tenant, s.client, assertion, &azidentity.ClientAssertionCredentialOptions{ClientOptions: base, DisableInstanceDiscovery: s.private})
	if err != nil {
		return nil, models.InvalidField("client_id", "Nobody can sign in with this: %v.", err)
	}
	return found, nil
}

// ofMachine is the chain of what Azure gives a machine. The SDK's own default
// chain goes on to run programs that a developer may be signed in with; this one runs none.
func (s settings) ofMachine(base azcore.ClientOptions) (azcore.TokenCredential, error) {
	var chain []azcore.TokenCredential
	if own, err := azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{ClientOptions: base, DisableInstanceDiscovery: s.private}); err == nil {
		chain = append(chain, own)
	}
	if own, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: base, ClientID: s.client, TenantID: s.tenant, DisableInstanceDiscovery: s.private}); err == nil {
		chain = append(chain, own)
	}
	options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: base}
	if s.client != "" {
		options.ID = azidentity.ClientID(s.client)
	}
	own, err := azidentity.NewManagedIdentityCredential(options)
	if err != nil {
		return nil, fmt.Errorf("azure: %w", err)
	}
	return azidentity.NewChainedTokenCredential(append(chain, own), nil)
}

// renewal signs in again, once, where Azure takes a token for expired that this
// machine's clock does not. The SDK's own policy does so only where it is asked
// for it by a claims challenge.
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
	token, failed := p.credential.GetToken(req.Raw().Context(), policy.TokenRequestOptions{Scopes: []string{p.scope}, Claims: claims})
	if failed != nil || sent == "Bearer "+token.Token || req.RewindBody() != nil {
		return res, nil // the refusal says more
	}
	runtime.Drain(res)
	p.mu.Lock()
	p.token = token
	p.mu.Unlock()
	req.Raw().Header.Set("Authorization", "Bearer "+token.Token)
	return req.Next()
}
