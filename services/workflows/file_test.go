package workflows_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"go.yaml.in/yaml/v3"
	"slipway.dev/models"
	"slipway.dev/services/registry"
	"slipway.dev/services/workflows"
)

const portal = "https://portal.example.test"

func newApp() *models.App {
	return &models.App{
		ID: "0190aaaa-0000-7000-8000-000000000001", Name: "checkout", Dockerfile: "Dockerfile", Context: ".", BuildTimeout: 1800,
		Team: &models.Team{Slug: "payments"}, Repository: &models.Repository{DefaultBranch: "main", CloneURL: "https://github.com/acme/shop.git"},
	}
}

// settings are what the destinations' logins ask for.
var settings = map[models.Destination]struct {
	image  string
	values map[string]string
}{
	models.DestinationPortal: {},
	models.DestinationGHCR:   {image: "ghcr.io/acme/shop"},
	models.DestinationECR: {"123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop",
		map[string]string{"role": "arn:aws:iam::123456789012:role/slipway", "region": "eu-central-1"}},
	models.DestinationGAR: {"europe-west3-docker.pkg.dev/acme/apps/shop",
		map[string]string{"provider": "projects/1/locations/global/workloadIdentityPools/p/providers/github", "service_account": "b@acme.iam.gserviceaccount.com"}},
	models.DestinationACR: {"acme.azurecr.io/shop",
		map[string]string{"client_id": "11111111-1111-1111-1111-111111111111", "tenant_id": "2", "subscription_id": "3"}},
}

func workflowTo(d models.Destination) *models.Workflow {
	return &models.Workflow{Destination: d, Image: settings[d].image, Settings: settings[d].values, Cache: models.WorkflowCacheActions, OnPush: true, Repository: "acme/shop"}
}

