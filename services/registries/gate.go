package registries

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"slipway.dev/models"
)

const (
	patience      = 30 * time.Second // for a manifest, a token or a page of a list, whole, and for the next byte of a blob
	answerTime    = 5 * time.Minute  // until a registry has taken in the end of a large blob
	maxDocument   = 4 << 20          // bytes of a manifest or a token, as the specification advises
	maxListPage   = 8 << 20          // bytes of one page of a list
	maxListsBytes = 64 << 20         // bytes of all pages that one Remote reads
	maxListPages  = 500              // that one Remote reads
)

// ForeignError tells that a registry wanted its credential or what is pushed to go to another host.
type ForeignError struct {
	Registry string // the registry's host
	Host     string // where it would have gone
	What     string // what was held back, such as "its login"
}

// Error names both hosts.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("the registry %s wants %s sent to %s, which is not its own host and was not confirmed by an admin", e.Registry, e.What, e.Host)
}

// DowngradeError tells that a registry led from https to http.
type DowngradeError struct{ Registry, Host string }

// Error names both hosts.
func (e *DowngradeError) Error() string {
	return fmt.Sprintf("the registry %s leads to %s without TLS", e.Registry, e.Host)
}

// SizeError tells that a registry answered with more than it may.
type SizeError struct {
	Registry string
	Limit    int64 // bytes
}

// Error names the limit.
func (e *SizeError) Error() string {
	return fmt.Sprintf("the registry %s answered with more than the %d MiB that are read of such an answer", e.Registry, e.Limit>>20)
}

// way is how a registry is reached: the connections to it and the hosts that may have its credential.
type way struct {
	name      string // the registry's host, for messages
	home      string // host and port of its API
	plain     bool
	tokens    []string // hosts and ports that give its tokens
	transport *http.Transport
	elsewhere http.RoundTripper // to hosts that it redirects to
	updated   time.Time
}

// way returns the connections to the registry; they are made anew after it was changed.
func (s *Service) way(r *models.Registry) (way, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.ways[r.ID]; ok && w.updated.Equal(r.UpdatedAt) {
		return w, nil
	}
	kind, err := KindOf(r.Kind)
	if err != nil {
		return way{}, err
	}
	t := s.Guard.Transport()
	t.ResponseHeaderTimeout = answerTime
	if pem := r.Settings[fieldCA]; pem != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM([]byte(pem))
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	w := way{name: r.Host, home: withPort(apiHost(r.Host), r.PlainHTTP), plain: r.PlainHTTP, transport: t, elsewhere: t, updated: r.UpdatedAt}
	for _, host := range append([]string{r.Realm}, kind.Realms...) {
		if host != "" {
			w.tokens = append(w.tokens, withPort(host, r.PlainHTTP))
		}
	}
	if s.ways == nil {
		s.ways = map[string]way{}
	}
	if old, ok := s.ways[r.ID]; ok {
		old.transport.CloseIdleConnections()
	}
	s.ways[r.ID] = w
	return w, nil
}

// ownWay leads to the embedded registry, which may be on this machine or in a network of ours.
func (s *Service) ownWay(r *models.Registry) way {
	s.once.Do(func() {
		s.own = http.DefaultTransport.(*http.Transport).Clone()
		s.own.ResponseHeaderTimeout = answerTime
		s.own.MaxIdleConnsPerHost = 8
		s.beyond = s.Guard.Transport()
	})
	return way{name: r.Host, home: withPort(r.Host, r.PlainHTTP), plain: r.PlainHTTP, transport: s.own, elsewhere: s.beyond}
}

// gate is what every request of one Remote goes through last. It holds back
// credentials and contents from hosts that are not the registry's, requires
// TLS, and bounds what comes back.
type gate struct {
	way
	patience     time.Duration // for a document, whole, and for a blob's next byte
	lists, pages atomic.Int64
}

func (s *Service) newGate(w way) *gate { return &gate{way: w, patience: s.patience()} }

// RoundTrip sends the request if it may go where it wants to.
func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	home, err := g.check(r)
	limit := int64(0)
	if err == nil {
		limit, err = g.limit(r)
	}
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	var through http.RoundTripper = g.transport
	if !home {
		through = g.elsewhere
	}
	return g.send(r, through, limit)
}

