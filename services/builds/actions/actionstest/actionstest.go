// Package actionstest is a GitHub with one repository, at HTTP level: its
// workflows, runs, jobs, logs, files and pull requests in the shapes of the
// official client's types, and able to fail.
package actionstest

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-github/v88/github"
)

// GitHub is a GitHub Enterprise with the repository acme/shop, number 42.
type GitHub struct {
	URL   string // of the server; its API is below /api/v3/
	Token string // that calls must show

	mu        sync.Mutex
	old       bool // answers dispatches with 204, as before 2026
	lost      bool // takes a dispatch and then answers 502
	fail      func(r *http.Request) (status int, header map[string]string)
	onStart   func(*Run)
	runs      []*Run
	files     map[string]map[string]string // by branch and path
	pulls     []*github.PullRequest
	disabled  bool
	calls     map[string]int
	unchanged int
	leaked    bool
}

// Run is a run of a workflow, which the test moves on.
type Run struct {
	ID         int64
	Attempt    int
	Path       string
	Event      string
	Ref        string // branch or tag
	Commit     string
	Title      string
	Inputs     map[string]string
	Status     string // queued, in_progress, completed
	Conclusion string
	Began      time.Time
	Jobs       []*Job
	Canceled   bool

	hub *GitHub
}

// Job is a job of a run.
type Job struct {
	ID         int64
	Name       string
	Status     string
	Conclusion string
	Began      time.Time
	Ended      time.Time
	Steps      []*Step
	Log        string
}

// Step is a step of a job.
type Step struct {
	Name       string
	Status     string
	Conclusion string
	Began      time.Time
	Ended      time.Time
}

// The repository.
const (
	Owner  = "acme"
	Name   = "shop"
	Number = 42
)

// New starts a GitHub until the test ends, with the workflow file on main.
func New(t testing.TB, paths ...string) *GitHub {
	t.Helper()
	g := &GitHub{Token: "canary-github-token", files: map[string]map[string]string{"main": {}}, calls: map[string]int{}}
	for _, p := range paths {
		g.files["main"][p] = "on: workflow_dispatch\n"
	}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	g.URL = server.URL
	return g
}

// Client is a client of the API, as the connection of a repository gives one.
func (g *GitHub) Client(t testing.TB) *github.Client {
	t.Helper()
	api := g.URL + "/api/v3/"
	c, err := github.NewClient(github.WithURLs(&api, &api), github.WithAuthToken(g.Token))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Fail lets a script answer calls; status 0 lets the call through.
func (g *GitHub) Fail(script func(r *http.Request) (status int, header map[string]string)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail = script
}

// Old makes it a server that does not say which run a dispatch started.
func (g *GitHub) Old() { g.mu.Lock(); defer g.mu.Unlock(); g.old = true }

// LoseAnswers has dispatches answered with an error although they start a run.
func (g *GitHub) LoseAnswers() { g.mu.Lock(); defer g.mu.Unlock(); g.lost = true }

// Disable switches the workflow off.
func (g *GitHub) Disable() { g.mu.Lock(); defer g.mu.Unlock(); g.disabled = true }

// OnStart is called, in a goroutine of its own, with every run that a dispatch starts.
func (g *GitHub) OnStart(f func(*Run)) { g.mu.Lock(); defer g.mu.Unlock(); g.onStart = f }

// Runs are the runs so far.
func (g *GitHub) Runs() []*Run {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]*Run{}, g.runs...)
}

// Calls is how often a kind of call was made, such as "dispatch".
func (g *GitHub) Calls(kind string) int { g.mu.Lock(); defer g.mu.Unlock(); return g.calls[kind] }

// Unchanged is how many calls were answered with 304.
func (g *GitHub) Unchanged() int { g.mu.Lock(); defer g.mu.Unlock(); return g.unchanged }

// Leaked tells whether the token was shown to the store of logs.
func (g *GitHub) Leaked() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.leaked }

// File is a file of a branch; empty where there is none.
func (g *GitHub) File(branch, path string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.files[branch][path]
}

// Pulls are the pull requests.
func (g *GitHub) Pulls() []*github.PullRequest {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]*github.PullRequest{}, g.pulls...)
}

