// Package azurelogin signs in to a subscription of Azure, with the portal's own
// tokens, an application's secret or what the machine has. All kinds of targets on
// Azure share it.
package azurelogin

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"slipway.dev/services/deploy"
)

// Audience is the audience of tokens that Entra ID takes for its own
// (https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations).
const Audience = "api://AzureADTokenExchange"

// Forms of what an admin enters.
var (
	// GUID is the id of a subscription, a tenant or an application.
	GUID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	// Domain is a tenant's domain.
	Domain = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]{2,}$`)
	// Group is the name of a resource group.
	Group = regexp.MustCompile(`^[-\w.()]{0,89}[-\w()]$`)
)

// Fields are the settings by which Azure knows the portal.
func Fields() []deploy.Field {
	return []deploy.Field{
		{Group: "How Slipway signs in", Name: "tenant_id", Label: "Tenant", Example: "f3d1c9b7-…", Help: "Of the application that Slipway signs in as: its id or domain."},
		{Name: "client_id", Label: "Application (client) id", Example: "0b5e7a94-…",
			Help: "With a tenant and without a secret, Slipway signs in by a short-lived token of its own, which the application trusts by a federated credential: no key is stored."},
		{Name: "client_secret", Label: "Client secret", Secret: true, Help: "Only where the application can't trust Slipway's tokens. It is stored encrypted."},
		{Name: "default_credentials", Label: "Use the machine's own identity", Check: true,
			Help: "Slipway signs in as what Azure gave the machine, pod or app that it runs on (managed identity, workload identity, AZURE_… variables). With a client id and no tenant: that managed identity of the machine."},
	}
}

// Login is how Slipway signs in to a subscription.
type Login struct {
	Subscription, Group         string // ids; the group is a resource group's name
	Tenant, Application, Secret string // without a secret a token of the portal signs in
	Machine                     bool   // as what the machine has
	Identity                    deploy.Identity
	Cloud                       cloud.Configuration
	private                     bool // the authority is none of Microsoft's own
}

// Read returns the login of a target's settings. Wrong gets a word for each field that is not as it should be.
func Read(c deploy.Config, wrong map[string]string) Login {
	in := c.Settings
	l := Login{
		Subscription: in["subscription_id"], Group: in["resource_group"], Tenant: in["tenant_id"], Application: in["client_id"], Secret: c.Secrets["client_secret"],
		Machine: in["default_credentials"] == "true", Identity: c.Identity,
	}
	if !GUID.MatchString(l.Subscription) {
		wrong["subscription_id"] = "This is not a subscription's id, such as 6a1f0c52-1111-2222-3333-444455556666."
	}
	if !Group.MatchString(l.Group) {
		wrong["resource_group"] = "This is not the name of a resource group."
	}
	switch {
	case l.Tenant != "" && !GUID.MatchString(l.Tenant) && !Domain.MatchString(l.Tenant):
		wrong["tenant_id"] = "This is not a tenant's id or domain."
	case l.Application != "" && !GUID.MatchString(l.Application):
		wrong["client_id"] = "This is not an application's id, such as 0b5e7a94-1111-2222-3333-444455556666."
	case l.Machine && l.Secret != "":
		wrong["default_credentials"] = "Enter a client secret or use the machine's own identity, not both."
	case l.Machine:
	case l.Tenant == "":
		wrong["tenant_id"] = "Enter the tenant of the application that Slipway signs in as, or use the machine's own identity."
	case l.Application == "":
		wrong["client_id"] = "Enter the id of the application that Slipway signs in as, or use the machine's own identity."
	}
	l.readCloud(in["endpoint"], in["authority"], wrong)
	return l
}

// clouds are Microsoft's own (https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud).
var clouds = map[string]cloud.Configuration{
	"management.azure.com":         cloud.AzurePublic,
	"management.usgovcloudapi.net": cloud.AzureGovernment,
	"management.chinacloudapi.cn":  cloud.AzureChina,
}

// readCloud finds the addresses of the API and of Entra ID.
func (l *Login) readCloud(endpoint, authority string, wrong map[string]string) {
	own := cloud.AzurePublic
	u, ok := Address(endpoint)
	if endpoint != "" && !ok {
		wrong["endpoint"] = "This is not an address such as https://management.azure.com."
	} else if known, ok := clouds[strings.ToLower(u.Host)]; ok {
		own = known
	}
	manager, host := own.Services[cloud.ResourceManager], own.ActiveDirectoryAuthorityHost
	if endpoint != "" {
		manager.Endpoint = strings.TrimRight(endpoint, "/")
	}
	if authority != "" {
		if _, ok := Address(authority); !ok {
			wrong["authority"] = "This is not an address such as https://login.microsoftonline.com."
		}
		host, l.private = strings.TrimRight(authority, "/")+"/", true
		for _, one := range clouds {
			l.private = l.private && one.ActiveDirectoryAuthorityHost != host
		}
	}
	l.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: host, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: manager}}
}

// Address reads an address of an API of Azure's, to which credentials may be sent.
func Address(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	return u, err == nil && deploy.Endpoint(text).Valid() && strings.Trim(u.Path, "/") == ""
}

// GroupID is the resource group's id.
func (l Login) GroupID() string {
	return "/subscriptions/" + l.Subscription + "/resourceGroups/" + l.Group
}
