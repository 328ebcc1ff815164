package vm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// AzureKindName is how targets of the kind are stored.
const AzureKindName = "azure-vm"

// ubuntuOnAzure are Canonical's newest images by their URNs
// (https://learn.microsoft.com/azure/virtual-machines/linux/cli-ps-findimage).
var ubuntuOnAzure = map[string]string{"amd64": "Canonical:ubuntu-24_04-lts:server:latest", "arm64": "Canonical:ubuntu-24_04-lts:server-arm64:latest"}

// Azure is the kind of target for a virtual machine of Azure.
func Azure(o Options) deploy.Kind {
	fields := machineFields(
		deploy.Field{Name: "size", Label: "Size", Example: "Standard_B2als_v2", Help: "Empty: Standard_B2als_v2, or Standard_B2pls_v2 for arm64."},
		deploy.Field{Name: "image", Label: "Image", Example: ubuntuOnAzure["amd64"], Help: "Its URN: publisher:offer:sku:version. It has to run cloud-init, and have docker.io among its packages. Empty: the newest Ubuntu 24.04 of Canonical."},
		deploy.Field{Name: "subnet", Label: "Subnet", Example: "/subscriptions/…/virtualNetworks/apps/subnets/default", Help: "Its resource id. Empty: a network of the machine's own is made."},
		"https://management.usgovcloudapi.net",
		deploy.Field{Name: "authority", Label: "Another address for signing in", Example: "https://login.microsoftonline.us", Help: "Of Microsoft Entra ID. Empty: the one that belongs to the API."},
	)
	return deploy.Kind{
		Name:  AzureKindName,
		Title: "Virtual machine (Azure)",
		Help:  "One virtual machine of Azure that Slipway makes at the first rollout, with Docker on it. For a machine that exists, choose Docker over SSH.",
		// A host's containers are Docker's: volumes and policies of restarts with them.
		Volumes: true, Restarts: true, Splits: true,
		Federation: "azure", Machines: true,
		Fields: slices.Concat(azureFields(), azurelogin.Fields(), fields),
		Prices: azurePrices, PricesOf: "East US", Estimate: estimate,
		Prepare: prepare,
		Open:    func(c deploy.Config) (deploy.Target, error) { return openAzure(c, o.orDefaults()) },
	}
}

// azureFields say where the machine is.
func azureFields() []deploy.Field {
	return []deploy.Field{
		{Group: "Subscription", Name: "subscription_id", Label: "Subscription", Example: "6a1f0c52-1111-2222-3333-444455556666", Required: true, Help: "Its id."},
		{Name: "resource_group", Label: "Resource group", Example: "apps", Required: true, Help: "In which Slipway makes the machine."},
		{Name: "location", Label: "Location", Example: "westeurope", Help: "Empty: that of the resource group."},
	}
}