// Merge brings a branch's files to main.
func (g *GitHub) Merge(branch string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for path, text := range g.files[branch] {
		g.files["main"][path] = text
	}
	for _, p := range g.pulls {
		if p.GetHead().GetRef() == branch {
			p.State = github.Ptr("closed")
		}
	}
}

// Start begins a run that nobody dispatched.
func (g *GitHub) Start(path, event, ref, commit string) *Run {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begin(path, event, ref, commit, "A commit", nil)
}

func (g *GitHub) begin(path, event, ref, commit, title string, inputs map[string]string) *Run {
	r := &Run{ID: int64(9000 + len(g.runs)), Attempt: 1, Path: path, Event: event, Ref: ref, Commit: commit, Title: title, Inputs: inputs,
		Status: "queued", Began: time.Now(), hub: g}
	g.runs = append(g.runs, r)
	return r
}

// Change moves the run on while nobody reads it.
func (r *Run) Change(f func(*Run)) {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	f(r)
}

// IsCanceled tells whether somebody canceled the run.
func (r *Run) IsCanceled() bool { r.hub.mu.Lock(); defer r.hub.mu.Unlock(); return r.Canceled }

// AddJob begins a job with the steps, the first of which runs.
func (r *Run) AddJob(name string, steps ...string) *Job {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	now := time.Now()
	j := &Job{ID: r.ID*10 + int64(len(r.Jobs)), Name: name, Status: "in_progress", Began: now}
	for i, s := range steps {
		step := &Step{Name: s, Status: "queued"}
		if i == 0 {
			step.Status, step.Began = "in_progress", now
		}
		j.Steps = append(j.Steps, step)
	}
	r.Status = "in_progress"
	r.Jobs = append(r.Jobs, j)
	return j
}

// EndStep ends the job's running step with the conclusion, prints the lines to
// its log, and begins the next one.
func (r *Run) EndStep(j *Job, conclusion string, lines ...string) {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	now := time.Now()
	for i, s := range j.Steps {
		if s.Status != "in_progress" {
			continue
		}
		j.print(s.Began, "##[group]Run "+s.Name)
		j.print(s.Began, lines...)
		j.print(s.Began, "##[endgroup]")
		s.Status, s.Conclusion, s.Ended = "completed", conclusion, now
		if i+1 < len(j.Steps) && conclusion == "success" {
			j.Steps[i+1].Status, j.Steps[i+1].Began = "in_progress", now
		}
		return
	}
}

func (j *Job) print(at time.Time, lines ...string) {
	for _, l := range lines {
		j.Log += at.UTC().Format("2006-01-02T15:04:05.0000000Z") + " " + l + "\n"
	}
}

// End ends the job and the run with the conclusion; steps that did not run are skipped.
func (r *Run) End(conclusion string) {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	now := time.Now()
	for _, j := range r.Jobs {
		for _, s := range j.Steps {
			if s.Status != "completed" {
				s.Status, s.Conclusion, s.Ended = "completed", "skipped", now
			}
		}
		j.Status, j.Conclusion, j.Ended = "completed", conclusion, now
	}
	r.Status, r.Conclusion = "completed", conclusion
}

