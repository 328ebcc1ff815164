// Package proxy stands in front of the instances: it sends a request for an
// app's host name and path to the instances of the deployment that serves it.
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
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/events"
	"slipway.dev/services/secrets"
)

// Service is one proxy. Run must run for it to know its routes.
type Service struct {
	DB     *models.Database
	Events *events.Service
	Box    *secrets.Box // opens the keys of certificates
	Scheme string       // http or https, as people reach it
	Portal string       // the portal's own host, which has a certificate too
	// TLSPort is the port at which visitors find the listener for TLS; empty: there is none.
	TLSPort string
	Trusted []netip.Prefix // proxies in front of this one, whose forwarding headers count
	// Dial connects to an address at which an instance of the target answers.
	Dial func(ctx context.Context, targetID, network, address string) (net.Conn, error)
	// Cookies are the names of the portal's own cookies, which no app may get or set.
	Cookies []string
	// Page answers a request that no instance can answer; plain text where nil.
	Page func(w http.ResponseWriter, r *http.Request, p Problem)

	table   atomic.Pointer[table]
	news    news
	self    models.Proxy
	held    map[string]bool // deployments that the database knows this proxy to hold
	told    map[string]bool // deployments of which the database knows that requests go to them
	ended   chan *backend   // backends that have drained
	open    map[*backend]bool
	serving map[version]*backend // what gets new requests
	leads   map[string]bool      // deployments to which all visitors of a place go, or all but those of a share
	shown   map[string]*shown    // certificates by id
}

// Problem is why no instance answers.
type Problem struct {
	Status  int
	Title   string
	Message string
	Retry   time.Duration // when to try again; 0: nobody knows
	Bypass  string        // where a visitor with a code can send it; empty: nowhere
}

const soon = 5 * time.Second

// The problems that a visitor can meet. They tell nothing about what is behind.
var (
	Unknown      = Problem{Status: http.StatusNotFound, Title: "Nothing is here", Message: "No app has this address."}
	NotDeployed  = Problem{Status: http.StatusNotFound, Title: "Not deployed yet", Message: "This address is kept for an app that was not deployed here yet. Come back when it was."}
	Stopped      = Problem{Status: http.StatusServiceUnavailable, Title: "Stopped", Message: "Somebody of the app's team has stopped it.", Retry: soon}
	NotRunning   = Problem{Status: http.StatusServiceUnavailable, Title: "Not running", Message: "The app does not run at the moment. Its team can see why in Slipway.", Retry: soon}
	Updating     = Problem{Status: http.StatusServiceUnavailable, Title: "One moment", Message: "The app is being brought up to date and answers again soon. Try again in a minute.", Retry: soon}
	NotAnswering = Problem{Status: http.StatusBadGateway, Title: "The app does not answer", Message: "The app runs and gave no answer to this request. Try again; its team can see why in Slipway."}
	Starting     = Problem{Status: http.StatusServiceUnavailable, Title: "One moment", Message: "Slipway has just started. Try again in a second.", Retry: time.Second}
	TooSlow      = Problem{Status: http.StatusGatewayTimeout, Title: "The app takes too long", Message: "The app got this request and did not begin to answer within its time limit. Its team can see why in Slipway, and change the limit."}
	StoodStill   = Problem{Status: http.StatusGatewayTimeout, Title: "The request stood still", Message: "Nothing was sent for longer than this app's time limit allows."}
	TooLarge     = Problem{Status: http.StatusRequestEntityTooLarge, Title: "Too large", Message: "The request is larger than this app takes. Its team can change the limit in Slipway."}
	BadPath      = Problem{Status: http.StatusBadRequest, Title: "This address is ambiguous", Message: "Its path has segments of dots, which could lead to one app or to another. Open it without them."}
	BadMethod    = Problem{Status: http.StatusMethodNotAllowed, Title: "Not a proxy for that", Message: "This server forwards no connections."}
	Misdirected  = Problem{Status: http.StatusMisdirectedRequest, Title: "Another connection is needed", Message: "This connection was made for another host name."}
)

// patience is how long a request waits at least for its app to be somewhere
// else after nobody took its connection.
const patience = 2 * time.Second

// Serves tells whether the host is one at which visitors find an app.
func (s *Service) Serves(name string) bool {
	t := s.table.Load()
	return t != nil && t.hosts[name] != nil
}