var (
	locations    = regexp.MustCompile(`^[a-z0-9]{3,40}$`)
	urns         = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}(:[A-Za-z0-9._-]{1,64}){3}$`)
	azureSubnets = regexp.MustCompile(`^/subscriptions/[0-9a-fA-F-]{36}/resourceGroups/[-\w.()]{1,90}/providers/Microsoft\.Network/virtualNetworks/[-\w.]{1,80}/subnets/[-\w.]{1,80}$`)
)

// azureVM is the machine of a target at Azure.
type azureVM struct {
	settings
	api       *azureAPI
	group     string // path of the resource group
	location  string // empty: the group's
	id        string // the target's
	publicKey string
	o         Options
}

// String is the provider's name.
func (a *azureVM) String() string { return "Azure" }

func openAzure(c deploy.Config, o Options) (deploy.Target, error) {
	wrong := map[string]string{}
	s := readSettings(c.Settings, wrong)
	login, location := azurelogin.Read(c, wrong), c.Settings["location"]
	if location != "" && !locations.MatchString(location) {
		wrong["location"] = "This is not a location, such as westeurope."
	}
	if s.subnet != "" && !azureSubnets.MatchString(s.subnet) {
		wrong["subnet"] = "This is not the resource id of a subnet."
	}
	if s.image == "" {
		s.image = ubuntuOnAzure[s.arch]
	}
	if !urns.MatchString(s.image) {
		wrong["image"] = "This is not a URN: publisher:offer:sku:version."
	}
	if s.size == "" {
		s.size = map[string]string{"amd64": "Standard_B2als_v2", "arm64": "Standard_B2pls_v2"}[s.arch]
	}
	if s.disk < 30 {
		wrong["disk"] = "Images of Azure need 30 GB at least."
	}
	if err := models.InvalidFields(wrong); err != nil {
		return nil, err
	}
	if login.Identity == nil {
		login.Identity = noIssuer("The target signs in by a token of this portal, but the portal is no issuer of identity tokens. Give it an address with https, or give the target a client secret.")
	}
	api, err := newAzureAPI(o, login)
	if err != nil {
		return nil, err
	}
	return newTarget(c, o, s, &azureVM{settings: s, api: api, group: login.GroupID(), location: location, id: c.ID, publicKey: c.Settings["public_key"], o: o}, nil)
}

// azureActions are what a rollout and the end of a target need
// (https://learn.microsoft.com/azure/role-based-access-control/permissions/compute).
var azureActions = []string{
	"Microsoft.Compute/virtualMachines/read", "Microsoft.Compute/virtualMachines/write", "Microsoft.Compute/virtualMachines/delete",
	"Microsoft.Network/networkInterfaces/read", "Microsoft.Network/networkInterfaces/write", "Microsoft.Network/networkInterfaces/delete", "Microsoft.Network/networkInterfaces/join/action",
	"Microsoft.Network/networkSecurityGroups/read", "Microsoft.Network/networkSecurityGroups/write", "Microsoft.Network/networkSecurityGroups/delete", "Microsoft.Network/networkSecurityGroups/join/action",
	"Microsoft.Network/publicIPAddresses/read", "Microsoft.Network/publicIPAddresses/write", "Microsoft.Network/publicIPAddresses/delete", "Microsoft.Network/publicIPAddresses/join/action",
	"Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/write", "Microsoft.Network/virtualNetworks/delete", "Microsoft.Network/virtualNetworks/subnets/join/action",
}

// Inspect asks Azure which actions the account may do in the resource group
// (https://learn.microsoft.com/rest/api/authorization/permissions/list-for-resource-group), and for the location's quota.
func (a *azureVM) Inspect(ctx context.Context) ([]deploy.Check, error) {
	var has struct {
		Value []struct{ Actions, NotActions []string }
	}
	if err := a.api.call(ctx, armCall{method: http.MethodGet, path: a.group + "/providers/Microsoft.Authorization/permissions", version: apiRights}, &has); err != nil {
		return refusal("Permissions", a.explain(err))
	}
	var lacks []string
	for _, action := range azureActions {
		may := false
		for _, v := range has.Value {
			may = may || matches(v.Actions, action) && !matches(v.NotActions, action)
		}
		if !may {
			lacks = append(lacks, action)
		}
	}
	if len(lacks) > 0 {
		return []deploy.Check{{Name: "Permissions", Message: fmt.Sprintf("The account may not %s in the resource group. The roles Virtual Machine Contributor and Network Contributor together may.", strings.Join(lacks, ", "))}}, nil
	}
	checks := []deploy.Check{{Name: "Permissions", OK: true, Message: "The account may do all that a machine takes."}}
	quota, err := a.quota(ctx)
	return append(checks, quota...), err
}

// matches tells whether one of the patterns, in which * is anything, is for the action.
func matches(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		found, err := regexp.MatchString("(?i)^"+strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*")+"$", action)
		return err == nil && found
	})
}

// quota looks whether the location has processors left
// (https://learn.microsoft.com/rest/api/compute/usage/list).
func (a *azureVM) quota(ctx context.Context) ([]deploy.Check, error) {
	location, err := a.where(ctx)
	if err != nil {
		return refusal("Resource group", err)
	}
	subscription, _, _ := strings.Cut(a.group, "/resourceGroups/")
	var used struct {
		Value []struct {
			Name         struct{ Value string }
			CurrentValue int
			Limit        int
		}
	}
	if err := a.api.call(ctx, armCall{method: http.MethodGet, path: subscription + "/providers/Microsoft.Compute/locations/" + location + "/usages", version: apiCompute}, &used); err != nil {
		return refusal("Quota", a.explain(err))
	}
	for _, u := range used.Value {
		if (u.Name.Value == "cores" || u.Name.Value == "virtualMachines") && u.CurrentValue >= u.Limit {
			return []deploy.Check{{Name: "Quota", Message: fmt.Sprintf("The quota %s of %s is used up: %d of %d. Have it raised under Subscription → Usage + quotas, or end machines that nobody needs.", u.Name.Value, location, u.CurrentValue, u.Limit)}}, nil
		}
	}
	return []deploy.Check{{Name: "Quota", OK: true, Message: fmt.Sprintf("The quotas of %s leave room for a machine.", location)}}, nil
}

// where is the location of what is made.
func (a *azureVM) where(ctx context.Context) (string, error) {
	if a.location != "" {
		return a.location, nil
	}
	var group struct{ Location string }
	err := a.api.call(ctx, armCall{method: http.MethodGet, path: a.group, version: apiGroups}, &group)
	return group.Location, a.explain(err)
}

// explain turns an error of a call into a *deploy.Failure that says what to do.
func (a *azureVM) explain(err error) error {
	failed, told := new(deploy.Failure), new(azcore.ResponseError)
	fail := func(format string, args ...any) error { return deploy.Failf(deploy.StageTarget, err, format, args...) }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed):
		return failed
	case unanswered(err):
		return fail("Azure Resource Manager does not answer. What was made is kept; deploy again once it does.")
	case !errors.As(err, &told):
		return err
	}
	_, text := azurelogin.Words(err)
	text = deploy.Plain(text)
	switch code := told.ErrorCode; {
	case code == "AuthorizationFailed" || code == "LinkedAuthorizationFailed":
		permission, _, named := azurelogin.Lacks(text)
		if !named {
			permission = "that this takes"
		}
		return fail("The target's account at Azure lacks the permission %s. Give it a role that has it in the resource group, and deploy again.", permission)
	case told.StatusCode == http.StatusUnauthorized:
		return fail("Azure does not accept the target's token (%s). Check the application, and the clock of this machine.", code)
	case code == "QuotaExceeded" || code == "OperationNotAllowed" && strings.Contains(told.Error(), "quota"):
		return fail("The subscription's quota does not allow another %s. Have it raised under Subscription → Usage + quotas, choose a smaller size, or end machines that nobody needs.", a.size)
	case code == "SkuNotAvailable" || strings.Contains(code, "AllocationFailed") || code == "OverconstrainedAllocationRequest":
		return fail("Azure has no %s free in the location now (%s). Try again later, or choose another size or location.", a.size, code)
	case told.StatusCode == http.StatusTooManyRequests:
		return fail("Azure takes no more requests of this account now, though Slipway waited and asked %d times. Deploy again in a few minutes.", azureAttempts)
	case groupMissing(told):
		return fail("There is no such subscription or resource group, or the account may not see it (%s). Check the target's settings.", code)
	case code == "MissingSubscriptionRegistration":
		return fail("The subscription has not registered the providers. Register them: az provider register --namespace Microsoft.Compute; az provider register --namespace Microsoft.Network")
	}
	return fail("Azure refused: %s (%s)", azurelogin.Sentence(text), told.ErrorCode)
}

// groupMissing tells whether it is the resource group or the subscription that is not there.
func groupMissing(e *azcore.ResponseError) bool {
	return e.ErrorCode == "ResourceGroupNotFound" || e.ErrorCode == "SubscriptionNotFound"
}