// ServeHTTP answers the API and the store of logs.
func (g *GitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if id, ok := strings.CutPrefix(r.URL.Path, "/store/"); ok {
		g.leaked = g.leaked || r.Header.Get("Authorization") != ""
		g.storedLog(w, id)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+g.Token {
		answer(w, r, http.StatusUnauthorized, map[string]string{"message": "Bad credentials"})
		return
	}
	if g.fail != nil {
		if status, header := g.fail(r); status != 0 {
			for k, v := range header {
				w.Header().Set(k, v)
			}
			answer(w, r, status, map[string]string{"message": "scripted <script>failure</script>"})
			return
		}
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v3/repos/"+Owner+"/"+Name)
	if !ok {
		g.missing(w, r)
		return
	}
	g.route(w, r, strings.Split(strings.Trim(path, "/"), "/"))
}

func (g *GitHub) missing(w http.ResponseWriter, r *http.Request) {
	answer(w, r, http.StatusNotFound, map[string]string{"message": "Not Found"})
}

func (g *GitHub) route(w http.ResponseWriter, r *http.Request, parts []string) {
	at := strings.Join(parts, "/")
	n := len(parts)
	switch {
	case at == "":
		answer(w, r, http.StatusOK, &github.Repository{ID: github.Ptr(int64(Number)), FullName: github.Ptr(Owner + "/" + Name), DefaultBranch: github.Ptr("main")})
	case strings.HasPrefix(at, "actions/workflows/") && n == 3:
		g.workflow(w, r, parts[2])
	case strings.HasPrefix(at, "actions/workflows/") && n == 4 && parts[3] == "dispatches" && r.Method == http.MethodPost:
		g.dispatch(w, r, parts[2])
	case strings.HasPrefix(at, "actions/workflows/") && n == 4 && parts[3] == "runs":
		g.list(w, r, parts[2])
	case strings.HasPrefix(at, "actions/runs/") && n >= 4:
		g.ofRun(w, r, parts[2:])
	case strings.HasPrefix(at, "actions/jobs/") && n == 4 && parts[3] == "logs":
		g.calls["log"]++
		w.Header().Set("Location", g.URL+"/store/"+parts[2])
		w.WriteHeader(http.StatusFound)
	default:
		g.source(w, r, parts)
	}
}

func (g *GitHub) workflow(w http.ResponseWriter, r *http.Request, file string) {
	path := ".github/workflows/" + file
	if _, ok := g.files["main"][path]; !ok {
		g.missing(w, r)
		return
	}
	state := "active"
	if g.disabled {
		state = "disabled_manually"
	}
	answer(w, r, http.StatusOK, &github.Workflow{ID: github.Ptr(int64(1)), Path: github.Ptr(path), State: github.Ptr(state)})
}

func (g *GitHub) dispatch(w http.ResponseWriter, r *http.Request, file string) {
	g.calls["dispatch"]++
	var in github.CreateWorkflowDispatchEventRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		answer(w, r, http.StatusBadRequest, map[string]string{"message": "Problems parsing JSON"})
		return
	}
	if _, ok := g.files[in.Ref]; !ok {
		answer(w, r, http.StatusUnprocessableEntity, map[string]string{"message": "No ref found for: " + in.Ref})
		return
	}
	inputs := map[string]string{}
	for k, v := range in.Inputs {
		inputs[k] = fmt.Sprint(v)
	}
	run := g.begin(".github/workflows/"+file, "workflow_dispatch", in.Ref, inputs["commit"], "Build checkout for Slipway ("+inputs["build"]+")", inputs)
	if g.onStart != nil {
		go g.onStart(run)
	}
	switch {
	case g.lost:
		answer(w, r, http.StatusBadGateway, map[string]string{"message": "Unicorn!"})
	case g.old || in.ReturnRunDetails == nil || !*in.ReturnRunDetails:
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, r, http.StatusOK, &github.WorkflowDispatchRunDetails{WorkflowRunID: github.Ptr(run.ID), RunURL: github.Ptr(g.URL + "/api/v3/run"), HTMLURL: github.Ptr(run.page())})
	}
}

func (r *Run) page() string {
	return fmt.Sprintf("%s/%s/%s/actions/runs/%d", r.hub.URL, Owner, Name, r.ID)
}

// API is the run as the API and webhooks describe it. The lock is the caller's.
func (r *Run) api() *github.WorkflowRun {
	out := &github.WorkflowRun{
		ID: github.Ptr(r.ID), RunAttempt: github.Ptr(r.Attempt), Path: github.Ptr(r.Path), Event: github.Ptr(r.Event), HeadBranch: github.Ptr(r.Ref), HeadSHA: github.Ptr(r.Commit),
		DisplayTitle: github.Ptr(r.Title), Status: github.Ptr(r.Status), HTMLURL: github.Ptr(r.page()),
		CreatedAt: &github.Timestamp{Time: r.Began}, RunStartedAt: &github.Timestamp{Time: r.Began},
		Actor: &github.User{Login: github.Ptr("mira")}, HeadCommit: &github.HeadCommit{Message: github.Ptr("Sell apples\n\nand pears"), Author: &github.CommitAuthor{Name: github.Ptr("Mira")}},
		Repository: &github.Repository{ID: github.Ptr(int64(Number)), FullName: github.Ptr(Owner + "/" + Name)}, HeadRepository: &github.Repository{ID: github.Ptr(int64(Number))},
	}
	if r.Conclusion != "" {
		out.Conclusion = github.Ptr(r.Conclusion)
	}
	return out
}

