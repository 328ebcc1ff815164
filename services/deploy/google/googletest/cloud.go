// Package googletest is a Google Cloud project on this machine for tests: the REST
// APIs of Cloud Run, Secret Manager, Cloud Logging, Cloud Monitoring, IAM and the token services, as
// far as Slipway calls them, with requests decoded strictly into the types of
// Google's own client libraries.
//
//	cloud := googletest.New(t, images)     // images: which image of the local engine each name stands for
//	cloud.Endpoint()                       // for the setting "endpoint"
//	cloud.Deny("run.services.update")      // and Fail, Break, Expire, NextRevision: what goes wrong
//
// Revisions and jobs are real containers of the local Docker Engine, with real
// startup probes, limits and logs; a service's addresses are real reverse proxies
// that follow its traffic. All of it goes with the test.
package googletest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/client"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/logging/v2"
	"google.golang.org/api/run/v2"
	"slipway.dev/models"
	"slipway.dev/services/dockertest"
)

const (
	// Project and Region are all that there is.
	Project = "acme-apps"
	Region  = "europe-west1"
	// Number is the project's number.
	Number = "123456789012"
	// RunAs is the account of the apps.
	RunAs = "slipway-apps@acme-apps.iam.gserviceaccount.com"

	label = "slipway.googletest"
	// speed is how many times faster probes are than they say.
	speed = 10
)

// Cloud is the project.
type Cloud struct {
	t      testing.TB
	server *httptest.Server
	docker *client.Client
	images map[string]string // of the local engine, by the names that revisions have
	mark   string            // the label's value on its containers
	ctx    context.Context   // ends with the test
	work   sync.WaitGroup

	mu       sync.Mutex
	tokens   tokens
	services map[string]*service
	jobs     map[string]*job
	secrets  map[string]*secret
	entries  []*logging.LogEntry
	denied   map[string]bool
	faults   map[string][]*Error
	calls    map[string]int
	broken   bool
	closed   bool
	refused  []refusal
	serial   int
}

// New starts a project whose revisions run the images.
func New(t testing.TB, images map[string]string) *Cloud {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &Cloud{
		t: t, docker: dockertest.Engine(t), images: images, mark: models.NewID(), ctx: ctx,
		services: map[string]*service{}, jobs: map[string]*job{}, secrets: map[string]*secret{},
		denied: map[string]bool{}, faults: map[string][]*Error{}, calls: map[string]int{}, tokens: tokens{valid: map[string]string{}},
	}
	dockertest.Sweep(t, label, c.mark)
	c.server = httptest.NewServer(c.routes())
	t.Cleanup(func() {
		cancel()
		c.work.Wait()
		c.server.Close()
		for _, s := range c.services {
			s.close()
		}
	})
	return c
}

// Endpoint is the template of the APIs' addresses.
func (c *Cloud) Endpoint() string { return c.server.URL + "/{service}" }

// Deny refuses calls that need the permission.
func (c *Cloud) Deny(permission string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.denied[permission] = true
}

// Fail answers the next so many calls that need the permission with the error.
func (c *Cloud) Fail(permission string, times int, e Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range times {
		c.faults[permission] = append(c.faults[permission], &e)
	}
}

// Break makes every connection end without an answer, until it is mended.
func (c *Cloud) Break(broken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = broken
}

// refusal is how a revision fails without a container.
type refusal struct {
	of   run.GoogleCloudRunV2Condition
	said []string
}

// NextRevision lets the next revision fail with the condition, without a container. Said are Cloud Run's own words in its log.
func (c *Cloud) NextRevision(of run.GoogleCloudRunV2Condition, said ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of.State = failed
	c.refused = append(c.refused, refusal{of, said})
}

// Put puts a service into the project that somebody else made.
func (c *Cloud) Put(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &service{revisions: map[string]*revision{}, doors: map[string]*door{}, policy: &run.GoogleIamV1Policy{}}
	s.Name, s.Template = c.path(name), &run.GoogleCloudRunV2RevisionTemplate{}
	c.services[name] = s
}

// Traffic is the service's traffic as it was asked for: percentages by revision.
func (c *Cloud) Traffic(name string) map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]int64{}
	if s := c.services[name]; s != nil {
		for _, e := range s.Traffic {
			out[e.Revision] += e.Percent
		}
	}
	return out
}

// Template is the service's newest revision as it was asked for.
func (c *Cloud) Template(name string) *run.GoogleCloudRunV2RevisionTemplate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.services[name]; s != nil {
		return s.Template
	}
	return nil
}

