package proxy

import (
	"cmp"
	"crypto/tls"
	"net/http"
	"slices"
	"strings"
	"time"

	"slipway.dev/models"
)

// table is what the proxy knows at one moment; it is replaced, never changed.
type table struct {
	hosts        map[string]*host
	certificates map[string]*tls.Certificate // by host, the portal's own among them
}

// host is what answers for a host name.
type host struct {
	routes   []*route // the longest path first
	judged   bool     // the path decides
	redirect bool     // http becomes https
	hsts     string   // the header's value; empty: none
	secure   bool     // there is a certificate that counts
}

// route sends what is below a path to a place.
type route struct {
	path     string
	segments []string // of the path
	strip    bool
	place    *place
}

// place is an app in an environment.
type place struct {
	backend     *backend // nil where nothing runs
	next        *backend // to which a part of the visitors goes already; nil: to none
	share       share    // of next
	stopped     bool
	paused      bool // one version has stopped, and the next one has not started yet
	known       bool // something was deployed there once
	preview     bool // of a pull request: no search engine is to list it
	body        int64
	maintenance *models.Maintenance
}

type placeKey struct{ environment, app string }

func newRoute(path string, strip bool, p *place) *route {
	r := &route{path: path, strip: strip, place: p}
	if path != "/" {
		r.segments = strings.Split(path[1:], "/")
	}
	return r
}

// order puts the longest paths first.
func (h *host) order() {
	slices.SortFunc(h.routes, func(a, b *route) int { return cmp.Compare(len(b.segments), len(a.segments)) })
	h.judged = len(h.routes) > 1 || h.routes[0].path != "/"
}

// match finds the route of the request. Rest is the path that the app sees where its own is stripped.
func (h *host) match(r *http.Request) (to *route, rest string, problem Problem) {
	if !h.judged {
		return h.routes[0], "", Problem{}
	}
	escaped := r.URL.EscapedPath()
	if ambiguous(escaped) {
		return nil, "", BadPath
	}
	for _, to := range h.routes {
		if rest, ok := below(escaped, to.segments); ok {
			return to, rest, Problem{}
		}
	}
	return nil, "", Unknown
}

// answers returns who answers at the place, or why nobody does.
func (p *place) answers() (*backend, Problem) {
	switch {
	case p.backend != nil:
		return p.backend, Problem{}
	case !p.known:
		return nil, NotDeployed
	case p.stopped:
		return nil, Stopped
	case p.paused:
		return nil, Updating
	}
	return nil, NotRunning
}

// closed returns the maintenance that keeps visitors away from the place at the moment; nil: none does.
func (p *place) closed(now time.Time) *models.Maintenance {
	if p.maintenance == nil || !p.maintenance.On(now) {
		return nil
	}
	return p.maintenance
}
