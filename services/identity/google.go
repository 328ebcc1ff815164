package identity

import (
	"regexp"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/deploy/googlelogin"
)

var google = cloud{
	name: "google", title: "Google Cloud", releases: true, inputs: googleInputs, write: googleParts, check: checkGoogle, lend: lendGoogle,
	audience: func(v values) string { return "https://iam.googleapis.com/" + providerPath(v) },
}

var (
	numberForm = regexp.MustCompile(`^[0-9]{6,20}$`)
	poolForm   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{3,31}$`)
	accountID  = regexp.MustCompile(`^[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
)

// googleServices are the APIs that have to be on.
var googleServices = []string{"iam", "iamcredentials", "sts", "run", "secretmanager", "logging", "monitoring", "artifactregistry", "cloudresourcemanager"}

// googleRoles are what a target needs in its project (https://cloud.google.com/run/docs/reference/iam/roles): services,
// their visitors' rights, secrets, logs, what instances take, and the images that are deployed.
var googleRoles = []string{"roles/run.admin", "roles/secretmanager.admin", "roles/logging.viewer", "roles/monitoring.viewer", imageReader}

// Those of a virtual machine.
var (
	machineServices = []string{"iam", "iamcredentials", "sts", "compute", "cloudresourcemanager"}
	machineRoles    = []string{"roles/compute.instanceAdmin.v1", "roles/compute.securityAdmin"}
)

const (
	// googleSubject is a principal's name in audit logs: the token's subject, which Google takes up to 127 bytes long.
	googleSubject = `assertion.sub.size() < 128 ? assertion.sub : "target:" + assertion.target`
	workloadUser  = "roles/iam.workloadIdentityUser"
	accountUser   = "roles/iam.serviceAccountUser"
	secretReader  = "roles/secretmanager.secretAccessor"
	imageReader   = "roles/artifactregistry.reader"
	imageWriter   = "roles/artifactregistry.writer"
	keysFile      = "slipway-keys.json"
)

func googleInputs(t *models.Target, machines bool) []Input {
	number, pool, provider := "", "slipway", "target-"+short(t.Name, 25)
	if m := googlelogin.Provider.FindStringSubmatch(t.Settings["workload_provider"]); m != nil {
		number, pool, provider = m[1], m[2], m[3]
	}
	account, _, _ := strings.Cut(t.Settings["service_account"], "@")
	if account == "" {
		account = short("slipway-"+t.Name, 30)
	}
	all := []Input{
		{Name: "project", Label: "Project", Help: "Its id.", Example: "acme-apps", Required: true, Value: t.Settings["project"], form: googlelogin.Project, wrong: "Say the project's id: 6 to 30 lower-case letters, digits and hyphens."},
		{Name: "project_number", Label: "Project number", Help: "As gcloud projects describe tells it.", Example: "123456789012", Required: true, Value: number, form: numberForm, wrong: "A project's number has digits alone."},
		{Name: "pool", Label: "Pool", Help: "Of workload identities, for the targets of this portal and nothing else.", Required: true, Value: pool, form: poolForm, wrong: "Use 4 to 32 lower-case letters, digits and hyphens."},
		{Name: "provider", Label: "Provider", Help: "In the pool, for this target.", Required: true, Value: provider, form: poolForm, wrong: "Use 4 to 32 lower-case letters, digits and hyphens."},
		{Name: "service_account", Label: "Service account", Help: "The part before the @ of the account that Slipway acts as. The commands make it.", Required: true, Value: account, form: accountID, wrong: "Use 6 to 30 lower-case letters, digits and hyphens; begin with a letter."},
	}
	if !machines {
		all = append(all, Input{Name: "run_as", Label: "Account of the apps", Help: "The service account that apps run as, which Slipway has to be allowed to give them.", Example: "apps@acme-apps.iam.gserviceaccount.com", Required: true, Value: t.Settings["run_as"], form: googlelogin.Account, wrong: "Say the e-mail address of a service account."})
	}
	return append(all,
		Input{Name: "image_account", Label: "Account for images", Help: "The part before the @ of a service account that pushes to Artifact Registry in this target's name. The commands make it.", Example: "slipway-images", form: accountID, wrong: "Use 6 to 30 lower-case letters, digits and hyphens; begin with a letter."},
		Input{Name: "upload", Label: "Google can't reach this portal", Help: "Upload the portal's public keys instead. They have to be uploaded again when keys change, every three months.", Check: true},
	)
}

func providerPath(v values) string {
	return "projects/" + v["project_number"] + "/locations/global/workloadIdentityPools/" + v["pool"] + "/providers/" + v["provider"]
}

// principals are all tokens of the target, as IAM names them.
func (b brief) principals() string {
	return "principalSet://iam.googleapis.com/projects/" + b.values["project_number"] + "/locations/global/workloadIdentityPools/" + b.values["pool"] + "/attribute.target/" + b.target
}

// accountEmail is the address of the project's service account in the input.
func (b brief) accountEmail(input string) string {
	name, domain, ok := strings.Cut(b.values["project"], ":")
	if ok { // "example.com:acme-apps", a project of a domain
		name = domain + "." + name
	}
	return b.values[input] + "@" + name + ".iam.gserviceaccount.com"
}

// mapping says what Google reads of a token (https://cloud.google.com/iam/docs/workload-identity-federation#mapping).
var mapping = []attribute{
	{"google.subject", googleSubject}, {"attribute.target", "assertion.target"},
	{"attribute.team", `has(assertion.team) ? assertion.team : "none"`},
	{"attribute.environment", `has(assertion.environment) ? assertion.environment : "none"`},
	{"attribute.app", `has(assertion.app) ? assertion.app : "none"`},
}

func (b brief) condition() string { return "assertion.target == " + `"` + b.target + `"` }

func googleParts(b brief) ([]Part, []Setting) {
	parts := []Part{{Title: "Turn the APIs on", Language: "sh", Text: lines(b.gcloud("services enable").words(b.services()...).project(b).String())}}
	if b.keys != "" {
		parts = append(parts, Part{Title: "Save the portal's public keys", Help: "They are no secrets.", Language: "sh", Text: "cat >" + keysFile + " <<'END'\n" + b.keys + "\nEND\n"})
	}
	parts = append(parts,
		Part{Title: "Make the portal an identity provider", Help: "The provider takes tokens for this target alone. The pool may be there already.", Language: "sh", Text: lines(b.makePool(), b.makeProvider())},
		Part{Title: "Make the service account", Help: "Tokens of this target may act as it, and it may do what rollouts need. The apps' account may read the secrets that Slipway makes for them.", Language: "sh", Text: lines(b.makeAccount()...)},
	)
	if b.values["image_account"] != "" {
		parts = append(parts, Part{Title: "Make the account for images", Help: "Enter it, and this target, in the settings of the registry.", Language: "sh", Text: lines(b.makeImages()...)})
	}
	if b.keys != "" {
		update := b.gcloud("iam workload-identity-pools providers update-oidc").word(b.values["provider"]).project(b).flag("--location", "global").flag("--workload-identity-pool", b.values["pool"]).flag("--jwk-json-path", keysFile)
		parts = append(parts, Part{Title: "Later: upload the keys again", Help: "With the file saved anew.", Language: "sh", Text: lines(update.String())})
	}
	parts = append(parts, Part{Title: "Terraform", Help: "All of it, in place of the commands.", Language: "hcl", Text: b.googleTerraform()})
	return parts, []Setting{{"workload_provider", providerPath(b.values)}, {"service_account", b.accountEmail("service_account")}}
}

// services are the APIs that have to be on.
func (b brief) services() []string {
	if b.machines {
		return suffixed(machineServices, ".googleapis.com")
	}
	return suffixed(googleServices, ".googleapis.com")
}

// roles are what the target needs in its project.
func (b brief) roles() []string {
	if b.machines {
		return machineRoles
	}
	return googleRoles
}

// gcloud begins a command of gcloud.
func (b brief) gcloud(words string) *command { return sh("gcloud " + words) }

func (c *command) words(all ...string) *command {
	for _, w := range all {
		c.word(w)
	}
	return c
}

func (c *command) project(b brief) *command { return c.flag("--project", b.values["project"]) }

func suffixed(all []string, suffix string) []string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = one + suffix
	}
	return out
}