func render(t *testing.T, w *models.Workflow, app *models.App) string {
	t.Helper()
	s := &workflows.Service{External: portal, Registry: &registry.Service{External: portal}}
	text, err := s.Render(w, app)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// lint fails where actionlint, or the rules that we hold ourselves to, find fault with the file.
func lint(t *testing.T, text string) {
	t.Helper()
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	faults, err := linter.Lint(".github/workflows/slipway.yml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Errorf("%s: %s", f, strings.Split(text, "\n")[f.Line-1])
	}
	for i, script := range scripts(t, text) {
		if strings.Contains(script, "${{") {
			t.Errorf("the script %d has an expression in it, which could bring in code:\n%s", i, script)
		}
	}
}

type step struct {
	Name string
	Uses string
	Run  string
	With map[string]any
	Env  map[string]string
}

type parsed struct {
	Name        string
	On          map[string]any
	Permissions map[string]string
	Jobs        map[string]struct {
		Env         map[string]string
		Environment string
		Steps       []step
	}
}

func parse(t *testing.T, text string) parsed {
	t.Helper()
	var p parsed
	if err := yaml.Unmarshal([]byte(text), &p); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return p
}

func scripts(t *testing.T, text string) (all []string) {
	for _, s := range parse(t, text).Jobs["image"].Steps {
		all = append(all, s.Run)
	}
	return all
}

func TestEveryWorkflowFilePassesActionlint(t *testing.T) {
	t.Parallel()
	for d := range settings {
		for _, cache := range []models.WorkflowCache{models.WorkflowCacheActions, models.WorkflowCacheRegistry, models.WorkflowCacheNone} {
			for _, environment := range []string{"", "production"} {
				for _, push := range []bool{true, false} {
					for _, refs := range [][]string{nil, {"main", "release/**", "refs/tags/v*"}, {"refs/tags/v*"}} {
						t.Run(fmt.Sprint(d, cache, environment, push, len(refs)), func(t *testing.T) {
							t.Parallel()
							w := workflowTo(d)
							w.Cache, w.Environment, w.OnPush, w.Refs = cache, environment, push, refs
							lint(t, render(t, w, newApp()))
						})
					}
				}
			}
		}
	}
}

func TestTheAppsBuildSettingsReachTheWorkflowFileAsText(t *testing.T) {
	t.Parallel()
	for d := range settings {
		for _, value := range append(hostile, "") {
			t.Run(fmt.Sprint(d, value), func(t *testing.T) {
				t.Parallel()
				app := newApp()
				app.BuildSettings = models.BuildSettings{Target: "prod", Platforms: []string{"linux/amd64", "linux/arm64"}, SBOM: true,
					Arguments: []models.BuildArgument{{Name: "VERSION", Value: value}, {Name: "OTHER", Value: "1"}}}
				text := render(t, workflowTo(d), app)
				lint(t, text)
				job, builds, emulates := parse(t, text).Jobs["image"], 0, false
				if got := literal(job.Env["BUILD_ARGUMENTS"]); got != "VERSION="+value+"\nOTHER=1" || job.Env["BUILD_TARGET"] != "prod" || job.Env["BUILD_PLATFORMS"] != "linux/amd64,linux/arm64" {
					t.Errorf("the environment is %q", job.Env)
				}
				for _, s := range job.Steps {
					emulates = emulates || strings.HasPrefix(s.Uses, "docker/setup-qemu-action@")
					if strings.HasPrefix(s.Uses, "docker/build-push-action@") {
						builds++
						if s.With["build-args"] != "${{ env.BUILD_ARGUMENTS }}" || s.With["target"] != "${{ env.BUILD_TARGET }}" || s.With["platforms"] != "${{ env.BUILD_PLATFORMS }}" {
							t.Errorf("%s is given %v", s.Name, s.With)
						}
					}
				}
				if builds != 2 || !emulates {
					t.Errorf("%d steps build, emulation is set up: %v", builds, emulates)
				}
			})
		}
	}
}

func TestAWorkflowAsksForNoMoreRightsThanItNeeds(t *testing.T) {
	t.Parallel()
	for d := range settings {
		got := parse(t, render(t, workflowTo(d), newApp())).Permissions
		want := map[string]string{"contents": "read", "id-token": "write"}
		if d == models.DestinationGHCR {
			want["packages"] = "write"
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v", d, got)
		}
	}
}

func TestOnlyTheEndOfTheJobHoldsACredentialOfThePortal(t *testing.T) {
	t.Parallel()
	steps := parse(t, render(t, workflowTo(models.DestinationPortal), newApp())).Jobs["image"].Steps
	var names []string
	for _, s := range steps {
		names = append(names, s.Name)
	}
	want := "[Check out the commit Name the image Set up BuildKit Build the image Prove to Slipway which run this is Log in to Slipway's registry Push the image Tell Slipway the digest]"
	if fmt.Sprint(names) != want {
		t.Errorf("the steps are %v", names)
	}
}

// hostile are texts that would do harm where they were pasted instead of quoted.
var hostile = []string{
	"$(touch /tmp/pwned)", "`id`", "a'; id; '", `a"; id; "`, "${{ github.token }}", "x ${{ '}}' }} y", "a: b # c", "- x", "{a}", "[b]", "*", "&a", "!!x", "%d", "@x",
	"päth/ü", "trailing ", "a\\b", "${GITHUB_TOKEN}", "{{defaultContext}}", "'${{ toJSON(secrets) }}'", "true", "1e3", "~", "a,b",
}

func TestHostileNamesStayTextInAWorkflowFile(t *testing.T) {
	t.Parallel()
	for _, text := range hostile {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			app := newApp()
			app.Dockerfile, app.Context = text, text
			w := workflowTo(models.DestinationECR)
			w.Settings = map[string]string{"role": text, "region": text}
			file := render(t, w, app)
			lint(t, file)
			env := parse(t, file).Jobs["image"].Env
			if got := literal(env["DOCKERFILE"]); got != text {
				t.Errorf("the Dockerfile became %q", got)
			}
			if got := literal(env["BUILD_CONTEXT"]); got != "./"+text {
				t.Errorf("the context became %q", got)
			}
		})
	}
}

// literal undoes what makes GitHub print the beginning of an expression.
func literal(text string) string { return strings.ReplaceAll(text, "${{ '${{' }}", "${{") }

func TestHostileBranchesAreQuotedOrRefused(t *testing.T) {
	t.Parallel()
	for _, branch := range []string{"main", "feature/$(id)", "a'b", "re+lease", "wow!", "x{y}", "ünï", "-dash", "#1", "a]b", "@x", "`id`"} {
		app, w := newApp(), workflowTo(models.DestinationPortal)
		app.Repository.DefaultBranch = branch
		file := render(t, w, app)
		lint(t, file)
		push, _ := parse(t, file).On["push"].(map[string]any)
		got := fmt.Sprint(push["branches"])
		if strings.NewReplacer(`\`, "").Replace(got) != "["+branch+"]" {
			t.Errorf("the branch %q became %s", branch, got)
		}
	}
	app := newApp()
	app.Repository.DefaultBranch = "x${{github.token}}"
	s := &workflows.Service{External: portal, Registry: &registry.Service{External: portal}}
	if _, err := s.Render(workflowTo(models.DestinationPortal), app); !models.IsCode(err, models.Invalid) {
		t.Errorf("a branch with an expression in its name: %v", err)
	}
}