// Forbid lets no visitors in, whatever the services' policies say.
func (c *Cloud) Forbid() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// Calls is how often something that needs the permission was asked for.
func (c *Cloud) Calls(permission string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[permission]
}

// Left names what the project has: services, jobs and secrets.
func (c *Cloud) Left() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.services {
		out = append(out, "service "+name)
	}
	for name := range c.jobs {
		out = append(out, "job "+name)
	}
	for name := range c.secrets {
		out = append(out, "secret "+name)
	}
	return out
}

// Error is an answer that refuses (https://cloud.google.com/apis/design/errors#http_mapping).
type Error struct {
	Code    int
	Status  string // such as PERMISSION_DENIED
	Message string
	Reason  string            // of its ErrorInfo; empty: it has none
	About   map[string]string // the ErrorInfo's metadata
}

func (e *Error) Error() string { return e.Message }

func refuse(code int, status, format string, args ...any) *Error {
	return &Error{Code: code, Status: status, Message: fmt.Sprintf(format, args...)}
}

// call is one request.
type call struct {
	*http.Request
	body []byte
}

// into decodes the request's body, in which nothing may be that the API does not know.
func (q *call) into(v any) error {
	d := json.NewDecoder(strings.NewReader(string(q.body)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return refuse(400, "INVALID_ARGUMENT", "Invalid JSON payload received. %v", err)
	}
	return nil
}

// handle serves the pattern: who asks needs the permission.
func (c *Cloud) handle(mux *http.ServeMux, pattern, permission string, do func(*call) (any, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(io.LimitReader(req.Body, 8<<20))
		if err != nil {
			return
		}
		if err := c.admit(req, permission); err != nil {
			respond(w, nil, err)
			return
		}
		out, err := do(&call{req, body})
		respond(w, out, err)
	})
}

// admit looks at the caller's token and rights, and at what is meant to go wrong.
func (c *Cloud) admit(req *http.Request, permission string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[permission]++
	if c.broken {
		panic(http.ErrAbortHandler)
	}
	if err := c.tokens.check(req); err != nil {
		return err
	}
	if next := c.faults[permission]; len(next) > 0 {
		c.faults[permission] = next[1:]
		return next[0]
	}
	if c.denied[permission] {
		e := refuse(403, "PERMISSION_DENIED", "Permission '%s' denied on resource 'projects/%s' (or resource may not exist).", permission, Project)
		e.Reason, e.About = "IAM_PERMISSION_DENIED", map[string]string{"permission": permission}
		return e
	}
	return nil
}

