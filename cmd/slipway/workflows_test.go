package main_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.yaml.in/yaml/v3"
	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/builds/actions/actionstest"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/workload/workloadtest"
)

// runner does what a machine of GitHub does with the generated workflow: it
// runs the scripts of its steps really, and pushes an image where the file says.
type runner struct {
	t      *testing.T
	hub    *actionstest.GitHub
	issuer *workloadtest.Issuer
	path   string
}

// workflowFile is what the runner reads of a workflow.
type workflowFile struct {
	Jobs map[string]struct {
		Env   map[string]string
		Steps []struct{ Name, Run string }
	}
}

// carry runs the workflow; change makes the run's token say something else.
func (r *runner) carry(run *actionstest.Run, change map[string]any) {
	var file workflowFile
	if err := yaml.Unmarshal([]byte(r.hub.File("main", r.path)), &file); err != nil {
		r.t.Errorf("the workflow's file: %v", err)
		return
	}
	job := run.AddJob("Image", "Build the image", "Prove to Slipway which run this is", "Push the image", "Tell Slipway the digest")
	run.EndStep(job, "success", "building \x1b[32mgreen\x1b[0m")
	token, said := r.exchange(file, run, change)
	if token == "" {
		run.EndStep(job, "failure", said)
		run.End("failure")
		return
	}
	run.EndStep(job, "success", "proved")
	image := file.Jobs["image"].Env["IMAGE"]
	digest, err := push(image, token)
	if err != nil {
		run.EndStep(job, "failure", err.Error())
		run.End("failure")
		return
	}
	run.EndStep(job, "success", "pushed "+digest)
	_, said, ok := r.step(file, "Tell Slipway the digest", "TOKEN="+token, "BUILD="+run.Inputs["build"], "COMMIT="+run.Commit, "TAGS="+image+":main", "DIGEST="+digest)
	if !ok {
		run.EndStep(job, "failure", said)
		run.End("failure")
		return
	}
	run.EndStep(job, "success", "told")
	run.End("success")
}

// exchange runs the step that proves which run it is, with a token for the audience that it asks for.
func (r *runner) exchange(file workflowFile, run *actionstest.Run, change map[string]any) (token, said string) {
	claims := map[string]any{"run_id": run.ID, "event_name": run.Event, "sha": run.Commit, "ref": "refs/heads/" + run.Ref,
		"job_workflow_ref": "acme/shop/" + r.path + "@refs/heads/" + run.Ref}
	for k, v := range change {
		claims[k] = v
	}
	ids := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Authorization") != "Bearer request-token" && q.Header.Get("Authorization") != "bearer request-token" || q.URL.Query().Get("api-version") != "2.0" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"value": r.issuer.Token(q.URL.Query().Get("audience"), claims)})
	}))
	defer ids.Close()
	out, said, _ := r.step(file, "Prove to Slipway which run this is", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=request-token", "ACTIONS_ID_TOKEN_REQUEST_URL="+ids.URL+"/?api-version=2.0")
	return strings.TrimPrefix(strings.TrimSpace(out), "token="), said
}

// step runs a step's script as the runner does, and returns what it wrote to its outputs and what it printed.
func (r *runner) step(file workflowFile, name string, env ...string) (output, said string, ok bool) {
	dir, err := os.MkdirTemp("", "runner-")
	if err != nil {
		return "", err.Error(), false
	}
	defer os.RemoveAll(dir)
	script := ""
	for _, s := range file.Jobs["image"].Steps {
		if s.Name == name {
			script = s.Run
		}
	}
	path := filepath.Join(dir, "step.sh")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		return "", err.Error(), false
	}
	cmd := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", path)
	cmd.Env = append(os.Environ(), "GITHUB_OUTPUT="+filepath.Join(dir, "output"))
	for k, v := range file.Jobs["image"].Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Env = append(cmd.Env, env...)
	printed, err := cmd.CombinedOutput()
	written, _ := os.ReadFile(filepath.Join(dir, "output"))
	return string(written), string(printed), err == nil && script != ""
}