// Event is the body of the webhook workflow_run about the run.
func (r *Run) WebhookBody(action string) []byte {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	body, err := json.Marshal(&github.WorkflowRunEvent{Action: github.Ptr(action), WorkflowRun: r.api(), Repo: r.api().Repository})
	if err != nil {
		panic(err)
	}
	return body
}

func (g *GitHub) list(w http.ResponseWriter, r *http.Request, file string) {
	g.calls["list"]++
	var out []*github.WorkflowRun
	for _, run := range g.runs {
		if run.Path == ".github/workflows/"+file && (r.URL.Query().Get("event") == "" || r.URL.Query().Get("event") == run.Event) {
			out = append(out, run.api())
		}
	}
	answer(w, r, http.StatusOK, &github.WorkflowRuns{TotalCount: github.Ptr(len(out)), WorkflowRuns: out})
}

func (g *GitHub) ofRun(w http.ResponseWriter, r *http.Request, parts []string) {
	id, _ := strconv.ParseInt(parts[0], 10, 64)
	for _, run := range g.runs {
		if run.ID != id {
			continue
		}
		switch {
		case parts[1] == "cancel" && r.Method == http.MethodPost:
			g.calls["cancel"]++
			if run.Status == "completed" {
				answer(w, r, http.StatusConflict, map[string]string{"message": "Cannot cancel a workflow run that is completed."})
				return
			}
			run.Canceled, run.Status, run.Conclusion = true, "completed", "cancelled"
			answer(w, r, http.StatusAccepted, struct{}{})
		case parts[1] == "attempts" && len(parts) == 3:
			g.calls["run"]++
			g.tagged(w, r, run.api())
		case parts[1] == "attempts" && len(parts) == 4 && parts[3] == "jobs":
			g.calls["jobs"]++
			g.tagged(w, r, run.jobs())
		default:
			g.missing(w, r)
		}
		return
	}
	g.missing(w, r)
}

func (r *Run) jobs() *github.Jobs {
	out := &github.Jobs{TotalCount: github.Ptr(len(r.Jobs))}
	for _, j := range r.Jobs {
		job := &github.WorkflowJob{ID: github.Ptr(j.ID), RunID: github.Ptr(r.ID), Name: github.Ptr(j.Name), Status: github.Ptr(j.Status), StartedAt: stamp(j.Began), CompletedAt: stamp(j.Ended)}
		if j.Conclusion != "" {
			job.Conclusion = github.Ptr(j.Conclusion)
		}
		for i, s := range j.Steps {
			step := &github.TaskStep{Name: github.Ptr(s.Name), Number: github.Ptr(int64(i + 1)), Status: github.Ptr(s.Status), StartedAt: stamp(s.Began), CompletedAt: stamp(s.Ended)}
			if s.Conclusion != "" {
				step.Conclusion = github.Ptr(s.Conclusion)
			}
			job.Steps = append(job.Steps, step)
		}
		out.Jobs = append(out.Jobs, job)
	}
	return out
}

// stamp is a time as the API has it, to the second.
func stamp(t time.Time) *github.Timestamp {
	if t.IsZero() {
		return nil
	}
	return &github.Timestamp{Time: t.UTC().Truncate(time.Second)}
}

func (g *GitHub) storedLog(w http.ResponseWriter, id string) {
	for _, run := range g.runs {
		for _, j := range run.Jobs {
			if fmt.Sprint(j.ID) == id && j.Status == "completed" && j.Log != "" {
				_, _ = w.Write([]byte("\uFEFF" + j.Log))
				return
			}
		}
	}
	http.Error(w, "BlobNotFound", http.StatusNotFound)
}

// tagged answers with an ETag, or with 304 where the caller knows the answer.
func (g *GitHub) tagged(w http.ResponseWriter, r *http.Request, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	h := fnv.New64a()
	_, _ = h.Write(body)
	tag := fmt.Sprintf(`W/"%x"`, h.Sum64())
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		g.unchanged++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	answer(w, r, http.StatusOK, v)
}

func answer(w http.ResponseWriter, _ *http.Request, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
