package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// largestHead is the size of the heads that the front reads itself; the server reads what is larger.
const largestHead = 8 << 10

// Front stands before a server on one port. Each connection is the front's at first: as long as nothing but plain
// requests for apps come, it answers them on one goroutine, with two writes and two reads each. At the first request
// that is anything else, and before a byte of it is taken, the connection becomes the server's for good.
type Front struct {
	net.Listener
	service *Service
	header  time.Duration // for the head of a request
	idle    time.Duration // for the next one
	handed  chan accepted
	running sync.WaitGroup
	closing atomic.Bool
	closed  sync.Once
	done    chan struct{} // closed once the front was closed and has no connections any more

	mu    sync.Mutex
	conns map[*visitorConn]bool
}

type accepted struct {
	conn net.Conn
	err  error
}

type connKey struct{}

// Front returns what the server is to serve instead of the listener: connections on which there is something else to
// do than to send plain requests by HTTP/1.1 to apps. Others it serves itself, within the server's limits of time, of
// which each may come a quarter too early. It begins at once and ends with Close, to which Drain belongs. The
// server's ConnContext and ConnState become the front's.
func (s *Service) Front(server *http.Server, l net.Listener) *Front {
	f := &Front{Listener: l, service: s, header: server.ReadHeaderTimeout, idle: server.IdleTimeout, handed: make(chan accepted), done: make(chan struct{}), conns: map[*visitorConn]bool{}}
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if c, ours := c.(*visitorConn); ours && state != http.StateNew && state != http.StateActive {
			c.forget()
			if c.last != nil {
				c.last()
			}
		}
	}
	f.running.Go(f.accept)
	return f
}

// accept takes connections until the listener is closed.
func (f *Front) accept() {
	for {
		conn, err := f.Listener.Accept()
		if err != nil && f.closing.Load() {
			return
		}
		tcp, ok := conn.(*net.TCPConn)
		if err != nil || !ok {
			f.handed <- accepted{conn, err} // the server knows which errors pass
			continue
		}
		f.running.Go(func() { f.serve(tcp) })
	}
}

