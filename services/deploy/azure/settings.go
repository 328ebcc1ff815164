package azure

import (
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// settings are what an admin says of the place.
type settings struct {
	subscription, tenant, client, secret string
	group                                string // resource group
	environment, environmentGroup        string // of Container Apps
	identity                             string // resource id of what pulls images
	profile                              string // workload profile
	internal                             bool   // visitors come from the environment's network only
	machine                              bool   // sign in as the machine that Slipway runs on
	cloud                                cloud.Configuration
	private                              bool // the authority is none of Microsoft's own
}

func fields() []deploy.Field {
	return []deploy.Field{
		{Name: "subscription_id", Label: "Subscription", Example: "6a1f0c52-…", Required: true, Help: "Its id."},
		{Name: "resource_group", Label: "Resource group", Example: "apps", Required: true, Help: "Where Slipway makes Container Apps and jobs."},
		{Name: "environment", Label: "Container Apps environment", Example: "apps-westeurope", Required: true,
			Help: "Its name, or its resource id where it is in another resource group. It says in which region apps run."},
		{Name: "tenant_id", Label: "Tenant", Example: "f3d1c9b7-…", Help: "Of the application that Slipway signs in as: its id or domain."},
		{Name: "client_id", Label: "Application (client) id", Example: "0b5e7a94-…",
			Help: "With a tenant and without a secret, Slipway signs in by a short-lived token of its own, which the application trusts by a federated credential: no key is stored."},
		{Name: "client_secret", Label: "Client secret", Secret: true, Help: "Only where the application can't trust Slipway's tokens. It is stored encrypted."},
		{Name: "default_credentials", Label: "Use the machine's own identity", Check: true,
			Help: "Slipway signs in as what Azure gave the machine, pod or app that it runs on (managed identity, workload identity, AZURE_… variables). With a client id and no tenant: that managed identity of the machine."},
		{Name: "registry_identity", Label: "Identity that pulls images", Example: "/subscriptions/…/resourceGroups/apps/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull",
			Help: "Resource id of a user-assigned managed identity with AcrPull on the Azure Container Registry. Empty: apps pull with the login of Slipway's registry."},
		{Name: "workload_profile", Label: "Workload profile", Example: "Consumption", Help: "Of the environment, on which apps run. Empty: the environment's default."},
		{Name: "ingress", Label: "Visitors", Example: "external", Help: "external: from everywhere that reaches the environment. internal: only from apps of the same environment."},
		{Name: "endpoint", Label: "Another address of the API", Example: "https://management.usgovcloudapi.net",
			Help: "Of Azure Resource Manager: of a sovereign cloud, or a private endpoint. Empty: https://management.azure.com."},
		{Name: "authority", Label: "Another address for signing in", Example: "https://login.microsoftonline.us",
			Help: "Of Microsoft Entra ID. Empty: the one that belongs to the API."},
		{Name: "logs_endpoint", Label: "Another address for queries of logs", Example: "https://api.loganalytics.us",
			Help: "Of Log Analytics, where it has the lines of replicas that are gone. Empty: the one that belongs to the API, where that is one of Microsoft's own."},
	}
}

var (
	guids    = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	domains  = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]{2,}$`)
	groups   = regexp.MustCompile(`^[-\w.()]{0,89}[-\w()]$`)
	objects  = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9-]{0,58}[a-zA-Z0-9]$`)
	identity = "Microsoft.ManagedIdentity/userAssignedIdentities"
)

func readSettings(c deploy.Config) (settings, error) {
	in := c.Settings
	s := settings{
		subscription: in["subscription_id"], tenant: in["tenant_id"], client: in["client_id"], secret: c.Secrets["client_secret"],
		group: in["resource_group"], environment: in["environment"], environmentGroup: in["resource_group"],
		identity: in["registry_identity"], profile: in["workload_profile"], machine: in["default_credentials"] == "true",
	}
	wrong := map[string]string{}
	if !guids.MatchString(s.subscription) {
		wrong["subscription_id"] = "This is not a subscription's id, such as 6a1f0c52-1111-2222-3333-444455556666."
	}
	if !groups.MatchString(s.group) {
		wrong["resource_group"] = "This is not the name of a resource group."
	}
	s.readEnvironment(wrong)
	if s.identity != "" {
		if id, err := arm.ParseResourceID(s.identity); err != nil || !strings.EqualFold(id.ResourceType.String(), identity) {
			wrong["registry_identity"] = "This is not the resource id of a user-assigned managed identity."
		}
	}
	if s.profile != "" && !objects.MatchString(s.profile) {
		wrong["workload_profile"] = "This is not the name of a workload profile, such as Consumption."
	}
	switch in["ingress"] {
	case "", "external":
	case "internal":
		s.internal = true
	default:
		wrong["ingress"] = "Say external or internal."
	}
	s.readSignIn(c, wrong)
	s.readCloud(in, wrong)
	return s, models.InvalidFields(wrong)
}

