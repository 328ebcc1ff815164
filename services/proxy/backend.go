package proxy

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"

	"slipway.dev/models"
)

// maxHeader bounds the head of an app's answer.
const maxHeader = 256 << 10

// backend is a deployment's instances. Each has transports of its own, so that
// no idle connection outlives it when another instance gets its port.
type backend struct {
	deployment string
	target     string
	protocol   models.Protocol
	addresses  []string
	proxy      *httputil.ReverseProxy
	dial       func(ctx context.Context, targetID, network, address string) (net.Conn, error)
	transport  atomic.Pointer[transport]
	pool       *pool // nil where the app does not speak HTTP/1.1
	next       atomic.Uint64
	inFlight   atomic.Int64
	tally      tally
	draining   atomic.Bool
	idle       chan struct{}
	life       context.Context
	kill       context.CancelFunc // ends the requests that outlive the drain
}

// transport is how requests go to a backend within a place's limits; other limits make another one.
type transport struct {
	limits models.PlaceLimits
	http1  *http.Transport
	http2  *http.Transport // nil where the app speaks HTTP/1.1
}

func (s *Service) newBackend(r *row, limits models.PlaceLimits) *backend {
	b := &backend{deployment: r.DeploymentID, target: r.TargetID, protocol: r.Protocol, addresses: r.Addresses, dial: s.Dial, idle: make(chan struct{}, 1)}
	b.life, b.kill = context.WithCancel(context.Background())
	b.limit(limits)
	if r.Protocol != models.ProtocolH2C {
		b.pool = &pool{dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return b.dial(ctx, b.target, network, address)
		}}
	}
	b.proxy = &httputil.ReverseProxy{
		Transport:      b,
		BufferPool:     buffers,
		ErrorLog:       log.New(io.Discard, "", 0),
		Rewrite:        s.rewrite(b),
		ModifyResponse: s.received(b),
		ErrorHandler:   s.failed(b),
	}
	return b
}

// limit puts other limits into force, for requests that come from now on.
func (b *backend) limit(limits models.PlaceLimits) {
	before := b.transport.Load()
	if before != nil && before.limits == limits {
		return
	}
	t := &transport{limits: limits, http1: b.newTransport(limits)}
	if b.protocol == models.ProtocolH2C {
		t.http2 = b.newTransport(limits)
		t.http2.Protocols = new(http.Protocols)
		t.http2.Protocols.SetUnencryptedHTTP2(true)
	}
	b.transport.Store(t)
	if before != nil {
		before.closeIdle()
	}
}

func (b *backend) newTransport(limits models.PlaceLimits) *http.Transport {
	connect := time.Duration(limits.Connect) * time.Second
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, connect)
			defer cancel()
			return b.dial(ctx, b.target, network, address)
		},
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        30 * time.Second,
		ResponseHeaderTimeout:  time.Duration(limits.FirstByte) * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
	}
}

// RoundTrip sends a request to an instance: by HTTP/2 where the app speaks it,
// unless the visitor wants another protocol instead, which HTTP/1.1 alone can change to.
func (b *backend) RoundTrip(r *http.Request) (*http.Response, error) {
	t := b.transport.Load()
	if v := visitOf(r.Context()); v != nil && v.asked != nil {
		u := v.asked
		v.asked = nil
		return u.answer(r, time.Duration(t.limits.FirstByte)*time.Second)
	}
	if t.http2 != nil && r.Header.Get("Upgrade") == "" {
		return t.http2.RoundTrip(r)
	}
	return t.http1.RoundTrip(r)
}

func (t *transport) closeIdle() {
	t.http1.CloseIdleConnections()
	if t.http2 != nil {
		t.http2.CloseIdleConnections()
	}
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

// serve sends the request to an instance. Unless the visit's end is answered,
// nothing of an answer was sent, and the request may go to another backend.
func (b *backend) serve(w http.ResponseWriter, r *http.Request, v *visit) {
	defer b.release()
	v.end = answered
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), visitKey{}, v))
	defer cancel(nil)
	defer context.AfterFunc(b.life, func() { cancel(nil) })()
	out := r.WithContext(ctx)
	if v.body != nil {
		out.Body = v.body
	}
	v.watch = &watch{}
	v.watch.start(w, r, time.Duration(b.transport.Load().limits.Idle)*time.Second, cancel)
	defer v.watch.end()
	if !v.watch.asked.Load() {
		if v.route.place.body > 0 {
			out.Body = http.MaxBytesReader(w, out.Body, v.route.place.body)
		}
		out.Body = v.watch.request(out.Body)
	}
	b.proxy.ServeHTTP(w, out)
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
	b.transport.Load().closeIdle()
	if b.pool != nil {
		b.pool.close()
	}
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