// check tells whether the request goes to the registry's own host, and fails where it may not be sent.
func (g *gate) check(r *http.Request) (home bool, err error) {
	host := strings.ToLower(r.URL.Host)
	if r.URL.Scheme != "https" && (r.URL.Scheme != "http" || !g.plain) {
		return false, &DowngradeError{g.name, host}
	}
	at := withPort(host, r.URL.Scheme == "http")
	if r.Host != "" && !strings.EqualFold(r.Host, r.URL.Host) {
		return false, &ForeignError{g.name, r.Host, "a request"}
	}
	if r.URL.User != nil {
		return false, &ForeignError{g.name, host, "a login in an address"}
	}
	if at == g.home || g.plain && at == otherPort(g.home, r.URL) {
		return true, nil
	}
	for _, token := range g.tokens {
		if at == token {
			return false, nil
		}
	}
	switch {
	case r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "":
		return false, &ForeignError{g.name, host, "its login"}
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return false, &ForeignError{g.name, host, "what is pushed, or its login,"}
	}
	return false, nil
}

// otherPort is home where the client tries https first on a registry without TLS and without a port.
func otherPort(home string, to *url.URL) string {
	if to.Scheme == "https" && strings.HasSuffix(home, ":80") {
		return strings.TrimSuffix(home, ":80") + ":443"
	}
	return home
}

// limit returns how many bytes may come back; 0 means a blob, which is as large as it is.
func (g *gate) limit(r *http.Request) (int64, error) {
	for r.Response != nil && r.Response.Request != nil { // a redirect's first request says what it is
		r = r.Response.Request
	}
	path := r.URL.Path
	switch {
	case strings.HasSuffix(path, "/tags/list"), strings.HasSuffix(path, "/_catalog"), strings.Contains(path, "/referrers/"):
		if g.pages.Add(1) > maxListPages || g.lists.Load() > maxListsBytes {
			return 0, &SizeError{g.name, maxListsBytes}
		}
		return maxListPage, nil
	case strings.Contains(path, "/blobs/") && strings.HasPrefix(path, "/v2/"):
		return 0, nil
	}
	return maxDocument, nil
}

func (g *gate) send(r *http.Request, through http.RoundTripper, limit int64) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	body := &watched{gate: g, cancel: cancel, limit: limit}
	if limit > 0 { // the whole answer; a blob's clock begins with its body, since what is sent takes as long as it takes
		body.timer = time.AfterFunc(g.patience, func() { cancel(errSlow) })
	}
	answer, err := through.RoundTrip(r.WithContext(ctx))
	if err != nil {
		body.stop()
		if cause := context.Cause(ctx); errors.Is(cause, errSlow) {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	if limit == 0 {
		body.timer = time.AfterFunc(g.patience, func() { cancel(errSlow) })
	}
	body.ctx, body.from = ctx, answer.Body
	answer.Body = body
	return answer, nil
}

var errSlow = errors.New("the registry takes too long to answer")

// watched is an answer's body, of which so much is read and no longer waited for.
type watched struct {
	gate   *gate
	ctx    context.Context
	cancel context.CancelCauseFunc
	from   io.ReadCloser
	timer  *time.Timer
	limit  int64 // bytes; 0: any number
	read   int64
}

func (w *watched) Read(p []byte) (int, error) {
	if w.limit == 0 {
		w.timer.Reset(w.gate.patience)
	}
	n, err := w.from.Read(p)
	w.read += int64(n)
	if w.limit == maxListPage {
		w.gate.lists.Add(int64(n))
	}
	if w.limit > 0 && w.read > w.limit {
		w.stop()
		w.cancel(nil) // the client library does not close what it could not read
		return 0, &SizeError{w.gate.name, w.limit}
	}
	if err != nil && errors.Is(context.Cause(w.ctx), errSlow) {
		err = errSlow // also for an end, which may be the other side's answer to being given up
	}
	return n, err
}

func (w *watched) Close() error {
	w.stop()
	err := w.from.Close()
	w.cancel(nil)
	return err
}

func (w *watched) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// withPort is the host with the port that its scheme means.
func withPort(host string, plain bool) string {
	u := url.URL{Host: strings.ToLower(host)}
	if u.Port() != "" {
		return u.Host
	}
	if plain {
		return u.Host + ":80"
	}
	return u.Host + ":443"
}