// readEnvironment takes a name, or a resource id of the same subscription.
func (s *settings) readEnvironment(wrong map[string]string) {
	if strings.HasPrefix(s.environment, "/") {
		id, err := arm.ParseResourceID(s.environment)
		if err != nil || !strings.EqualFold(id.ResourceType.String(), "Microsoft.App/managedEnvironments") || !strings.EqualFold(id.SubscriptionID, s.subscription) {
			wrong["environment"] = "This is not the resource id of a Container Apps environment in this subscription."
			return
		}
		s.environment, s.environmentGroup = id.Name, id.ResourceGroupName
	}
	if !objects.MatchString(s.environment) || !groups.MatchString(s.environmentGroup) {
		wrong["environment"] = "This is not the name of a Container Apps environment."
	}
}

// readSignIn looks that there is one way to sign in.
func (s *settings) readSignIn(c deploy.Config, wrong map[string]string) {
	switch {
	case s.tenant != "" && !guids.MatchString(s.tenant) && !domains.MatchString(s.tenant):
		wrong["tenant_id"] = "This is not a tenant's id or domain."
	case s.client != "" && !guids.MatchString(s.client):
		wrong["client_id"] = "This is not an application's id, such as 0b5e7a94-1111-2222-3333-444455556666."
	case s.machine && s.secret != "":
		wrong["default_credentials"] = "Enter a client secret or use the machine's own identity, not both."
	case s.machine:
	case s.tenant == "":
		wrong["tenant_id"] = "Enter the tenant of the application that Slipway signs in as, or use the machine's own identity."
	case s.client == "":
		wrong["client_id"] = "Enter the id of the application that Slipway signs in as, or use the machine's own identity."
	case s.secret == "" && c.Identity == nil:
		wrong["client_secret"] = "This portal makes no tokens that Azure could trust: its address has to be a public one with HTTPS. Enter a client secret."
	}
}

// clouds are Microsoft's own (https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud).
var clouds = map[string]cloud.Configuration{
	"management.azure.com":         cloud.AzurePublic,
	"management.usgovcloudapi.net": cloud.AzureGovernment,
	"management.chinacloudapi.cn":  cloud.AzureChina,
}

// logHosts are the addresses of Log Analytics in Microsoft's clouds, which tokens for it are for too, by those of the API
// (https://learn.microsoft.com/azure/azure-monitor/logs/api/access-api).
var logHosts = map[string]string{
	"management.azure.com":         "https://api.loganalytics.io",
	"management.usgovcloudapi.net": "https://api.loganalytics.us",
	"management.chinacloudapi.cn":  "https://api.loganalytics.azure.cn",
}

// readCloud finds the addresses of the API and of Entra ID.
func (s *settings) readCloud(in map[string]string, wrong map[string]string) {
	s.cloud = cloud.AzurePublic
	endpoint, audience := s.cloud.Services[cloud.ResourceManager].Endpoint, s.cloud.Services[cloud.ResourceManager].Audience
	if text := in["endpoint"]; text != "" {
		u, ok := address(text)
		if !ok {
			wrong["endpoint"] = "This is not an address such as https://management.azure.com."
			return
		}
		endpoint = text
		if own, ok := clouds[strings.ToLower(u.Host)]; ok {
			s.cloud, audience = own, own.Services[cloud.ResourceManager].Audience
		}
	}
	logs, known := logHosts[strings.ToLower(hostOf(endpoint))]
	if text := in["logs_endpoint"]; text != "" {
		if _, ok := address(text); !ok {
			wrong["logs_endpoint"] = "This is not an address such as https://api.loganalytics.io."
			return
		}
		logs, known = strings.TrimRight(text, "/"), true
	}
	authority := s.cloud.ActiveDirectoryAuthorityHost
	if text := in["authority"]; text != "" {
		if _, ok := address(text); !ok {
			wrong["authority"] = "This is not an address such as https://login.microsoftonline.com."
			return
		}
		authority = strings.TrimRight(text, "/") + "/"
		s.private = true
		for _, own := range clouds {
			s.private = s.private && own.ActiveDirectoryAuthorityHost != authority
		}
	}
	s.cloud = cloud.Configuration{
		ActiveDirectoryAuthorityHost: authority,
		Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: strings.TrimRight(endpoint, "/"), Audience: audience}},
	}
	if known {
		s.cloud.Services[logAnalytics] = cloud.ServiceConfiguration{Endpoint: logs, Audience: logs}
	}
}

// address reads an address of an API. Credentials go there, so it has to be HTTPS but on this machine.
func address(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, false
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	return u, u.Scheme == "https" || u.Scheme == "http" && local
}

// environmentID is the environment's resource id.
func (s settings) environmentID() string {
	return "/subscriptions/" + s.subscription + "/resourceGroups/" + s.environmentGroup + "/providers/Microsoft.App/managedEnvironments/" + s.environment
}

// groupID is the resource group's id.
func (s settings) groupID() string {
	return "/subscriptions/" + s.subscription + "/resourceGroups/" + s.group
}