func respond(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if err != nil {
		e, ok := err.(*Error)
		if !ok {
			e = refuse(500, "INTERNAL", "%v", err)
		}
		about := map[string]any{"code": e.Code, "message": e.Message, "status": e.Status}
		if e.Reason != "" {
			about["details"] = []any{map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": e.Reason, "domain": "googleapis.com", "metadata": e.About}}
		}
		w.WriteHeader(e.Code)
		out = map[string]any{"error": about}
	}
	_ = json.NewEncoder(w).Encode(out)
}

// number counts what has no name of its own.
func (c *Cloud) number() int {
	c.serial++
	return c.serial
}

func now() string { return time.Now().UTC().Format(time.RFC3339Nano) }

// operation is an answer that something goes on.
func (c *Cloud) operation() *run.GoogleLongrunningOperation {
	return &run.GoogleLongrunningOperation{Name: fmt.Sprintf("projects/%s/locations/%s/operations/%d", Project, Region, c.number()), ServerResponse: googleapi.ServerResponse{}}
}

// routes are the APIs' methods with the permission that each needs.
func (c *Cloud) routes() http.Handler {
	mux := http.NewServeMux()
	c.tokenRoutes(mux)
	const at = "/run/v2/projects/" + Project + "/locations/" + Region
	c.handle(mux, "GET "+at+"/services", "run.services.list", c.listServices)
	c.handle(mux, "POST "+at+"/services", "run.services.create", c.createService)
	c.handle(mux, "PATCH "+at+"/services/{name}", "run.services.update", c.patchService)
	c.handle(mux, "DELETE "+at+"/services/{name}", "run.services.delete", c.deleteService)
	c.verbs(mux, "GET "+at+"/services/{name}", map[string]method{"": {"run.services.get", c.getService}, "getIamPolicy": {"run.services.getIamPolicy", c.getPolicy}})
	c.verbs(mux, "POST "+at+"/services/{name}", map[string]method{"setIamPolicy": {"run.services.setIamPolicy", c.setPolicy}})
	c.handle(mux, "GET "+at+"/services/{name}/revisions", "run.revisions.list", c.listRevisions)
	c.handle(mux, "GET "+at+"/services/{name}/revisions/{revision}", "run.revisions.get", c.getRevision)
	c.handle(mux, "DELETE "+at+"/services/{name}/revisions/{revision}", "run.revisions.delete", c.deleteRevision)
	c.handle(mux, "POST "+at+"/jobs", "run.jobs.create", c.createJob)
	c.handle(mux, "GET "+at+"/jobs/{name}", "run.jobs.get", c.getJob)
	c.handle(mux, "DELETE "+at+"/jobs/{name}", "run.jobs.delete", c.deleteJob)
	c.verbs(mux, "POST "+at+"/jobs/{name}", map[string]method{"run": {"run.jobs.run", c.runJob}})
	c.handle(mux, "GET "+at+"/jobs/{name}/executions", "run.executions.list", c.listExecutions)
	c.verbs(mux, "POST "+at+"/jobs/{name}/executions/{execution}", map[string]method{"cancel": {"run.executions.cancel", c.cancelExecution}})
	c.handle(mux, "GET "+at+"/jobs/{name}/executions/{execution}/tasks", "run.tasks.list", c.listTasks)
	for _, project := range []string{Project, Number} { // answers name it by its number
		in := "/secretmanager/v1/projects/" + project + "/secrets"
		c.handle(mux, "GET "+in, "secretmanager.secrets.list", c.listSecrets)
		c.handle(mux, "POST "+in, "secretmanager.secrets.create", c.createSecret)
		c.handle(mux, "GET "+in+"/{name}", "secretmanager.secrets.get", c.getSecret)
		c.handle(mux, "DELETE "+in+"/{name}", "secretmanager.secrets.delete", c.deleteSecret)
		c.verbs(mux, "POST "+in+"/{name}", map[string]method{"addVersion": {"secretmanager.versions.add", c.addVersion}})
		c.handle(mux, "GET "+in+"/{name}/versions", "secretmanager.versions.list", c.listVersions)
	}
	c.handle(mux, "POST /logging/v2/entries:list", "logging.logEntries.list", c.listEntries)
	c.handle(mux, "GET /monitoring/v3/projects/"+Project+"/timeSeries", "monitoring.timeSeries.list", c.listSeries)
	c.verbs(mux, "POST /cloudresourcemanager/v3/projects/{name}", map[string]method{"testIamPermissions": {"", c.testPermissions}})
	c.verbs(mux, "POST /iam/v1/projects/-/serviceAccounts/{name}", map[string]method{"testIamPermissions": {"", c.testPermissions}})
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		respond(w, nil, refuse(404, "NOT_FOUND", "Method not found: %s %s, or the location is not found.", req.Method, req.URL.Path))
	})
	return mux
}

type method struct {
	permission string
	do         func(*call) (any, error)
}

// verbs serves methods whose last segment ends in a colon and a verb.
func (c *Cloud) verbs(mux *http.ServeMux, pattern string, by map[string]method) {
	segment := pattern[strings.LastIndex(pattern, "{")+1 : len(pattern)-1]
	mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
		name, verb, _ := strings.Cut(req.PathValue(segment), ":")
		m, ok := by[verb]
		if !ok {
			respond(w, nil, refuse(404, "NOT_FOUND", "Method not found."))
			return
		}
		req.SetPathValue(segment, name)
		body, err := io.ReadAll(io.LimitReader(req.Body, 8<<20))
		if err != nil {
			return
		}
		if err := c.admit(req, m.permission); err != nil {
			respond(w, nil, err)
			return
		}
		out, err := m.do(&call{req, body})
		respond(w, out, err)
	})
}

// testPermissions gives those of the asked permissions that are not denied.
func (c *Cloud) testPermissions(q *call) (any, error) {
	type body struct {
		Permissions []string `json:"permissions"`
	}
	var ask, has body
	if err := q.into(&ask); err != nil {
		return nil, err
	}
	if name := q.PathValue("name"); name != Project && name != RunAs {
		return nil, refuse(404, "NOT_FOUND", "%s is not found.", name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range ask.Permissions {
		if !c.denied[p] {
			has.Permissions = append(has.Permissions, p)
		}
	}
	return has, nil
}