func (b brief) makePool() string {
	return b.gcloud("iam workload-identity-pools create").word(b.values["pool"]).project(b).flag("--location", "global").flag("--display-name", "Slipway").String()
}

func (b brief) makeProvider() string {
	var maps []string
	for _, m := range mapping {
		maps = append(maps, m.name+"="+m.value)
	}
	c := b.gcloud("iam workload-identity-pools providers create-oidc").word(b.values["provider"]).project(b).flag("--location", "global").
		flag("--workload-identity-pool", b.values["pool"]).flag("--issuer-uri", b.issuer).flag("--allowed-audiences", b.audience).
		flag("--attribute-mapping", strings.Join(maps, ",")).flag("--attribute-condition", b.condition())
	if b.keys != "" {
		c.flag("--jwk-json-path", keysFile)
	}
	return c.String()
}

// makeActor are the commands for a service account that the target's tokens may act as, with roles in the project.
func (b brief) makeActor(input, title string, roles ...string) []string {
	email := b.accountEmail(input)
	all := []string{
		b.gcloud("iam service-accounts create").word(b.values[input]).project(b).flag("--display-name", title).String(),
		b.gcloud("iam service-accounts add-iam-policy-binding").word(email).project(b).flag("--role", workloadUser).flag("--member", b.principals()).String(),
	}
	for _, role := range roles {
		all = append(all, b.gcloud("projects add-iam-policy-binding").word(b.values["project"]).flag("--role", role).flag("--member", "serviceAccount:"+email).flag("--condition", "None").String())
	}
	return all
}

