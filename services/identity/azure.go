package identity

import (
	"regexp"
	"strings"

	"slipway.dev/models"
)

// azureAudience is the audience that Entra ID asks of tokens in place of a secret
// (https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations).
const azureAudience = "api://AzureADTokenExchange"

var azure = cloud{
	name: "azure", title: "Azure", inputs: azureInputs, write: azureParts, check: checkAzure,
	audience: func(values) string { return azureAudience },
}

var (
	guidForm    = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	domainForm  = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]{2,}$`)
	groupForm   = regexp.MustCompile(`^[\w(][-\w.()]{0,88}[-\w()]$|^[\w(]$`)
	displayForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,119}$`)
)

// azureRoles are what a target needs in its resource group
// (https://learn.microsoft.com/azure/role-based-access-control/built-in-roles).
var azureRoles = []string{"Container Apps Contributor", "Container Apps Jobs Contributor", "Log Analytics Reader"}

func azureInputs(t *models.Target) []Input {
	return []Input{
		{Name: "tenant_id", Label: "Tenant", Help: "Its id or domain.", Example: "f3d1c9b7-1111-2222-3333-444455556666", Required: true, Value: t.Settings["tenant_id"], form: either(guidForm, domainForm), wrong: "Say a tenant's id or domain."},
		{Name: "subscription_id", Label: "Subscription", Help: "Its id.", Example: "6a1f0c52-1111-2222-3333-444455556666", Required: true, Value: t.Settings["subscription_id"], form: guidForm, wrong: "Say a subscription's id, such as 6a1f0c52-1111-2222-3333-444455556666."},
		{Name: "resource_group", Label: "Resource group", Help: "In which Slipway makes Container Apps.", Example: "apps", Required: true, Value: t.Settings["resource_group"], form: groupForm, wrong: "Say the name of a resource group."},
		{Name: "application", Label: "Application", Help: "The name of the application in Entra ID. The commands make it.", Required: true, Value: short("slipway-"+t.Name, 120), form: displayForm, wrong: "Use at most 120 letters, digits, spaces and ._-; begin with a letter or digit."},
	}
}

func either(a, b *regexp.Regexp) *regexp.Regexp {
	return regexp.MustCompile("(?:" + a.String() + ")|(?:" + b.String() + ")")
}

// scope is the resource group, as roles are given for it.
func (b brief) scope() string {
	return "/subscriptions/" + b.values["subscription_id"] + "/resourceGroups/" + b.values["resource_group"]
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
	grants := []string{}
	for _, role := range azureRoles {
		grants = append(grants, sh("az role assignment create").raw("--assignee-object-id", `"$principal"`).flag("--assignee-principal-type", "ServicePrincipal").
			flag("--role", role).flag("--scope", b.scope()).String())
	}
	parts := []Part{
		{Title: "Make the application", Help: "Run all of it in one shell: later commands use what earlier ones found.", Language: "sh", Text: lines(login, create, principal)},
		{Title: "Let it be this target", Help: "Tokens for this target alone are taken for the application's own.", Language: "sh", Text: lines(trust)},
		{Title: "Allow what rollouts need", Help: "In the resource group alone. The last line tells what to enter as Application (client) id.", Language: "sh", Text: lines(append(grants, `echo "$app"`)...)},
		{Title: "Terraform", Help: "All of it, in place of the commands.", Language: "hcl", Text: b.azureTerraform()},
	}
	return parts, []Setting{{"tenant_id", b.values["tenant_id"]}, {"client_id", ""}, {"subscription_id", b.values["subscription_id"]}, {"resource_group", b.values["resource_group"]}}
}

// indent moves the lines of a command that stands in another one.
func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n  ") }

func (b brief) azureTerraform() string {
	var roles []string
	for _, role := range azureRoles {
		roles = append(roles, hcl(role))
	}
	c := b.credential()
	return lines(
		block("terraform", nil, block("required_providers", nil, block("azuread =", []attribute{{"source", hcl("hashicorp/azuread")}}), block("azurerm =", []attribute{{"source", hcl("hashicorp/azurerm")}}))),
		block(`provider "azuread"`, []attribute{{"tenant_id", hcl(b.values["tenant_id"])}}),
		block(`provider "azurerm"`, []attribute{{"tenant_id", hcl(b.values["tenant_id"])}, {"subscription_id", hcl(b.values["subscription_id"])}}, "features {}"),
		block(`resource "azuread_application" "slipway"`, []attribute{{"display_name", hcl(b.values["application"])}}),
		block(`resource "azuread_service_principal" "slipway"`, []attribute{{"client_id", "azuread_application.slipway.client_id"}}),
		block(`resource "azuread_application_federated_identity_credential" "slipway"`, []attribute{
			{"application_id", "azuread_application.slipway.id"}, {"display_name", hcl(c["name"].(string))}, {"description", hcl(c["description"].(string))},
			{"issuer", hcl(b.issuer)}, {"subject", hcl(b.subject)}, {"audiences", "[" + hcl(b.audience) + "]"},
		}),
		block(`resource "azurerm_role_assignment" "slipway"`, []attribute{
			{"for_each", "toset([" + strings.Join(roles, ", ") + "])"}, {"scope", hcl(b.scope())}, {"role_definition_name", "each.value"}, {"principal_id", "azuread_service_principal.slipway.object_id"},
		}),
		block(`output "client_id"`, []attribute{{"value", "azuread_application.slipway.client_id"}}),
	)
}
