package views_test

import (
	"strings"
	"testing"

	"slipway.dev/views/admin"
	"slipway.dev/views/components"
)

// trust is the page about a target's trust, with all that can be on it.
func trust() admin.TrustView {
	return admin.TrustView{
		TargetID: "x", Target: "production", Cloud: "AWS", Issuer: "https://slipway.acme.example/identity", Audience: "sts.amazonaws.com",
		Subject: "target:production", Releases: "target:production:*",
		Inputs: []admin.TrustInput{
			{Name: "account", Label: "Account", Help: "The number of the AWS account.", Example: "123456789012", Required: true, Value: "123456789012"},
			{Name: "task_role", Label: "Task role", Help: "The role that apps have, where they have one."},
			{Name: "upload", Label: "Google can't reach this portal", Help: "Upload the portal's public keys instead.", Check: true},
		},
		Parts: []admin.TrustPart{
			{Title: "Make the portal an identity provider", Help: "Once in each account, whatever targets there are.", Language: "sh", Text: "aws iam create-open-id-connect-provider \\\n  --url https://slipway.acme.example/identity \\\n  --client-id-list sts.amazonaws.com\n"},
			{Title: "Terraform", Language: "hcl", Text: "provider \"aws\" {\n  region = \"eu-central-1\"\n}\n"},
		},
		Settings: []admin.TrustSetting{{Name: "role", Value: "arn:aws:iam::123456789012:role/slipway-production"}, {Name: "client_id"}},
		Notes:    []string{"AWS reads https://slipway.acme.example/identity/.well-known/openid-configuration by HTTPS from the internet, without a login and without a private network."},
		Findings: []admin.TrustFinding{
			{Title: "Address of the portal", State: "note", Text: "The name has no address from here."},
			{Title: "Role", State: "passed", Text: "AWS gives the role for tokens of the target."},
			{Title: "Role for releases", State: "failed", Text: "The subject does not match."},
		},
		Curl: components.CurlExample{URL: "https://slipway.acme.example/api/v1/targets/x/trust"}, CheckCurl: components.CurlExample{Method: "POST", URL: "https://slipway.acme.example/api/v1/targets/x/trust/check"},
	}
}

func trustSamples() []sample {
	next := trust()
	next.TargetID, next.Target, next.KindName, next.Parts, next.Settings, next.Findings, next.Releases = "", "", "aws-ecs", nil, nil, nil, ""
	return []sample{
		{"trust", admin.Trust(testPage("Trust without keys"), trust())},
		{"trust-new", admin.Trust(testPage("Trust without keys"), next)},
	}
}

func TestATrustSaysWhatIsToldToTheCloudAndWhatWasFound(t *testing.T) {
	t.Parallel()
	text := render(t, trustSamples()[0])
	for _, part := range []string{"target:production:*", "aws iam create-open-id-connect-provider", "what the commands print last", "Works", "Missing", `href="/admin/targets/x"`, `action="/admin/targets/x/trust/check#check"`, `method="get"`} {
		if !strings.Contains(text, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	text = render(t, trustSamples()[1])
	for _, part := range []string{`name="name"`, `name="kind" value="aws-ecs"`} {
		if !strings.Contains(text, part) {
			t.Errorf("the page of a target to come lacks %q", part)
		}
	}
	if strings.Contains(text, "/check") || strings.Contains(text, "target:production<") {
		t.Error("a target that is not there can be checked")
	}
}
