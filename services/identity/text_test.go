package identity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
)

// hostile are texts that would do something in a shell if they were not quoted.
var hostile = []string{
	"$(touch pwned)", "`touch pwned`", "a'; touch pwned; '", `"; touch pwned; "`, "a\ntouch pwned", "*", "~", "$HOME", "a b", "-x", "a\\", "#x", "é", "${HOME}", "%{ if true }", "!!",
}

// run runs the script with stubs for the tools on the PATH, and returns what they were called with.
func run(t *testing.T, script string) [][]string {
	t.Helper()
	dir := t.TempDir()
	const end = "\x01END"
	stub := "#!/bin/sh\nprintf '%s\\0' \"${0##*/}\" \"$@\" '" + end + "' >>\"$CALLS\"\necho \"found-$2\"\n"
	for _, tool := range []string{"aws", "gcloud", "az"} {
		if err := os.WriteFile(filepath.Join(dir, tool), []byte(stub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	calls := filepath.Join(dir, "calls")
	for _, args := range [][]string{{"-n"}, nil} {
		cmd := exec.CommandContext(t.Context(), "sh", args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(script)
		cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "CALLS=" + calls, "HOME=/nowhere"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sh %v: %v\n%s\n%s", args, err, out, script)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
		t.Fatalf("something else was run:\n%s", script)
	}
	raw, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	var call []string
	for word := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\x00"), "\x00") {
		if word == end {
			out, call = append(out, call), nil
			continue
		}
		call = append(call, word)
	}
	return out
}

// value is what follows the flag.
func value(t *testing.T, call []string, flag string) string {
	t.Helper()
	i := slices.Index(call, flag)
	if i < 0 || i+1 >= len(call) {
		t.Fatalf("%v has no %s", call, flag)
	}
	return call[i+1]
}

// script is all parts of the language.
func script(parts []Part, language string) string {
	var out strings.Builder
	for _, p := range parts {
		if p.Language == language {
			out.WriteString(p.Text)
		}
	}
	return out.String()
}

// good are inputs of each cloud as an admin enters them.
var good = map[string]values{
	"aws":    {"account": "123456789012", "region": "eu-central-1", "role": "slipway-prod", "execution_role": "slipway+execution", "task_role": "apps=task,role"},
	"google": {"project": "acme-apps", "project_number": "123456789012", "pool": "slipway", "provider": "target-prod", "service_account": "slipway-prod", "run_as": "apps@acme-apps.iam.gserviceaccount.com", "image_account": "slipway-images"},
	"azure":  {"tenant_id": "acme.example", "subscription_id": "6a1f0c52-1111-2222-3333-444455556666", "resource_group": "apps.(west)", "application": "slipway-prod", "environment_group": "shared", "registry": "acmeapps", "registry_identity": "/subscriptions/6a1f0c52-1111-2222-3333-444455556666/resourceGroups/apps/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull"},
}

func briefOf(cloud cloud, v values) brief {
	b := brief{values: v, issuer: "https://portal.example.com/identity", targetID: "t-1", target: "prod", subject: "target:prod", releases: "target:prod:*", audience: cloud.audience(v)}
	if v["upload"] != "" {
		b.keys = pretty(map[string]any{"keys": []string{}})
	}
	return b
}

func TestCommandsSayWhatTheyAreMeantTo(t *testing.T) {
	t.Parallel()
	parts, settings := amazon.write(briefOf(amazon, good["aws"]))
	calls := run(t, script(parts, "sh"))
	if len(calls) != 3 || settings[0].Value != "arn:aws:iam::123456789012:role/slipway-prod" {
		t.Fatalf("%q, %v", calls, settings)
	}
	if value(t, calls[0], "--url") != "https://portal.example.com/identity" || value(t, calls[0], "--client-id-list") != "sts.amazonaws.com" {
		t.Errorf("%q", calls[0])
	}
	var trust, policy struct {
		Statement []struct {
			Effect, Sid      string
			Action, Resource any
			Principal        map[string]string
			Condition        map[string]map[string]any
		}
	}
	if err := json.Unmarshal([]byte(value(t, calls[1], "--assume-role-policy-document")), &trust); err != nil {
		t.Fatal(err)
	}
	only := trust.Statement[0]
	if len(trust.Statement) != 1 || only.Principal["Federated"] != "arn:aws:iam::123456789012:oidc-provider/portal.example.com/identity" ||
		only.Condition["StringEquals"]["portal.example.com/identity:aud"] != "sts.amazonaws.com" ||
		fmt.Sprint(only.Condition["StringLike"]["portal.example.com/identity:sub"]) != "[target:prod target:prod:*]" {
		t.Errorf("the trust is %+v", only)
	}
	if err := json.Unmarshal([]byte(value(t, calls[2], "--policy-document")), &policy); err != nil {
		t.Fatal(err)
	}
	for _, s := range policy.Statement {
		if s.Effect != "Allow" || strings.Contains(fmt.Sprint(s.Action), "*") {
			t.Errorf("%+v is more than a target needs", s)
		}
		if s.Sid == "Change" && s.Condition["StringEquals"]["aws:ResourceTag/slipway:target"] != "t-1" {
			t.Errorf("what is not the target's can be changed: %+v", s)
		}
	}
	if text := value(t, calls[2], "--policy-document"); len(text) > 10240 || !strings.Contains(text, "arn:aws:iam::123456789012:role/apps=task,role") {
		t.Errorf("an inline policy has %d bytes", len(text)) // 10,240 is what a role takes
	}
}

// TestARoleForECSMayDoAllThatItsDocumentationLists reads the policy that people copy for a key.
func TestARoleForECSMayDoAllThatItsDocumentationLists(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	_, policy, _ := strings.Cut(string(text), "```json\n")
	policy, _, _ = strings.Cut(policy, "```")
	parts, _ := amazon.write(briefOf(amazon, good["aws"]))
	granted := value(t, run(t, script(parts, "sh"))[2], "--policy-document")
	listed := regexp.MustCompile(`"[a-z0-9]+:[A-Z][A-Za-z]+"`).FindAllString(policy, -1)
	if len(listed) < 40 {
		t.Fatalf("listed are %q", listed)
	}
	for _, action := range listed {
		if !strings.Contains(granted, action) {
			t.Errorf("the role is granted no %s", action)
		}
	}
}

func TestCommandsForGoogleAndAzureSayWhatTheyAreMeantTo(t *testing.T) {
	t.Parallel()
	for _, upload := range []string{"", "true"} {
		v := maps.Clone(good["google"])
		v["upload"] = upload
		parts, _ := google.write(briefOf(google, v))
		calls := run(t, script(parts, "sh"))
		create := calls[slices.IndexFunc(calls, func(c []string) bool { return slices.Contains(c, "create-oidc") })]
		if value(t, create, "--issuer-uri") != "https://portal.example.com/identity" || value(t, create, "--attribute-condition") != `assertion.target == "prod"` ||
			value(t, create, "--allowed-audiences") != "https://iam.googleapis.com/"+providerPath(v) || slices.Contains(create, "--jwk-json-path") != (upload != "") {
			t.Errorf("%q", create)
		}
		for pair := range strings.SplitSeq(value(t, create, "--attribute-mapping"), ",") {
			if name, expression, ok := strings.Cut(pair, "="); !ok || !strings.Contains(name, ".") || expression == "" {
				t.Errorf("gcloud reads the mapping %q", pair)
			}
		}
		bind := calls[slices.IndexFunc(calls, func(c []string) bool { return slices.Contains(c, workloadUser) })]
		if value(t, bind, "--member") != "principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/slipway/attribute.target/prod" {
			t.Errorf("%q", bind)
		}
	}
	parts, _ := azure.write(briefOf(azure, good["azure"]))
	calls := run(t, script(parts, "sh"))
	var credential struct {
		Issuer, Subject string
		Audiences       []string
	}
	if err := json.Unmarshal([]byte(value(t, calls[3], "--parameters")), &credential); err != nil {
		t.Fatal(err)
	}
	if credential.Subject != "target:prod" || credential.Issuer != "https://portal.example.com/identity" || fmt.Sprint(credential.Audiences) != "[api://AzureADTokenExchange]" {
		t.Errorf("the credential is %+v", credential)
	}
	if value(t, calls[3], "--id") != "found-app" || value(t, calls[5], "--assignee-object-id") != "found-sp" || !strings.HasSuffix(value(t, calls[5], "--scope"), "/resourceGroups/apps.(west)") ||
		!strings.HasSuffix(value(t, calls[6], "--scope"), "/resourceGroups/shared") || value(t, calls[7], "--role") != "Managed Identity Operator" || !strings.HasSuffix(value(t, calls[8], "--scope"), "/registries/acmeapps") {
		t.Errorf("%q", calls[1:])
	}
	var role struct{ Actions, AssignableScopes []string }
	if err := json.Unmarshal([]byte(value(t, calls[4], "--role-definition")), &role); err != nil || len(role.AssignableScopes) != 2 || strings.Contains(fmt.Sprint(role.Actions), "*") {
		t.Errorf("the role is %+v, %v", role, err)
	}
}

// TestNothingInACommandRunsByItself makes commands of texts that no form lets through.
func TestNothingInACommandRunsByItself(t *testing.T) {
	t.Parallel()
	for _, text := range hostile {
		for name, c := range map[string]cloud{"aws": amazon, "google": google, "azure": azure} {
			v := values{}
			for field := range good[name] {
				v[field] = text
			}
			b := briefOf(c, v)
			b.target, b.issuer, b.subject = text, "https://"+text, "target:"+text
			parts, _ := c.write(b)
			found := false
			for _, call := range run(t, script(parts, "sh")) {
				found = found || slices.ContainsFunc(call, func(word string) bool { return word == text || word == "https://"+text })
			}
			if name != "azure" && !found {
				t.Errorf("%s: %q is nowhere as it was", name, text)
			}
		}
	}
}

func TestWhatIsNoNameOfACloudIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]cloud{"aws": amazon, "google": google, "azure": azure} {
		for field := range good[name] {
			for _, text := range append(hostile, strings.Repeat("a", 200), "a$b", "a;b", "a|b", "a&b", "<a>", "a\x00b", "a\"b") {
				_, _, err := fill(c.inputs(&models.Target{Name: "prod"}, false), map[string]string{field: text})
				if name == "azure" && (text == "a b" && field == "application") {
					continue
				}
				e, ok := err.(*models.Error)
				if !ok || e.Fields[field] == "" {
					t.Errorf("%s takes %q for %s: %v", name, text, field, err)
				}
			}
		}
		if _, _, err := fill(c.inputs(&models.Target{Name: "prod"}, false), good[name]); err != nil {
			t.Errorf("%s refuses what is right: %v", name, err)
		}
	}
}

func TestTheLongestNamesFit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long-", 7) + "names"
	for name, c := range map[string]cloud{"aws": amazon, "google": google, "azure": azure} {
		for _, in := range c.inputs(&models.Target{Name: long}, false) {
			if in.Value != "" && !in.form.MatchString(in.Value) {
				t.Errorf("%s proposes %q for %s", name, in.Value, in.Name)
			}
		}
	}
}

