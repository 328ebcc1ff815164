package proxy

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// dialTime bounds the making of a connection to an instance.
const dialTime = 10 * time.Second

// backend is a deployment's instances. Each has a transport of its own, so that
// no idle connection outlives it when another instance gets its port.
type backend struct {
	deployment string
	preview    bool // of a pull request: no search engine is to list it
	addresses  []string
	proxy      *httputil.ReverseProxy
	transport  *http.Transport
	next       atomic.Uint64
	inFlight   atomic.Int64
	draining   atomic.Bool
	idle       chan struct{}
	life       context.Context
	kill       context.CancelFunc // ends the requests that outlive the drain
}

func (s *Service) newBackend(deployment, target string, addresses []string) *backend {
	b := &backend{deployment: deployment, addresses: addresses, idle: make(chan struct{}, 1)}
	b.life, b.kill = context.WithCancel(context.Background())
	b.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTime)
			defer cancel()
			return s.Dial(ctx, target, network, address)
		},
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: 10 * time.Minute,
		DisableCompression:    true,
	}
	b.proxy = &httputil.ReverseProxy{
		Transport:      b.transport,
		BufferPool:     buffers,
		ErrorLog:       log.New(io.Discard, "", 0),
		Rewrite:        s.rewrite(b),
		ModifyResponse: s.clean,
		ErrorHandler:   s.failed,
	}
	return b
}

// rewrite prepares a request for an app: forwarding headers that came in are
// gone already, those that go out are this proxy's own.
func (s *Service) rewrite(b *backend) func(*httputil.ProxyRequest) {
	return func(p *httputil.ProxyRequest) {
		address := b.addresses[int(b.next.Add(1)%uint64(len(b.addresses)))]
		p.SetURL(&url.URL{Scheme: "http", Host: address})
		p.Out.Host = p.In.Host
		p.SetXForwarded()
		p.Out.Header.Set("X-Forwarded-Proto", s.Scheme)
		p.Out.Header.Del("X-Real-Ip")
		s.withoutCookies(p.Out)
	}
}

// withoutCookies takes the portal's own cookies out of a request. A browser
// does not send them to an app's host; this holds where it does.
func (s *Service) withoutCookies(r *http.Request) {
	if lines := r.Header["Cookie"]; len(lines) == 0 || !s.mentions(lines) {
		return
	}
	all := r.Cookies()
	r.Header.Del("Cookie")
	for _, c := range all {
		if !slices.Contains(s.Cookies, c.Name) {
			r.AddCookie(c)
		}
	}
}

func (s *Service) mentions(lines []string) bool {
	return slices.ContainsFunc(s.Cookies, func(name string) bool {
		return slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, name) })
	})
}

// clean keeps an app from setting cookies for other hosts than its own, the
// portal's among them.
func (s *Service) clean(r *http.Response) error {
	lines := r.Header["Set-Cookie"]
	if len(lines) == 0 {
		return nil
	}
	r.Header.Del("Set-Cookie")
	for _, line := range lines {
		if kept := s.ownCookie(line); kept != "" {
			r.Header.Add("Set-Cookie", kept)
		}
	}
	return nil
}

// ownCookie returns the cookie without its Domain, so that it is the app's
// host's alone, or nothing where it has a name of the portal's.
func (s *Service) ownCookie(line string) string {
	var kept []string
	for i, part := range strings.Split(line, ";") {
		name, _, _ := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if i == 0 && slices.Contains(s.Cookies, name) {
			return ""
		}
		if i > 0 && strings.EqualFold(name, "domain") {
			continue
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, ";")
}

type attemptKey struct{}

// attempt remembers that nobody took the connection for a request.
type attempt struct{ refused bool }

// failed answers a request that an instance did not answer. One whose
// connection nobody took, and which has no body, can still go elsewhere.
func (s *Service) failed(w http.ResponseWriter, r *http.Request, err error) {
	if dial := new(net.OpError); errors.As(err, &dial) && dial.Op == "dial" && (r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0) {
		if a, ok := r.Context().Value(attemptKey{}).(*attempt); ok && r.Context().Err() == nil {
			a.refused = true
			return
		}
	}
	s.problem(w, r, NotAnswering)
}

// acquire counts a request in, unless the backend takes no more.
func (b *backend) acquire() bool {
	b.inFlight.Add(1)
	if b.draining.Load() {
		b.release()
		return false
	}
	return true
}

func (b *backend) release() {
	if b.inFlight.Add(-1) == 0 && b.draining.Load() {
		select {
		case b.idle <- struct{}{}:
		default:
		}
	}
}

// serve sends the request to an instance. It tells whether nobody took the
// connection; then nothing was answered yet.
func (b *backend) serve(w http.ResponseWriter, r *http.Request) (refused bool) {
	defer b.release()
	a := &attempt{}
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), attemptKey{}, a))
	defer cancel()
	defer context.AfterFunc(b.life, cancel)()
	if b.preview {
		w.Header().Set("X-Robots-Tag", "noindex, nofollow") // https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag
	}
	b.proxy.ServeHTTP(w, r.WithContext(ctx))
	return a.refused
}

// drain lets the requests that are under way end, at the deadline by force.
func (b *backend) drain(deadline time.Time) {
	b.draining.Store(true)
	if b.inFlight.Load() > 0 {
		b.await(time.Until(deadline))
	}
	b.kill()
	if b.inFlight.Load() > 0 {
		b.await(2 * time.Second)
	}
	b.transport.CloseIdleConnections()
}

func (b *backend) await(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for b.inFlight.Load() > 0 {
		select {
		case <-b.idle:
		case <-timer.C:
			return
		}
	}
}

// bufferPool lends the buffers that answers are copied with.
type bufferPool struct{ sync.Pool }

func (p *bufferPool) Get() []byte  { return *p.Pool.Get().(*[]byte) }
func (p *bufferPool) Put(b []byte) { p.Pool.Put(&b) }

var buffers = &bufferPool{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}}
