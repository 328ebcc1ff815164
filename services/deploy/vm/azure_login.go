package vm

import (
	"context"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"slipway.dev/services/deploy"
)

// azureAudience is the audience of tokens that Entra ID takes for its own
// (https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations).
const azureAudience = "api://AzureADTokenExchange"

// azureFields are the settings by which Azure knows the portal.
func azureFields() []deploy.Field {
	return []deploy.Field{
		{Name: "subscription_id", Label: "Subscription", Example: "6a1f0c52-1111-2222-3333-444455556666", Required: true, Help: "Its id."},
		{Name: "resource_group", Label: "Resource group", Example: "apps", Required: true, Help: "In which Slipway makes the machine."},
		{Name: "location", Label: "Location", Example: "westeurope", Help: "Empty: that of the resource group."},
		{Name: "tenant_id", Label: "Tenant", Example: "f3d1c9b7-1111-2222-3333-444455556666", Help: "Of the application that Slipway signs in as: its id or domain."},
		{Name: "client_id", Label: "Application (client) id", Example: "0b5e7a94-1111-2222-3333-444455556666",
			Help: "With a tenant and without a secret, Slipway signs in by a short-lived token of its own, which the application trusts by a federated credential: no key is stored."},
		{Name: "client_secret", Label: "Client secret", Secret: true, Help: "Only where the application can't trust Slipway's tokens."},
		{Name: "default_credentials", Label: "Use the machine's own identity", Check: true,
			Help: "Slipway signs in as the managed identity of what it runs on. With a client id: the one of that id."},
	}
}

var (
	guids         = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	tenants       = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]{2,}$`)
	resourceGroup = regexp.MustCompile(`^[-\w.()]{0,89}[-\w()]$`)
	locations     = regexp.MustCompile(`^[a-z0-9]{3,40}$`)
)

// azureSignIn is how Slipway signs in.
type azureSignIn struct {
	tenant, client, secret string
	own                    bool // as the machine that the portal runs on
	private                bool // the authority is none of Microsoft's own
	identity               deploy.Identity
	at                     cloud.Configuration
}

func readAzureSignIn(c deploy.Config, endpoint string, wrong map[string]string) azureSignIn {
	in := c.Settings
	s := azureSignIn{tenant: in["tenant_id"], client: in["client_id"], secret: c.Secrets["client_secret"], own: in["default_credentials"] == "true", identity: c.Identity}
	switch {
	case s.tenant != "" && !guids.MatchString(s.tenant) && !tenants.MatchString(s.tenant):
		wrong["tenant_id"] = "This is not a tenant's id or domain."
	case s.client != "" && !guids.MatchString(s.client):
		wrong["client_id"] = "This is not an application's id."
	case s.own && s.secret != "":
		wrong["default_credentials"] = "Enter a client secret or use the machine's own identity, not both."
	case s.own:
	case s.tenant == "":
		wrong["tenant_id"] = "Enter the tenant of the application that Slipway signs in as, or use the machine's own identity."
	case s.client == "":
		wrong["client_id"] = "Enter the id of the application that Slipway signs in as, or use the machine's own identity."
	}
	s.readCloud(endpoint, in["authority"], wrong)
	return s
}

// azureClouds are Microsoft's own (https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud).
var azureClouds = map[string]cloud.Configuration{
	"management.azure.com": cloud.AzurePublic, "management.usgovcloudapi.net": cloud.AzureGovernment, "management.chinacloudapi.cn": cloud.AzureChina,
}

// readCloud finds the addresses of the API and of Entra ID.
func (s *azureSignIn) readCloud(endpoint, authority string, wrong map[string]string) {
	s.at = cloud.AzurePublic
	manager := s.at.Services[cloud.ResourceManager]
	if u, err := url.Parse(endpoint); endpoint != "" && err == nil {
		if own, ok := azureClouds[strings.ToLower(u.Host)]; ok {
			s.at, manager = own, own.Services[cloud.ResourceManager]
		}
		manager.Endpoint = endpoint
	}
	host := s.at.ActiveDirectoryAuthorityHost
	if authority != "" {
		if !deploy.Endpoint(authority).Valid() {
			wrong["authority"] = "This is not an address such as https://login.microsoftonline.com."
		}
		host, s.private = strings.TrimRight(authority, "/")+"/", true
		for _, own := range azureClouds {
			s.private = s.private && own.ActiveDirectoryAuthorityHost != host
		}
	}
	s.at = cloud.Configuration{ActiveDirectoryAuthorityHost: host, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: manager}}
}

// credential signs in. A federated credential of Azure matches one subject exactly: the target as a whole.
func (s azureSignIn) credential(base azcore.ClientOptions) (azcore.TokenCredential, error) {
	switch {
	case s.own:
		options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: base}
		if s.client != "" {
			options.ID = azidentity.ClientID(s.client)
		}
		return azidentity.NewManagedIdentityCredential(options)
	case s.secret != "":
		return azidentity.NewClientSecretCredential(s.tenant, s.client, s.secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: base, DisableInstanceDiscovery: s.private})
	case s.identity == nil:
		return nil, deploy.Failf(deploy.StageTarget, nil, "The target signs in by a token of this portal, but the portal is no issuer of identity tokens. Give it an address with https, or give the target a client secret.")
	}
	assertion := func(ctx context.Context) (string, error) { return s.identity(ctx, azureAudience, deploy.Subject{}) }
	return azidentity.NewClientAssertionCredential(s.tenant, s.client, assertion, &azidentity.ClientAssertionCredentialOptions{ClientOptions: base, DisableInstanceDiscovery: s.private})
}
