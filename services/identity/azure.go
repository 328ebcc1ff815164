package identity

import (
	"regexp"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/deploy/azurelogin"
)

var azure = cloud{
	name: "azure", title: "Azure", inputs: azureInputs, write: azureParts, check: checkAzure, lend: lendAzure,
	audience: func(values) string { return azurelogin.Audience },
}

var (
	groupForm    = regexp.MustCompile(`^[\w(][-\w.()]{0,88}[-\w()]$|^[\w(]$`)
	identityForm = regexp.MustCompile(`^/subscriptions/[0-9a-fA-F-]{36}/resourceGroups/[-\w.()]{1,90}/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[A-Za-z0-9][A-Za-z0-9_-]{2,127}$`)
	registryForm = regexp.MustCompile(`^[A-Za-z0-9]{5,50}$`)
	displayForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,119}$`)
)

// azureActions are what a target does in its resource group
// (https://learn.microsoft.com/azure/role-based-access-control/permissions/containers#microsoftapp).
var azureActions = []string{
	"Microsoft.App/managedEnvironments/read", "Microsoft.App/managedEnvironments/join/action", "Microsoft.App/managedEnvironments/usages/read",
	"Microsoft.App/containerApps/read", "Microsoft.App/containerApps/write", "Microsoft.App/containerApps/delete",
	"Microsoft.App/containerApps/listSecrets/action", "Microsoft.App/containerApps/getAuthToken/action",
	"Microsoft.App/containerApps/revisions/read", "Microsoft.App/containerApps/revisions/activate/action",
	"Microsoft.App/containerApps/revisions/deactivate/action", "Microsoft.App/containerApps/revisions/replicas/read",
	"Microsoft.App/jobs/read", "Microsoft.App/jobs/write", "Microsoft.App/jobs/delete",
	"Microsoft.App/jobs/start/action", "Microsoft.App/jobs/getAuthToken/action", "Microsoft.App/jobs/executions/read",
	"Microsoft.Insights/metrics/read",
	"Microsoft.OperationalInsights/workspaces/query/read", "Microsoft.OperationalInsights/workspaces/query/Tables.Custom/read",
}

// pushImages is the role that pushes to and pulls from a registry.
const pushImages = "AcrPush"

// azureMachineRoles of Azure's own are what a virtual machine takes.
var azureMachineRoles = []string{"Virtual Machine Contributor", "Network Contributor"}

// identityOperator lets apps be given a managed identity.
const identityOperator = "Managed Identity Operator"

func azureInputs(t *models.Target, machines bool) []Input {
	all := []Input{
		{Name: "tenant_id", Label: "Tenant", Help: "Its id or domain.", Example: "f3d1c9b7-1111-2222-3333-444455556666", Required: true, Value: t.Settings["tenant_id"], form: either(azurelogin.GUID, azurelogin.Domain), wrong: "Say a tenant's id or domain."},
		{Name: "subscription_id", Label: "Subscription", Help: "Its id.", Example: "6a1f0c52-1111-2222-3333-444455556666", Required: true, Value: t.Settings["subscription_id"], form: azurelogin.GUID, wrong: "Say a subscription's id, such as 6a1f0c52-1111-2222-3333-444455556666."},
		{Name: "resource_group", Label: "Resource group", Help: "In which Slipway makes Container Apps.", Example: "apps", Required: true, Value: t.Settings["resource_group"], form: groupForm, wrong: "Say the name of a resource group."},
		{Name: "application", Label: "Application", Help: "The name of the application in Entra ID. The commands make it.", Required: true, Value: short("slipway-"+t.Name, 120), form: displayForm, wrong: "Use at most 120 letters, digits, spaces and ._-; begin with a letter or digit."},
	}
	if !machines {
		all = append(all,
			Input{Name: "environment_group", Label: "Resource group of the environment", Help: "Where the Container Apps environment is in another one.", Value: groupOf(t.Settings["environment"], t.Settings["resource_group"]), form: groupForm, wrong: "Say the name of a resource group."},
			Input{Name: "registry_identity", Label: "Identity that pulls images", Help: "Resource id of a managed identity, where apps pull with one.", Value: t.Settings["registry_identity"], form: identityForm, wrong: "Say the resource id of a user-assigned managed identity."},
		)
	}
	return append(all,
		Input{Name: "registry", Label: "Container registry", Help: "Name of an Azure Container Registry in the resource group that Slipway pushes to in this target's name.", Value: "", form: registryForm, wrong: "A registry's name has 5 to 50 letters and digits."},
	)
}

func either(a, b *regexp.Regexp) *regexp.Regexp {
	return regexp.MustCompile("(?:" + a.String() + ")|(?:" + b.String() + ")")
}

// groupOf is the resource group in the resource id, where it is another one.
func groupOf(id, than string) string {
	_, rest, _ := strings.Cut(id, "/resourceGroups/")
	group, _, _ := strings.Cut(rest, "/")
	if strings.EqualFold(group, than) {
		return ""
	}
	return group
}

// scopes are the resource groups that the role is given for.
func (b brief) scopes() []string {
	group := func(name string) string {
		return "/subscriptions/" + b.values["subscription_id"] + "/resourceGroups/" + name
	}
	out := []string{group(b.values["resource_group"])}
	if other := b.values["environment_group"]; other != "" && !strings.EqualFold(other, b.values["resource_group"]) {
		out = append(out, group(other))
	}
	return out
}

// grant is a role of Azure's own on something beside the resource group.
type grant struct{ name, role, scope string }

// others are the grants for what a target has to do with beside its apps.
func (b brief) others() []grant {
	var out []grant
	if identity := b.values["registry_identity"]; identity != "" {
		out = append(out, grant{"pull", identityOperator, identity})
	}
	if name := b.values["registry"]; name != "" {
		out = append(out, grant{"push", pushImages, b.scopes()[0] + "/providers/Microsoft.ContainerRegistry/registries/" + name})
	}
	return out
}

// roleName is the name of the role with the target's actions.
func (b brief) roleName() string { return "Slipway " + b.target }

// roleNames are the roles that the target gets in its resource groups.
func (b brief) roleNames() []string {
	if b.machines {
		return azureMachineRoles
	}
	return []string{b.roleName()}
}

// role is the role that the commands make.
func (b brief) role() object {
	return object{"Name": b.roleName(), "Description": "What Slipway's target " + b.target + " does", "Actions": azureActions, "AssignableScopes": b.scopes()}
}

// credential is the federated credential: Entra ID compares the subject exactly.
func (b brief) credential() object {
	return object{"name": short("slipway-"+b.target, 120), "issuer": b.issuer, "subject": b.subject, "audiences": []string{b.audience}, "description": "Slipway, target " + b.target}
}

func azureParts(b brief) ([]Part, []Setting) {
	login := sh("az login").flag("--tenant", b.values["tenant_id"]).String()
	create := "app=$(" + indent(sh("az ad app create").flag("--display-name", b.values["application"]).flag("--query", "appId").flag("--output", "tsv").String()) + ")"
	principal := "principal=$(" + indent(sh("az ad sp create").raw("--id", `"$app"`).flag("--query", "id").flag("--output", "tsv").String()) + ")"
	trust := sh("az ad app federated-credential create").raw("--id", `"$app"`).flag("--parameters", pretty(b.credential())).String()
	var grants []string
	if !b.machines {
		grants = append(grants, sh("az role definition create").flag("--role-definition", pretty(b.role())).String())
	}
	give := func(role, scope string) {
		grants = append(grants, sh("az role assignment create").raw("--assignee-object-id", `"$principal"`).flag("--assignee-principal-type", "ServicePrincipal").
			flag("--role", role).flag("--scope", scope).String())
	}
	for _, scope := range b.scopes() {
		for _, role := range b.roleNames() {
			give(role, scope)
		}
	}
	for _, other := range b.others() {
		give(other.role, other.scope)
	}
	parts := []Part{
		{Title: "Make the application", Help: "Run all of it in one shell: later commands use what earlier ones found.", Language: "sh", Text: lines(login, create, principal)},
		{Title: "Let it be this target", Help: "Tokens for this target alone are taken for the application's own.", Language: "sh", Text: lines(trust)},
		{Title: "Allow what rollouts need", Help: "In the resource group alone. Azure takes a minute to know a new role: repeat what says that there is none. The last line tells what to enter as Application (client) id.", Language: "sh", Text: lines(append(grants, `echo "$app"`)...)},
		{Title: "Terraform", Help: "All of it, in place of the commands.", Language: "hcl", Text: b.azureTerraform()},
	}
	return parts, []Setting{{"tenant_id", b.values["tenant_id"]}, {"client_id", ""}, {"subscription_id", b.values["subscription_id"]}, {"resource_group", b.values["resource_group"]}}
}

// indent moves the lines of a command that stands in another one.
func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n  ") }

func (b brief) azureTerraform() string {
	quoted := func(all []string) string {
		out := make([]string, len(all))
		for i, one := range all {
			out[i] = hcl(one)
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	var others []string
	for _, other := range b.others() {
		others = append(others, block(`resource "azurerm_role_assignment" "slipway_`+other.name+`"`, []attribute{
			{"scope", hcl(other.scope)}, {"role_definition_name", hcl(other.role)}, {"principal_id", "azuread_service_principal.slipway.object_id"},
		}))
	}
	c := b.credential()
	all := []string{
		block("terraform", nil, block("required_providers", nil, block("azuread =", []attribute{{"source", hcl("hashicorp/azuread")}}), block("azurerm =", []attribute{{"source", hcl("hashicorp/azurerm")}}))),
		block(`provider "azuread"`, []attribute{{"tenant_id", hcl(b.values["tenant_id"])}}),
		block(`provider "azurerm"`, []attribute{{"tenant_id", hcl(b.values["tenant_id"])}, {"subscription_id", hcl(b.values["subscription_id"])}}, "features {}"),
		block(`resource "azuread_application" "slipway"`, []attribute{{"display_name", hcl(b.values["application"])}}),
		block(`resource "azuread_service_principal" "slipway"`, []attribute{{"client_id", "azuread_application.slipway.client_id"}}),
		block(`resource "azuread_application_federated_identity_credential" "slipway"`, []attribute{
			{"application_id", "azuread_application.slipway.id"}, {"display_name", hcl(c["name"].(string))}, {"description", hcl(c["description"].(string))},
			{"issuer", hcl(b.issuer)}, {"subject", hcl(b.subject)}, {"audiences", "[" + hcl(b.audience) + "]"},
		}),
		block(`output "client_id"`, []attribute{{"value", "azuread_application.slipway.client_id"}}),
	}
	return lines(append(append(all, b.roleBlocks(quoted)...), others...)...)
}

// roleBlocks give the application its roles in the resource groups.
func (b brief) roleBlocks(quoted func([]string) string) []string {
	if b.machines {
		return []string{block(`resource "azurerm_role_assignment" "slipway"`, []attribute{
			{"for_each", "toset(" + quoted(azureMachineRoles) + ")"}, {"scope", hcl(b.scopes()[0])}, {"role_definition_name", "each.value"}, {"principal_id", "azuread_service_principal.slipway.object_id"},
		})}
	}
	return []string{
		block(`resource "azurerm_role_definition" "slipway"`, []attribute{
			{"name", hcl(b.roleName())}, {"scope", hcl(b.scopes()[0])}, {"assignable_scopes", quoted(b.scopes())},
		}, block("permissions", []attribute{{"actions", quoted(azureActions)}})),
		block(`resource "azurerm_role_assignment" "slipway"`, []attribute{
			{"for_each", "toset(" + quoted(b.scopes()) + ")"}, {"scope", "each.value"}, {"role_definition_id", "azurerm_role_definition.slipway.role_definition_resource_id"}, {"principal_id", "azuread_service_principal.slipway.object_id"},
		}),
	}
}
