// Package azuretest is an Azure for tests: Microsoft Entra ID, the Azure
// Resource Manager with Container Apps, and their log streams, over HTTPS on the
// loopback. It speaks the wire protocol of API version 2024-03-01 with its
// long-running operations; bodies are those of the SDK's models, and a field that
// these do not have is refused. Revisions run as containers of the local Docker
// Engine, and visitors come to them through a small proxy that follows the traffic weights.
package azuretest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/google/uuid"
	"slipway.dev/services/dockertest"
)

// label marks what the server makes in the Docker Engine.
const label = "slipway.azuretest"

// The names of what there is.
const (
	Group       = "apps"
	Environment = "home"
	Location    = "westeurope"
)

// Server is one Azure with one subscription, resource group and Container Apps environment.
type Server struct {
	Subscription, Tenant, ClientID, Secret string

	// Tick is what a second of a probe or a pause lasts.
	Tick time.Duration
	// Provider is the state of Microsoft.App in the subscription.
	Provider string
	// Cores are taken of Limit.
	Cores, Limit float32
	// Broken is the error with which each new revision fails; empty: none does.
	Broken string
	// Workspace is the id of the Log Analytics workspace that the environment's logs go to; empty: they go nowhere.
	Workspace string
	// Trust are the tokens that the application's federated credential accepts.
	Trust Trust

	t      testing.TB
	docker *client.Client
	http   *httptest.Server
	id     string
	ctx    context.Context
	work   sync.WaitGroup

	mu      sync.Mutex // guards what follows; ops may be taken under it
	apps    map[string]*app
	jobs    map[string]*job
	tokens  map[string]bool   // that Entra gave and that have not expired
	scopes  map[string]string // that they are for
	rows    []row             // that replicas which have gone printed
	streams map[string]string // tokens of log streams, and the path that each is for
	images  map[string]bool   // that were pulled
	faults  []*Fault
	denied  []string // actions
	calls   []string
	signIns int

	ops        sync.Mutex
	operations map[string]*operation
}

// Fault is how a call is to fail.
type Fault struct {
	Call       string // regular expression of its method and path
	Times      int    // how often; 0: always
	Status     int
	Code       string
	Message    string
	RetryAfter string // seconds
	Drop       bool   // the connection, without an answer
	Redirect   string // the address of another place
	Then       func() // called once the fault has happened
}

// New starts an Azure that ends, with all that it runs, when the test does.
func New(t testing.TB) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		Subscription: uuid.NewString(), Tenant: uuid.NewString(), ClientID: uuid.NewString(), Secret: "s3cret~" + uuid.NewString(),
		Tick: 100 * time.Millisecond, Provider: "Registered", Cores: 2, Limit: 100,
		t: t, docker: dockertest.Engine(t), id: uuid.NewString(), ctx: ctx,
		apps: map[string]*app{}, jobs: map[string]*job{}, images: map[string]bool{}, operations: map[string]*operation{}, tokens: map[string]bool{}, streams: map[string]string{}, scopes: map[string]string{},
	}
	s.http = httptest.NewUnstartedServer(s.handler())
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.http.StartTLS()
	t.Cleanup(func() {
		cancel()
		s.http.CloseClientConnections()
		s.http.Close()
		s.work.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, a := range s.apps {
			a.close()
		}
		end, stop := context.WithTimeout(context.Background(), 3*time.Minute)
		defer stop()
		docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
		if err != nil {
			t.Error(err)
			return
		}
		defer docker.Close()
		dockertest.Remove(end, t, docker, label, s.id)
		for ref := range s.images { // that another test has it too by now is no fault
			_, _ = docker.ImageRemove(end, ref, image.RemoveOptions{Force: true})
		}
	})
	return s
}

// URL is the address of the Resource Manager, of Entra ID and of all else.
func (s *Server) URL() string { return s.http.URL }

// HTTP is a client that trusts the server's certificates.
func (s *Server) HTTP() *http.Client { return s.http.Client() }

