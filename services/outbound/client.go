package outbound

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxRedirects is how many times a client follows an answer to another address.
const maxRedirects = 5

// safeHeaders are the only request headers that travel to another host when it is redirected there.
var safeHeaders = []string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "Range", "User-Agent"}

// HTTPClient gives a client for requests made for a user: every connection goes through the guard, no proxy is
// taken from the environment, redirects are few and carry no credential to another host. The caller limits how
// much it reads and sets the request's deadline; none is longer than 60 seconds. It holds connections: make one and
// keep it.
func (g *Guard) HTTPClient() *http.Client {
	return &http.Client{Transport: g.Transport(), CheckRedirect: checkRedirect, Timeout: 60 * time.Second}
}

// Transport gives the guarded transport on which HTTPClient stands, for callers that decide about redirects and
// deadlines themselves.
func (g *Guard) Transport() *http.Transport {
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            g.DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  30 * time.Second,
		IdleConnTimeout:        60 * time.Second,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    8,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// RedirectError tells that a host wanted a request which changes something to be sent to another host.
type RedirectError struct{ Method, Host string }

// Error names the method and the other host.
func (e *RedirectError) Error() string {
	return fmt.Sprintf("refused to send a %s on to another host (%s)", e.Method, e.Host)
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	first := via[0].URL
	if first.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("refused a redirect from https to " + req.URL.Scheme)
	}
	if sameOrigin(first, req.URL) {
		return nil
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return &RedirectError{Method: req.Method, Host: req.URL.Host}
	}
	req.URL.User = nil
	req.Header = onlySafe(req.Header)
	return nil
}

func onlySafe(header http.Header) http.Header {
	kept := http.Header{}
	for _, name := range safeHeaders {
		if values := header.Values(name); len(values) > 0 {
			kept[name] = values
		}
	}
	return kept
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}
