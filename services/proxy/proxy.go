// Package proxy stands in front of the instances: it sends a request for an
// app's host name to the instances of the deployment that serves it.
//
// Any number of processes may be proxies of one database. Each writes down
// which deployments it may still send requests to (models.ProxyHold), always
// before it does and until it has stopped doing so; whoever wants to end a
// deployment's instances waits until no living proxy holds it.
package proxy

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/events"
)

// Service is one proxy. Run must run for it to know its routes.
type Service struct {
	DB     *models.Database
	Events *events.Service
	Scheme string // http or https, as people reach it
	// Dial connects to an address at which an instance of the target answers.
	Dial func(ctx context.Context, targetID, network, address string) (net.Conn, error)
	// Cookies are the names of the portal's own cookies, which no app may get or set.
	Cookies []string
	// Page answers a request that no instance can answer; plain text where nil.
	Page func(w http.ResponseWriter, r *http.Request, p Problem)

	table atomic.Pointer[table]
	self  models.Proxy
	held  map[string]bool // deployments that the database knows this proxy to hold
	told  map[string]bool // deployments of which the database knows that requests go to them
	ended chan *backend   // backends that have drained
	open  map[*backend]bool
}

// table is what the proxy knows at one moment; it is replaced, never changed.
type table struct {
	routes map[string]route // by host
}

type route struct {
	backend *backend // nil where nothing runs
	stopped bool
	paused  bool // one version has stopped, and the next one has not started yet
	known   bool // something was deployed there once
}

// Problem is why no instance answers.
type Problem struct {
	Status  int
	Title   string
	Message string
}

// The problems that a visitor can meet. They tell nothing about what is behind.
var (
	Unknown      = Problem{http.StatusNotFound, "Nothing is here", "No app has this address."}
	NotDeployed  = Problem{http.StatusNotFound, "Not deployed yet", "This address is kept for an app that was not deployed here yet. Come back when it was."}
	Stopped      = Problem{http.StatusServiceUnavailable, "Stopped", "Somebody of the app's team has stopped it."}
	NotRunning   = Problem{http.StatusServiceUnavailable, "Not running", "The app does not run at the moment. Its team can see why in Slipway."}
	Updating     = Problem{http.StatusServiceUnavailable, "One moment", "The app is being brought up to date and answers again soon. Try again in a minute."}
	NotAnswering = Problem{http.StatusBadGateway, "The app does not answer", "The app runs and gave no answer to this request. Try again; its team can see why in Slipway."}
	Starting     = Problem{http.StatusServiceUnavailable, "One moment", "Slipway has just started. Try again in a second."}
)

// patience is how long a request waits for its app to be somewhere else after
// nobody took its connection.
const patience = 2 * time.Second

// ServeHTTP sends the request to the app of its host name.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := hostOf(r.Host)
	for range 10 {
		b, problem := s.find(host)
		if b == nil {
			s.problem(w, r, problem)
			return
		}
		if !b.acquire() {
			continue // it was replaced between the two lines
		}
		refused := b.serve(w, r)
		if !refused {
			return
		}
		if !s.moved(r.Context(), host, b) {
			break
		}
	}
	s.problem(w, r, NotAnswering)
}

// find returns who answers for the host, or why nobody does.
func (s *Service) find(host string) (*backend, Problem) {
	t := s.table.Load()
	if t == nil {
		return nil, Starting
	}
	to, ok := t.routes[host]
	switch {
	case !ok:
		return nil, Unknown
	case to.backend != nil:
		return to.backend, Problem{}
	case !to.known:
		return nil, NotDeployed
	case to.stopped:
		return nil, Stopped
	case to.paused:
		return nil, Updating
	}
	return nil, NotRunning
}

// moved waits for the host to be answered by another backend than b.
func (s *Service) moved(ctx context.Context, host string, b *backend) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if now, _ := s.find(host); now != b {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return false
}

func (s *Service) problem(w http.ResponseWriter, r *http.Request, p Problem) {
	w.Header().Set("Cache-Control", "no-store")
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	if s.Page != nil {
		s.Page(w, r, p)
		return
	}
	http.Error(w, p.Title+". "+p.Message, p.Status)
}

func hostOf(hostport string) string {
	host := hostport
	if name, _, err := net.SplitHostPort(hostport); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