// TestTerraformIsWrittenAsTerraformWritesIt asks the real terraform, where it is, whether it reads what is printed and
// would write it in the same way. Its providers can't be had in tests, so that their schemas are not looked at.
func TestTerraformIsWrittenAsTerraformWritesIt(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("terraform")
	for name, c := range map[string]cloud{"aws": amazon, "google": google, "azure": azure} {
		tries := []values{good[name]}
		for _, text := range hostile {
			v := values{"upload": "true"}
			for field := range good[name] {
				v[field] = text
			}
			tries = append(tries, v)
		}
		var all bytes.Buffer
		for i, v := range tries {
			parts, _ := c.write(briefOf(c, v))
			text := script(parts, "hcl")
			if strings.Count(text, "{") != strings.Count(text, "}") && i == 0 {
				t.Errorf("%s: brackets don't match:\n%s", name, text)
			}
			if err != nil {
				continue
			}
			all.Reset()
			cmd := exec.CommandContext(t.Context(), tool, "fmt", "-check", "-diff", "-no-color", "-")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), &all, &all
			if failed := cmd.Run(); failed != nil {
				t.Errorf("%s with %v: %v\n%s\n%s", name, v, failed, all.String(), text)
			}
			if i == 2 {
				break
			}
		}
	}
	for _, text := range hostile {
		if got := hcl(text); strings.ContainsAny(got[1:len(got)-1], "\n") || strings.Contains(strings.ReplaceAll(got, "$${", ""), "${") || strings.Contains(strings.ReplaceAll(got, "%%{", ""), "%{") {
			t.Errorf("%q is written %s", text, got)
		}
	}
}