// Accept returns the next connection that is the server's.
func (f *Front) Accept() (net.Conn, error) {
	select {
	case a := <-f.handed:
		return a.conn, a.err
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Drain takes no more connections, closes those that are idle, and returns when each request under way was answered
// or handed over, or when ctx ends. It has to come before the server's Shutdown, after which that takes no connections.
func (f *Front) Drain(ctx context.Context) error {
	err := f.stop()
	empty := make(chan struct{})
	go func() {
		f.running.Wait()
		close(empty)
	}()
	select {
	case <-empty:
		return err
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
}

func (f *Front) stop() error {
	if f.closing.Swap(true) {
		return nil
	}
	err := f.Listener.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		err = errors.Join(err, c.SetReadDeadline(time.Unix(1, 0)))
	}
	return err
}

// Close takes no more connections. Accept returns no more either, once there are none to hand over.
func (f *Front) Close() error {
	err := f.stop()
	f.closed.Do(func() {
		go func() {
			f.running.Wait()
			close(f.done)
		}()
	})
	return err
}

// serve answers the requests on the connection until it ends or becomes the server's.
func (f *Front) serve(tcp *net.TCPConn) {
	c := &visitorConn{Conn: tcp, tcp: tcp, front: f, remote: tcp.RemoteAddr().String(), in: bufio.NewReaderSize(tcp, largestHead)}
	f.mu.Lock()
	f.conns[c] = true
	f.mu.Unlock()
	next := c.requests()
	f.mu.Lock()
	delete(f.conns, c)
	f.mu.Unlock()
	if !next {
		c.Close()
		return
	}
	c.replay()
	if f.closing.Load() { // a server that shuts down drops requests that its handler did not get yet
		f.running.Add(1)
		c.last = sync.OnceFunc(f.running.Done)
	}
	f.handed <- accepted{conn: c}
}

// visitorConn is a visitor's connection, with what was read of it already.
type visitorConn struct {
	net.Conn
	tcp    *net.TCPConn
	front  *Front
	remote string
	in     *bufio.Reader
	readBy deadline
	sendBy deadline
	out    bytes.Buffer  // the head that is sent to the app, then the answer
	parsed bytes.Reader  // what is being parsed
	parser *bufio.Reader // reads it
	rest   []byte        // what the server reads first
	asked  atomic.Pointer[asked]
	last   func() // to be called when the server has answered the next request; nil: nobody waits for it
}

// requests answers plain requests; true: the next one is for the server.
func (c *visitorConn) requests() (next bool) {
	for first := true; ; first = false {
		head, err := c.head(first)
		if err != nil {
			return errors.Is(err, errUnusual) || c.front.closing.Load() && c.in.Buffered() > 0
		}
		r := c.plain(head)
		if r == nil {
			return true
		}
		switch c.front.service.exchange(c, r, len(head)) {
		case toServer:
			return true
		case ended:
			return false
		}
	}
}

var errUnusual = errors.New("not a plain message")

// head waits for the head of the next request and returns it without taking it.
func (c *visitorConn) head(first bool) ([]byte, error) {
	limit, begun := c.front.idle, first
	if first {
		limit = c.front.header
	}
	if err := c.readBy.within(limit, c.tcp.SetReadDeadline); err != nil {
		return nil, err
	}
	for {
		have, _ := c.in.Peek(c.in.Buffered())
		if end := bytes.Index(have, headEnd); end >= 0 {
			return have[:end+len(headEnd)], nil
		}
		if len(have) == c.in.Size() || bareFeed(have) || len(have) >= len("HEAD /") && !mayBePlain(have) {
			return nil, errUnusual
		}
		if len(have) > 0 && !begun { // however slowly the rest comes
			begun, c.readBy = true, deadline{}
			if err := c.readBy.within(c.front.header, c.tcp.SetReadDeadline); err != nil {
				return nil, err
			}
		}
		if c.front.closing.Load() {
			return nil, net.ErrClosed
		}
		if _, err := c.in.Peek(len(have) + 1); err != nil {
			return nil, err
		}
	}
}

// bareFeed tells whether a line ends without a carriage return, as in heads that end where the front would not see it.
func bareFeed(head []byte) bool {
	return bytes.Count(head, []byte("\n")) != bytes.Count(head, []byte("\r\n"))
}

// replay has the server read what was read already.
func (c *visitorConn) replay() {
	c.rest, _ = io.ReadAll(io.LimitReader(c.in, int64(c.in.Buffered())))
	c.in, c.parser, c.out = nil, nil, bytes.Buffer{}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return // it is closed, as the server will see
	}
}

func (c *visitorConn) Read(p []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		if c.rest = c.rest[n:]; len(c.rest) == 0 {
			c.rest = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// ReadFrom has the kernel copy where it can.
func (c *visitorConn) ReadFrom(r io.Reader) (int64, error) { return c.tcp.ReadFrom(r) }

// CloseWrite ends what is sent.
func (c *visitorConn) CloseWrite() error { return c.tcp.CloseWrite() }

// forget gives up the answer that the front asked for and the server did not wait for: no other request gets it.
func (c *visitorConn) forget() {
	if a := c.asked.Swap(nil); a != nil {
		a.conn.Close()
		a.backend.release()
	}
}

// deadline is one of a connection's, which is set anew only when a quarter of its time has passed: setting it takes
// longer than looking at the clock.
type deadline struct{ at time.Time }

// within sets the deadline to between three quarters of the limit and all of it from now. 0 is no limit.
func (d *deadline) within(limit time.Duration, set func(time.Time) error) error {
	if limit <= 0 {
		if d.at.IsZero() {
			return nil
		}
		d.at = time.Time{}
		return set(d.at)
	}
	now := time.Now()
	if left := d.at.Sub(now); left >= limit-limit/4 && left <= limit {
		return nil
	}
	d.at = now.Add(limit)
	return set(d.at)
}