// Settings are those of a target in this Azure.
func (s *Server) Settings() map[string]string {
	return map[string]string{"subscription_id": s.Subscription, "tenant_id": s.Tenant, "client_id": s.ClientID, "resource_group": Group, "environment": Environment, "endpoint": s.URL(), "authority": s.URL(), "logs_endpoint": s.URL()}
}

// Fail lets calls fail from now on.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Heal lets no calls fail any more.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Deny takes actions away from the application's role.
func (s *Server) Deny(actions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = append(s.denied, actions...)
}

// Expire makes all tokens that were given invalid.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
	clear(s.streams)
}

// SignIns is how often a token was asked for.
func (s *Server) SignIns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signIns
}

// Calls are the calls so far that the regular expression matches, each as method and path.
func (s *Server) Calls(expression string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if regexp.MustCompile(expression).MatchString(c) {
			out = append(out, c)
		}
	}
	return out
}

// handler routes what has the form of this Azure's calls.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	s.entra(mux)
	s.manager(mux)
	s.logStreams(mux)
	mux.HandleFunc("POST /v1/workspaces/{workspace}/query", s.analytics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := r.Method + " " + r.URL.Path
		s.mu.Lock()
		s.calls = append(s.calls, call)
		s.mu.Unlock()
		if f := s.fault(call); f != nil {
			if f.Then != nil {
				defer f.Then()
			}
			if f.Drop {
				panic(http.ErrAbortHandler)
			}
			if f.Redirect != "" {
				http.Redirect(w, r, f.Redirect, http.StatusTemporaryRedirect)
				return
			}
			if f.RetryAfter != "" {
				w.Header().Set("Retry-After", f.RetryAfter)
			}
			refuse(w, f.Status, f.Code, "%s", f.Message)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/subscriptions/") && !s.admitted(w, r) {
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) fault(call string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if !regexp.MustCompile(f.Call).MatchString(call) {
			continue
		}
		if f.Times == 1 {
			s.faults = slices.Delete(s.faults, i, i+1)
		} else if f.Times > 1 {
			f.Times--
		}
		return f
	}
	return nil
}

// admitted looks at what every call to the Resource Manager has to have.
func (s *Server) admitted(w http.ResponseWriter, r *http.Request) bool {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	known := s.tokens[token]
	s.mu.Unlock()
	switch {
	case !bearer:
		refuse(w, http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	case !known:
		refuse(w, http.StatusUnauthorized, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time.")
	case r.URL.Query().Get("api-version") == "":
		refuse(w, http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	case !strings.HasPrefix(r.URL.Path, "/subscriptions/"+s.Subscription+"/") && r.URL.Path != "/subscriptions/"+s.Subscription:
		refuse(w, http.StatusNotFound, "SubscriptionNotFound", "The subscription could not be found.")
	default:
		return true
	}
	return false
}

// allow refuses what the application's role does not have.
func (s *Server) allow(w http.ResponseWriter, r *http.Request, action string) bool {
	s.mu.Lock()
	denied := slices.Contains(s.denied, action)
	s.mu.Unlock()
	if denied {
		scope, _, _ := strings.Cut(r.URL.Path, "/revisions")
		refuse(w, http.StatusForbidden, "AuthorizationFailed", "The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
			s.ClientID, s.ClientID, action, scope)
	}
	return !denied
}

// refuse answers in the form of the Resource Manager's errors.
func refuse(w http.ResponseWriter, status int, code, format string, args ...any) {
	w.Header().Set("x-ms-failure-cause", "gateway")
	answer(w, status, map[string]any{"error": map[string]any{"code": code, "message": fmt.Sprintf(format, args...)}})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// beside runs something beside until the server ends.
func (s *Server) beside(do func()) { s.work.Go(do) }

// wait lets ticks pass; it tells no where the server, or what ctx is for, ended.
func (s *Server) wait(ctx context.Context, ticks float64) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(ticks * float64(s.Tick))):
		return true
	}
}