// TestTheRealToolsKnowEveryFlag asks the tools themselves, where they are: gcloud by its help, aws by having it check
// the arguments of a call that it then does not make.
func TestTheRealToolsKnowEveryFlag(t *testing.T) {
	t.Parallel()
	if tool, err := exec.LookPath("gcloud"); err == nil {
		v := maps.Clone(good["google"])
		v["upload"] = "true"
		parts, _ := google.write(briefOf(google, v))
		flags := map[string][]string{}
		for _, call := range run(t, script(parts, "sh")) {
			first := slices.IndexFunc(call, func(w string) bool { return strings.HasPrefix(w, "--") })
			name := strings.Join(call[1:first-1], " ") // the last word before the flags is what the command is about
			if call[1] == "services" {
				name = "services enable"
			}
			for _, w := range call[first:] {
				if strings.HasPrefix(w, "--") {
					flags[name] = append(flags[name], w)
				}
			}
		}
		for name, used := range flags {
			cmd := exec.CommandContext(t.Context(), tool, append(strings.Fields(name), "--help")...)
			cmd.Env = append(os.Environ(), "CLOUDSDK_CONFIG="+t.TempDir(), "CLOUDSDK_CORE_DISABLE_PROMPTS=1")
			help, err := cmd.Output()
			if err != nil {
				t.Errorf("gcloud %s: %v", name, err)
			}
			for _, flag := range used {
				if !strings.Contains(string(help), flag) {
					t.Errorf("gcloud %s has no %s", name, flag)
				}
			}
		}
	}
	if tool, err := exec.LookPath("aws"); err == nil {
		parts, _ := amazon.write(briefOf(amazon, good["aws"]))
		for _, call := range run(t, script(parts, "sh")) {
			cmd := exec.CommandContext(t.Context(), tool, append(call[1:], "--generate-cli-skeleton", "output")...)
			cmd.Env = append(os.Environ(), "AWS_DEFAULT_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_EC2_METADATA_DISABLED=true")
			out, _ := cmd.CombinedOutput()
			for _, wrong := range []string{"Unknown options", "usage:", "Missing required", "Unknown parameter", "Invalid type", "parameter RoleName", "parameter PolicyDocument", "Invalid JSON", "Invalid choice"} {
				if strings.Contains(string(out), wrong) {
					t.Errorf("aws %v: %s", call[1:3], out)
				}
			}
		}
	}
}