func (b brief) makeImages() []string {
	return b.makeActor("image_account", "Slipway's images, target "+b.target, imageWriter)
}

func (b brief) makeAccount() []string {
	member := "serviceAccount:" + b.accountEmail("service_account")
	all := b.makeActor("service_account", "Slipway, target "+b.target, b.roles()...)
	if b.machines {
		return all
	}
	return append(all,
		b.gcloud("iam service-accounts add-iam-policy-binding").word(b.values["run_as"]).project(b).flag("--role", accountUser).flag("--member", member).String(),
		b.gcloud("projects add-iam-policy-binding").word(b.values["project"]).flag("--role", secretReader).flag("--member", "serviceAccount:"+b.values["run_as"]).
			flag("--condition", "title=slipway,expression="+b.ownSecrets()).String())
}

// ownSecrets is the condition that a secret has a name of Slipway's.
func (b brief) ownSecrets() string {
	return `resource.name.startsWith("projects/` + b.values["project_number"] + `/secrets/slipway-")`
}

func (b brief) googleTerraform() string {
	var maps []attribute
	for _, m := range mapping {
		maps = append(maps, attribute{hcl(m.name), hcl(m.value)})
	}
	var roles []string
	for _, role := range b.roles() {
		roles = append(roles, hcl(role))
	}
	oidc := []attribute{{"issuer_uri", hcl(b.issuer)}, {"allowed_audiences", "[" + hcl(b.audience) + "]"}}
	if b.keys != "" {
		oidc = append(oidc, attribute{"jwks_json", heredoc(b.keys)})
	}
	var services []string
	for _, name := range b.services() {
		services = append(services, hcl(name))
	}
	all := []string{
		terraform("google", "hashicorp/google"),
		block(`provider "google"`, []attribute{{"project", hcl(b.values["project"])}}),
		block(`resource "google_project_service" "slipway"`, []attribute{{"for_each", "toset([" + strings.Join(services, ", ") + "])"}, {"service", "each.value"}, {"disable_on_destroy", "false"}}),
		block(`resource "google_iam_workload_identity_pool" "slipway"`, []attribute{{"workload_identity_pool_id", hcl(b.values["pool"])}, {"display_name", hcl("Slipway")}}),
		block(`resource "google_iam_workload_identity_pool_provider" "slipway"`, []attribute{
			{"workload_identity_pool_id", "google_iam_workload_identity_pool.slipway.workload_identity_pool_id"},
			{"workload_identity_pool_provider_id", hcl(b.values["provider"])}, {"attribute_condition", hcl(b.condition())},
		}, block("attribute_mapping =", maps), block("oidc", oidc)),
		block(`resource "google_service_account" "slipway"`, []attribute{{"account_id", hcl(b.values["service_account"])}, {"display_name", hcl("Slipway, target " + b.target)}}),
		block(`resource "google_service_account_iam_member" "slipway_tokens"`, []attribute{{"service_account_id", "google_service_account.slipway.name"}, {"role", hcl(workloadUser)}, {"member", hcl(b.principals())}}),
		block(`resource "google_project_iam_member" "slipway"`, []attribute{{"for_each", "toset([" + strings.Join(roles, ", ") + "])"}, {"project", hcl(b.values["project"])}, {"role", "each.value"}, {"member", "google_service_account.slipway.member"}}),
		block(`output "workload_provider"`, []attribute{{"value", "google_iam_workload_identity_pool_provider.slipway.name"}}),
		block(`output "service_account"`, []attribute{{"value", "google_service_account.slipway.email"}}),
	}
	if !b.machines {
		all = append(all,
			block(`resource "google_service_account_iam_member" "slipway_apps"`, []attribute{{"service_account_id", hcl("projects/" + b.values["project"] + "/serviceAccounts/" + b.values["run_as"])}, {"role", hcl(accountUser)}, {"member", "google_service_account.slipway.member"}}),
			block(`resource "google_project_iam_member" "slipway_secrets"`, []attribute{{"project", hcl(b.values["project"])}, {"role", hcl(secretReader)}, {"member", hcl("serviceAccount:" + b.values["run_as"])}},
				block("condition", []attribute{{"title", hcl("slipway")}, {"expression", hcl(b.ownSecrets())}})),
		)
	}
	if b.values["image_account"] != "" {
		all = append(all,
			block(`resource "google_service_account" "slipway_images"`, []attribute{{"account_id", hcl(b.values["image_account"])}, {"display_name", hcl("Slipway's images, target " + b.target)}}),
			block(`resource "google_service_account_iam_member" "slipway_images"`, []attribute{{"service_account_id", "google_service_account.slipway_images.name"}, {"role", hcl(workloadUser)}, {"member", hcl(b.principals())}}),
			block(`resource "google_project_iam_member" "slipway_images"`, []attribute{{"project", hcl(b.values["project"])}, {"role", hcl(imageWriter)}, {"member", "google_service_account.slipway_images.member"}}),
		)
	}
	return lines(all...)
}
