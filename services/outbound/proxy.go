package outbound

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// Proxy is an HTTP forward proxy on the loopback interface for programs that dial themselves, such as git. All it
// connects to goes through the guard, redirects included. Each use opens a Session with credentials of its own.
type Proxy struct {
	Guard *Guard

	server   *http.Server
	listener net.Listener
	forward  *httputil.ReverseProxy
	mu       sync.Mutex
	sessions map[string]*Session
}

// Session is the right to use the proxy for one command, and the memory of what was refused to it.
type Session struct {
	proxy    *Proxy
	name     string
	password string
	closed   chan struct{}

	mu  sync.Mutex
	err error
}

type sessionKey struct{}

// Listen starts the proxy on a free port of 127.0.0.1 and serves until Close.
func (p *Proxy) Listen() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.listener = listener
	p.sessions = map[string]*Session{}
	transport := p.Guard.Transport()
	transport.DisableCompression = true
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := p.Guard.DialContext(ctx, network, addr)
		if s, ok := ctx.Value(sessionKey{}).(*Session); ok && err != nil {
			s.note(err)
		}
		return conn, err
	}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.Host = r.In.Host },
		Transport:     transport,
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, err error) { writeDialError(w, err) },
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	go func() { _ = p.server.Serve(listener) }()
	return nil
}

// Close stops the proxy and cuts what goes through it.
func (p *Proxy) Close() error {
	if p.server == nil {
		return nil
	}
	return p.server.Close()
}

// Open starts a session; the caller closes it when its command has ended.
func (p *Proxy) Open() *Session {
	s := &Session{proxy: p, name: rand.Text(), password: rand.Text(), closed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[s.name] = s
	return s
}

// Close ends the right to use the proxy and cuts the session's tunnels. It is called once.
func (s *Session) Close() {
	s.proxy.mu.Lock()
	delete(s.proxy.sessions, s.name)
	s.proxy.mu.Unlock()
	close(s.closed)
}

// URL is the proxy's address with the session's credentials, as git's http.proxy takes it.
func (s *Session) URL() string {
	return (&url.URL{Scheme: "http", User: url.UserPassword(s.name, s.password), Host: s.proxy.listener.Addr().String()}).String()
}

// Err is the last reason why a connection could not be made in this session, nil when all were.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Session) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// ServeHTTP answers CONNECT and absolute-form requests of sessions that are open.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	session := p.session(r)
	if session == nil {
		w.Header().Set("Proxy-Authenticate", `Basic realm="slipway"`)
		http.Error(w, "proxy credentials needed", http.StatusProxyAuthRequired)
		return
	}
	r.Header.Del("Proxy-Authorization")
	ctx := context.WithValue(r.Context(), sessionKey{}, session)
	switch {
	case r.Method == http.MethodConnect:
		p.tunnel(ctx, w, r, session)
	case r.URL.Scheme == "http" && r.URL.Host != "":
		p.forward.ServeHTTP(w, r.WithContext(ctx))
	default:
		http.Error(w, "this is a forward proxy", http.StatusBadRequest)
	}
}

func (p *Proxy) session(r *http.Request) *Session {
	name, password, ok := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
	if !ok {
		return nil
	}
	p.mu.Lock()
	s := p.sessions[name]
	p.mu.Unlock()
	if s == nil || subtle.ConstantTimeCompare([]byte(s.password), []byte(password)) != 1 {
		return nil
	}
	return s
}

func (p *Proxy) tunnel(ctx context.Context, w http.ResponseWriter, r *http.Request, session *Session) {
	upstream, err := p.Guard.DialContext(ctx, "tcp", r.Host)
	if err != nil {
		session.note(err)
		writeDialError(w, err)
		return
	}
	defer upstream.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	_ = client.SetDeadline(time.Time{})
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{}, 2)
	go pipe(upstream, buffered, done)
	go pipe(client, upstream, done)
	for range 2 {
		select {
		case <-done:
		case <-session.closed:
			return
		}
	}
}

// pipe copies one direction and passes its end on, so that a half-closed connection drains before it is cut.
func pipe(to net.Conn, from io.Reader, done chan<- struct{}) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	done <- struct{}{}
}

func writeDialError(w http.ResponseWriter, err error) {
	var refused *RefusedError
	if errors.As(err, &refused) {
		http.Error(w, refused.Error(), http.StatusForbidden)
		return
	}
	http.Error(w, "the host could not be reached", http.StatusBadGateway)
}