func TestAVirtualMachineGetsOtherRights(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("terraform")
	for name, want := range map[string]struct{ has, lacks string }{
		"aws": {"ec2:RunInstances", "ecs:"}, "google": {"roles/compute.instanceAdmin.v1", "run.admin"}, "azure": {"Virtual Machine Contributor", "Microsoft.App"},
	} {
		c, _ := cloudOf(name)
		inputs, v, wrong := fill(c.inputs(&models.Target{Name: "vm"}, true), good[name])
		if wrong != nil || len(missing(inputs)) > 0 || v["run_as"]+v["execution_role"]+v["environment_group"] != "" {
			t.Fatalf("%s asks for %v: %v", name, inputs, wrong)
		}
		b := briefOf(c, v)
		b.machines = true
		parts, _ := c.write(b)
		run(t, script(parts, "sh"))
		for _, language := range []string{"sh", "hcl"} {
			if text := script(parts, language); !strings.Contains(text, want.has) || strings.Contains(text, want.lacks) {
				t.Errorf("%s: %s", name, text)
			}
		}
		if err != nil {
			continue
		}
		cmd := exec.CommandContext(t.Context(), tool, "fmt", "-check", "-diff", "-no-color", "-")
		cmd.Stdin = strings.NewReader(script(parts, "hcl"))
		if out, failed := cmd.CombinedOutput(); failed != nil {
			t.Errorf("%s: %v\n%s", name, failed, out)
		}
	}
}