// push pushes some image as docker login with the token would let one.
func push(repository, token string) (string, error) {
	img, err := random.Image(2000, 2)
	if err != nil {
		return "", err
	}
	ref, err := name.ParseReference(repository+":main", name.Insecure)
	if err != nil {
		return "", err
	}
	if err := remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: "slipway", Password: token})); err != nil {
		return "", err
	}
	digest, err := img.Digest()
	return digest.String(), err
}

// exchangeRow is an attempt as the API lists it.
type exchangeRow struct {
	Granted    bool
	Reason     string
	Repository string
	RunID      int64 `json:"run_id"`
}

func TestGitHubActionsBuildsAnAppWithoutAStoredPassword(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, settings slipwaytest.Settings) {
		issuer := workloadtest.New(t)
		hub := actionstest.New(t)
		repo := gittest.New(t).Repository(t, "acme/shop.git", shop("one"))
		mine := slipwaytest.Settings{"ACTIONS_ISSUERS": issuer.URL, "ACTIONS_POLL": "100ms"}
		maps.Copy(mine, settings)
		p := slipwaytest.Start(t, mine)
		p.Team(t, "acme")
		link := slipwaytest.Post[slipwaytest.Connection](t, p.Client, "/api/v1/connections", map[string]any{
			"team": "acme", "kind": "github", "base_url": hub.URL, "credential": "token", "settings": map[string]string{"token": hub.Token}})
		repository := p.Repository(t, "acme", "shop", repo.URL)
		call(t, p, http.MethodPatch, "/api/v1/repositories/"+repository.ID, map[string]any{"connection_id": link.ID})
		app := slipwaytest.Post[slipwaytest.Named](t, p.Client, "/api/v1/apps", map[string]any{"repository_id": repository.ID, "name": "checkout", "builder": "github-actions", "port": 8080, "health_path": "/"})
		at := "/api/v1/apps/" + app.ID

		// The settings, the file, and the pull request that brings it into the repository.
		saved := call(t, p, http.MethodPut, at+"/workflow", map[string]any{"repository": "acme/shop", "on_push": true})
		path := saved["path"].(string)
		if saved["repository_id"] != float64(actionstest.Number) || saved["connected"] != true || path != ".github/workflows/slipway-checkout.yml" {
			t.Fatalf("the workflow is %v", saved)
		}
		url := call(t, p, http.MethodPost, at+"/workflow/pull-request", nil)["url"]
		if again := call(t, p, http.MethodPost, at+"/workflow/pull-request", nil)["url"]; again != url || len(hub.Pulls()) != 1 || hub.Calls("commit") != 1 {
			t.Errorf("proposing twice opened %v and %v", url, again)
		}
		hub.Merge("slipway/checkout-workflow")
		if c := call(t, p, http.MethodGet, at+"/workflow/comparison", nil); c["same"] != true {
			t.Errorf("the merged file differs: %v", c)
		}

		// A build that is asked for here.
		r := &runner{t: t, hub: hub, issuer: issuer, path: path}
		hub.OnStart(func(run *actionstest.Run) { r.carry(run, nil) })
		b := p.Build(t, app.ID, "main")
		if b.State != "succeeded" || !strings.HasSuffix(b.Image.Repository, "/acme/checkout") || !strings.HasPrefix(b.Image.Digest, "sha256:") {
			t.Fatalf("the build is %+v: %+v", b, b.Error)
		}
		plan := call(t, p, http.MethodGet, "/api/v1/images/"+b.Image.Digest+"?repository=acme/checkout", nil)
		if plan["digest"] != b.Image.Digest {
			t.Errorf("the image is %v", plan)
		}
		live := p.Environment(t, "acme", "live")
		deployable := p.Call(t, http.MethodPost, "/api/v1/environments/"+live.ID+"/deployments", map[string]string{"app_id": app.ID, "build_id": b.ID})
		if deployable.Status != http.StatusAccepted || !strings.Contains(string(deployable.Body), b.Image.Digest) {
			t.Errorf("deploying the build answers %d: %s", deployable.Status, deployable.Body)
		}

		// A run that a push at GitHub started by itself.
		pushed := hub.Start(path, "push", "main", b.Commit)
		r.carry(pushed, nil)
		list := slipwaytest.Get[slipwaytest.List[struct {
			slipwaytest.Build
			Trigger string
			Builder string
		}]](t, p.Client, at+"/builds")
		if len(list.Items) != 2 || list.Items[0].Trigger != "forge" || list.Items[0].Builder != "github-actions" {
			t.Fatalf("the builds are %+v", list.Items)
		}
		if adopted := p.BuildEnd(t, list.Items[0].ID); adopted.State != "succeeded" || adopted.Image.Digest == b.Image.Digest {
			t.Errorf("the build of a push is %+v", adopted)
		}

		// A webhook tells of a run before it has made anything, and of a push that its workflow builds by itself.
		place := map[string]any{"id": actionstest.Number, "full_name": "acme/shop", "clone_url": repo.URL, "default_branch": "main"}
		_, said := link.Hook(t, "push-1", "push", map[string]any{"ref": "refs/heads/main", "before": b.Commit, "after": b.Commit, "repository": place, "commits": []any{}})
		if d := handled(t, p, said); d.State != "ignored" || len(d.Outcomes) != 1 || !strings.Contains(d.Outcomes[0].Message, "runs on pushes by itself") {
			t.Errorf("the push: %+v", d)
		}
		told := hub.Start(path, "push", "main", b.Commit)
		_, said = link.Hook(t, "run-1", "workflow_run", json.RawMessage(told.WebhookBody("requested")))
		if d := handled(t, p, said); d.State != "handled" || !strings.Contains(d.Message, "Build #3 follows the run") {
			t.Errorf("the run: %+v", d)
		}
		r.carry(told, nil)
		third := slipwaytest.Get[slipwaytest.List[slipwaytest.Build]](t, p.Client, at+"/builds").Items[0]
		if third = p.BuildEnd(t, third.ID); third.State != "succeeded" || third.Number != 3 {
			t.Errorf("the build of a webhook is %+v: %+v", third, third.Error)
		}

		// A fork of the same name, and a pull request.
		r.carry(hub.Start(path, "push", "main", b.Commit), map[string]any{"repository_id": "43"})
		r.carry(hub.Start(path, "pull_request", "main", b.Commit), nil)
		rows := slipwaytest.Get[slipwaytest.List[exchangeRow]](t, p.Client, at+"/exchanges").Items
		if len(rows) != 5 || !rows[4].Granted || !rows[3].Granted || !rows[2].Granted || rows[1].Granted || !strings.Contains(rows[1].Reason, "number 43") || rows[0].Granted || !strings.Contains(rows[0].Reason, "pull_request") {
			t.Errorf("the exchanges are %+v", rows)
		}
		if refused := hub.Runs()[4].Jobs[0].Log; !strings.Contains(refused, "Slipway refused this run: subject_token: The run was started by the event 'pull_request'") {
			t.Errorf("the refused run printed %s", refused)
		}
		p.Stop(t)
		noCanary(t, p, hub.Token, "request-token")
	})
}

// call makes a call that must succeed and returns the answer's fields.
func call(t *testing.T, p *slipwaytest.Portal, method, path string, body any) map[string]any {
	t.Helper()
	answer := p.Call(t, method, path, body)
	if answer.Status >= 300 {
		t.Fatalf("%s %s answers %d: %s", method, path, answer.Status, answer.Body)
	}
	var out map[string]any
	if err := json.Unmarshal(answer.Body, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
