package identity

import (
	"regexp"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/deploy/awslogin"
)

var amazon = cloud{
	name: "aws", title: "AWS", releases: true, inputs: amazonInputs, write: amazonParts, check: checkAmazon, lend: lendAmazon,
	audience: func(values) string { return awslogin.Audience },
}

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	roleForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+=,.@_-]{0,63}$`)
)

func amazonInputs(t *models.Target, machines bool) []Input {
	account, role := "", short("slipway-"+t.Name, 64)
	if m := awslogin.Role.FindStringSubmatch(t.Settings["role"]); m != nil {
		account, role = m[1], m[3]
	}
	all := []Input{
		{Name: "account", Label: "Account", Help: "The number of the AWS account.", Example: "123456789012", Required: true, Value: account, form: accountForm, wrong: "An account's number has twelve digits."},
		{Name: "region", Label: "Region", Example: "eu-central-1", Required: true, Value: t.Settings["region"], form: awslogin.Region, wrong: "Say a region's code, such as eu-central-1."},
		{Name: "role", Label: "Role", Help: "The role that Slipway takes on. The commands make it.", Required: true, Value: role, form: roleForm, wrong: "A role's name has at most 64 letters, digits and +=,.@_-, and begins with a letter or digit."},
	}
	if machines {
		return all
	}
	return append(all,
		Input{Name: "execution_role", Label: "Execution role", Help: "The role with which ECS pulls images and writes logs.", Required: true, Value: roleName(t.Settings["execution_role"], "ecsTaskExecutionRole"), form: roleForm, wrong: "Say the name of a role, not its ARN."},
		Input{Name: "task_role", Label: "Task role", Help: "The role that apps have, where they have one.", Value: roleName(t.Settings["task_role"], ""), form: roleForm, wrong: "Say the name of a role, not its ARN."},
	)
}

// roleName is the name of the role of the ARN; what is no ARN is a name.
func roleName(setting, otherwise string) string {
	if m := awslogin.Role.FindStringSubmatch(setting); m != nil {
		return m[3]
	}
	if setting == "" {
		return otherwise
	}
	return setting
}

// providerName is how IAM names the issuer: its URL without the scheme.
func (b brief) providerName() string {
	_, name, _ := strings.Cut(b.issuer, "://")
	return name
}

func (b brief) arn(service, resource string) string {
	name, _ := awslogin.Partition(b.values["region"])
	region := b.values["region"]
	if service == "iam" {
		region = ""
	}
	return "arn:" + name + ":" + service + ":" + region + ":" + b.values["account"] + ":" + resource
}

// object is JSON whose keys are in the order of the alphabet.
type object map[string]any

// trustPolicy lets tokens of the target, and of its releases, take on the role
// (AWS IAM User Guide, "Create a role for OpenID Connect federation").
func (b brief) trustPolicy() object {
	return object{"Version": "2012-10-17", "Statement": []object{{
		"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
		"Principal": object{"Federated": b.arn("iam", "oidc-provider/"+b.providerName())},
		"Condition": object{
			"StringEquals": object{b.providerName() + ":aud": b.audience},
			"StringLike":   object{b.providerName() + ":sub": []string{b.subject, b.releases}},
		},
	}}}
}

func amazonParts(b brief) ([]Part, []Setting) {
	role, account := b.values["role"], b.values["account"]
	trust, policy := pretty(b.trustPolicy()), pretty(b.amazonPolicy())
	provider := sh("aws iam create-open-id-connect-provider").flag("--url", b.issuer).flag("--client-id-list", b.audience).String()
	make := sh("aws iam create-role").flag("--role-name", role).flag("--description", "Slipway, target "+b.target).flag("--assume-role-policy-document", trust).String()
	allow := sh("aws iam put-role-policy").flag("--role-name", role).flag("--policy-name", "slipway").flag("--policy-document", policy).String()
	parts := []Part{
		{Title: "Make the portal an identity provider", Help: "Once in each account, whatever targets there are.", Language: "sh", Text: lines(provider)},
		{Title: "Make the role", Help: "It can be taken on with tokens for this target alone.", Language: "sh", Text: lines(make)},
		{Title: "Allow what rollouts need", Help: "Run it again after an update of Slipway: it replaces the policy.", Language: "sh", Text: lines(allow)},
		{Title: "Terraform", Help: "All of it, in place of the commands.", Language: "hcl", Text: lines(
			terraform("aws", "hashicorp/aws"),
			block(`provider "aws"`, []attribute{{"region", hcl(b.values["region"])}, {"allowed_account_ids", "[" + hcl(account) + "]"}}),
			block(`resource "aws_iam_openid_connect_provider" "slipway"`, []attribute{{"url", hcl(b.issuer)}, {"client_id_list", "[" + hcl(b.audience) + "]"}}),
			block(`resource "aws_iam_role" "slipway"`, []attribute{{"name", hcl(role)}, {"description", hcl("Slipway, target " + b.target)}, {"assume_role_policy", heredoc(trust)}, {"depends_on", "[aws_iam_openid_connect_provider.slipway]"}}),
			block(`resource "aws_iam_role_policy" "slipway"`, []attribute{{"name", hcl("slipway")}, {"role", "aws_iam_role.slipway.id"}, {"policy", heredoc(policy)}}),
			block(`output "role"`, []attribute{{"value", "aws_iam_role.slipway.arn"}}),
		)},
	}
	return parts, []Setting{{"role", b.arn("iam", "role/"+role)}}
}

// terraform is the block that names the provider.
func terraform(name, source string) string {
	return block("terraform", nil, block("required_providers", nil, block(name+" =", []attribute{{"source", hcl(source)}})))
}
