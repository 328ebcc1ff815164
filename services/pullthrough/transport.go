package pullthrough

import (
	"errors"
	"net/http"
	"time"

	"slipway.dev/services/outbound"
)

// transports lead to upstreams without a login: through the guard, and never on from TLS to none.
type transports struct{ guarded *http.Transport }

func newTransports(g *outbound.Guard) transports {
	t := g.Transport()
	t.ResponseHeaderTimeout = 30 * time.Second
	return transports{t}
}

// RoundTrip sends the request.
func (t transports) RoundTrip(r *http.Request) (*http.Response, error) {
	first := r
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	if first.URL.Scheme == "https" && r.URL.Scheme != "https" {
		return nil, errors.New("refused a redirect from https to " + r.URL.Scheme)
	}
	return t.guarded.RoundTrip(r)
}