// ServeHTTP sends the request to the app of its host name and path.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a := askedFor(r); a != nil {
		s.resume(w, r, a)
		return
	}
	name := HostOf(r.Host)
	s.news.settle(r.Context())
	h, problem := s.host(name)
	switch {
	case h == nil:
		s.problem(w, r, problem)
		return
	case r.Method == http.MethodConnect:
		s.problem(w, r, BadMethod)
		return
	case s.misdirected(name, r):
		s.problem(w, r, Misdirected)
		return
	}
	scheme := s.scheme(r)
	if scheme == "http" && h.redirect && h.secure && s.TLSPort != "" {
		s.toHTTPS(w, r, name)
		return
	}
	hsts := h.hsts != "" && scheme == "https"
	if hsts {
		w.Header().Set("Strict-Transport-Security", h.hsts)
	}
	to, rest, problem := h.match(r)
	if to == nil {
		s.problem(w, r, problem)
		return
	}
	if to.place.preview {
		w.Header().Set("X-Robots-Tag", "noindex, nofollow") // https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag
	}
	if m := to.place.closed(time.Now()); m != nil && !s.admitted(w, r, m, to, scheme) {
		return
	}
	if to.place.body > 0 && r.ContentLength > to.place.body {
		s.problem(w, r, TooLarge)
		return
	}
	s.send(w, r, &visit{name: name, scheme: scheme, route: to, rest: rest, hsts: hsts, body: keep(r)})
}

// send gives the request to a backend of its place, and to another one where the first one did not answer and the
// request may be asked again.
func (s *Service) send(w http.ResponseWriter, r *http.Request, v *visit) {
	var failed []*backend // that did not answer
	for range 10 {
		b, problem := s.answers(r, v.route.place, failed)
		if b == nil {
			s.problem(w, r, problem)
			return
		}
		if b.acquire() {
			if b.serve(w, r, v); v.end == answered {
				return
			}
			failed = append(failed, b)
			if !s.moved(r, v, failed) {
				break
			}
		}
		s.again(r, v) // it was replaced
	}
	s.problem(w, r, NotAnswering)
}

// host returns what answers for the host name, or why nothing does.
func (s *Service) host(name string) (*host, Problem) {
	t := s.table.Load()
	if t == nil {
		return nil, Starting
	}
	return t.hosts[name], Unknown
}

// again looks the request's route up in what the proxy knows now.
func (s *Service) again(r *http.Request, v *visit) {
	h, _ := s.host(v.name)
	if h == nil {
		v.route = &route{path: "/", place: &place{}}
		return
	}
	if to, rest, _ := h.match(r); to != nil {
		v.route, v.rest = to, rest
	}
}

// moved waits for the request to be answered by another backend than those that did
// not answer: until the routes were read anew, and where nobody even took the
// connection for a while longer, for the instances may be on their way elsewhere.
func (s *Service) moved(r *http.Request, v *visit, failed []*backend) bool {
	began, atLeast := time.Now(), time.Duration(0)
	if v.end == refused {
		atLeast = patience
	}
	for {
		read, changed := s.news.since()
		s.again(r, v)
		if now, _ := s.answers(r, v.route.place, failed); !slices.Contains(failed, now) {
			return true
		}
		passed := time.Since(began)
		if passed > longest || passed > atLeast && read.After(began) {
			return false
		}
		again := time.NewTimer(max(atLeast-passed, countEvery))
		select {
		case <-r.Context().Done():
			again.Stop()
			return false
		case <-changed:
			again.Stop()
		case <-again.C:
		}
	}
}

func (s *Service) problem(w http.ResponseWriter, r *http.Request, p Problem) {
	w.Header().Set("Cache-Control", "no-store")
	if p.Retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((p.Retry+time.Second-1)/time.Second)))
	}
	if s.Page != nil {
		s.Page(w, r, p)
		return
	}
	http.Error(w, p.Title+". "+p.Message, p.Status)
}

// HostOf is the host name of a request's Host: without port, in lower case, without a dot at its end.
func HostOf(hostport string) string {
	name := hostport
	if strings.IndexByte(name, ':') >= 0 {
		if without, _, err := net.SplitHostPort(name); err == nil {
			name = without
		}
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
