package azure

import (
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// settings are what an admin says of the place.
type settings struct {
	azurelogin.Login
	environment, environmentGroup string // of Container Apps
	identity                      string // resource id of what pulls images
	profile                       string // workload profile
	internal                      bool   // visitors come from the environment's network only
}

func fields() []deploy.Field {
	return slices.Concat([]deploy.Field{
		{Group: "Subscription", Name: "subscription_id", Label: "Subscription", Example: "6a1f0c52-…", Required: true, Help: "Its id."},
		{Name: "resource_group", Label: "Resource group", Example: "apps", Required: true, Help: "Where Slipway makes Container Apps and jobs."},
		{Name: "environment", Label: "Container Apps environment", Example: "apps-westeurope", Required: true,
			Help: "Its name, or its resource id where it is in another resource group. It says in which region apps run."},
	}, azurelogin.Fields(), []deploy.Field{
		{Group: "Apps", Name: "registry_identity", Label: "Identity that pulls images", Example: "/subscriptions/…/resourceGroups/apps/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull",
			Help: "Resource id of a user-assigned managed identity with AcrPull on the Azure Container Registry. Empty: apps pull with the login of Slipway's registry."},
		{Name: "workload_profile", Label: "Workload profile", Example: "Consumption", Help: "Of the environment, on which apps run. Empty: the environment's default."},
		{Group: "Visitors", Name: "ingress", Label: "Visitors", Example: "external", Help: "external: from everywhere that reaches the environment. internal: only from apps of the same environment."},
		{Group: "Other clouds of Azure", Name: "endpoint", Label: "Another address of the API", Example: "https://management.usgovcloudapi.net",
			Help: "Of Azure Resource Manager: of a sovereign cloud, or a private endpoint. Empty: https://management.azure.com."},
		{Name: "authority", Label: "Another address for signing in", Example: "https://login.microsoftonline.us",
			Help: "Of Microsoft Entra ID. Empty: the one that belongs to the API."},
		{Name: "logs_endpoint", Label: "Another address for queries of logs", Example: "https://api.loganalytics.us",
			Help: "Of Log Analytics, where it has the lines of replicas that are gone. Empty: the one that belongs to the API, where that is one of Microsoft's own."},
	})
}

var (
	objects  = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9-]{0,58}[a-zA-Z0-9]$`)
	identity = "Microsoft.ManagedIdentity/userAssignedIdentities"
)

func readSettings(c deploy.Config) (settings, error) {
	in, wrong := c.Settings, map[string]string{}
	s := settings{Login: azurelogin.Read(c, wrong), environment: in["environment"], environmentGroup: in["resource_group"], identity: in["registry_identity"], profile: in["workload_profile"]}
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
	if !s.Machine && s.Secret == "" && s.Identity == nil {
		wrong["client_secret"] = "This portal makes no tokens that Azure could trust: its address has to be a public one with HTTPS. Enter a client secret."
	}
	s.readLogs(in["logs_endpoint"], wrong)
	return s, models.InvalidFields(wrong)
}

// readEnvironment takes a name, or a resource id of the same subscription.
func (s *settings) readEnvironment(wrong map[string]string) {
	if strings.HasPrefix(s.environment, "/") {
		id, err := arm.ParseResourceID(s.environment)
		if err != nil || !strings.EqualFold(id.ResourceType.String(), "Microsoft.App/managedEnvironments") || !strings.EqualFold(id.SubscriptionID, s.Subscription) {
			wrong["environment"] = "This is not the resource id of a Container Apps environment in this subscription."
			return
		}
		s.environment, s.environmentGroup = id.Name, id.ResourceGroupName
	}
	if !objects.MatchString(s.environment) || !azurelogin.Group.MatchString(s.environmentGroup) {
		wrong["environment"] = "This is not the name of a Container Apps environment."
	}
}

// logHosts are the addresses of Log Analytics in Microsoft's clouds, which tokens for it are for too, by those of the API
// (https://learn.microsoft.com/azure/azure-monitor/logs/api/access-api).
var logHosts = map[string]string{
	"management.azure.com":         "https://api.loganalytics.io",
	"management.usgovcloudapi.net": "https://api.loganalytics.us",
	"management.chinacloudapi.cn":  "https://api.loganalytics.azure.cn",
}

// readLogs finds the address of Log Analytics.
func (s *settings) readLogs(endpoint string, wrong map[string]string) {
	at, known := logHosts[strings.ToLower(hostOf(s.Cloud.Services[cloud.ResourceManager].Endpoint))]
	if endpoint != "" {
		if _, ok := azurelogin.Address(endpoint); !ok {
			wrong["logs_endpoint"] = "This is not an address such as https://api.loganalytics.io."
			return
		}
		at, known = strings.TrimRight(endpoint, "/"), true
	}
	if known {
		s.Cloud.Services[logAnalytics] = cloud.ServiceConfiguration{Endpoint: at, Audience: at}
	}
}

// environmentID is the environment's resource id.
func (s settings) environmentID() string {
	return "/subscriptions/" + s.Subscription + "/resourceGroups/" + s.environmentGroup + "/providers/Microsoft.App/managedEnvironments/" + s.environment
}
