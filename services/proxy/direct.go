package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	mostIdle     = 256              // connections to one instance
	idleTime     = 30 * time.Second // after it, a connection that nobody uses is closed
	largestPlain = 16 << 10         // bytes of an answer that the front passes on itself
)

// pool are connections to the instances of one backend over which the front asks.
type pool struct {
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	blind atomic.Bool // the instances are reached without sockets of this machine, such as through SSH

	mu     sync.Mutex
	closed bool
	idle   map[string][]*directConn // by address, the one used last at the end
	sweep  *time.Timer              // runs while there are idle ones
}

// directConn is a connection to an instance.
type directConn struct {
	net.Conn
	raw     syscall.RawConn
	address string
	in      *bufio.Reader
	by      deadline
	left    int64     // bytes that may still be read
	since   time.Time // idle since
}

func (u *directConn) Read(p []byte) (int, error) {
	if u.left <= 0 {
		return 0, errors.New("the head of the app's answer is too large")
	}
	n, err := u.Conn.Read(p[:min(int64(len(p)), u.left)])
	u.left -= int64(n)
	return n, err
}

// take returns an idle connection that is still good, or a new one.
func (p *pool) take(address string) (*directConn, error) {
	for u := p.pop(address); u != nil; u = p.pop(address) {
		if time.Since(u.since) < idleTime && u.quiet() {
			return u, nil
		}
		u.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), brief)
	defer cancel()
	conn, err := p.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		p.blind.Store(true)
		return nil, errors.Join(errUnusual, conn.Close())
	}
	u := &directConn{Conn: conn, address: address}
	u.in = bufio.NewReaderSize(u, largestPlain)
	if u.raw, err = socket.SyscallConn(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return u, nil
}

func (p *pool) pop(address string) *directConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.idle[address]
	if len(all) == 0 {
		return nil
	}
	u := all[len(all)-1]
	all[len(all)-1] = nil
	p.idle[address] = all[:len(all)-1]
	return u
}

// quiet tells whether the idle connection is open and nothing was sent that nobody asked for. The read does not block.
func (u *directConn) quiet() bool {
	quiet := false
	err := u.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, err := syscall.Read(int(fd), one[:])
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}

// done keeps the connection for the next request where nothing but an answer of so many bytes came and the instance
// keeps it too, or closes it.
func (p *pool) done(u *directConn, size int, keep bool) {
	if !keep || u.in.Buffered() != size {
		u.Close()
		return
	}
	_, _ = u.in.Discard(size) // they are there
	p.put(u)
}

func (p *pool) put(u *directConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle[u.address]) >= mostIdle {
		u.Close()
		return
	}
	u.since = time.Now()
	if p.idle == nil {
		p.idle = map[string][]*directConn{}
	}
	p.idle[u.address] = append(p.idle[u.address], u)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(idleTime, p.tidy)
	}
}

// close closes the idle connections, and those in use when they become idle.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, all := range p.idle {
		for _, u := range all {
			u.Close()
		}
	}
	p.idle = nil
	if p.sweep != nil {
		p.sweep.Stop()
	}
}

// tidy closes the connections that were idle for long.
func (p *pool) tidy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := 0
	for address, all := range p.idle {
		var kept []*directConn
		for _, u := range all {
			if time.Since(u.since) < idleTime {
				kept = append(kept, u)
				continue
			}
			u.Close()
		}
		p.idle[address] = kept
		left += len(kept)
	}
	if p.sweep = nil; left > 0 {
		p.sweep = time.AfterFunc(idleTime, p.tidy)
	}
}

// answer waits for the answer to what was asked already, as http.Transport would, and closes the connection after it.
func (u *directConn) answer(r *http.Request, firstByte time.Duration) (*http.Response, error) {
	stop := context.AfterFunc(r.Context(), func() { u.Close() })
	a, err := u.await(r, firstByte)
	if err != nil {
		stop()
		u.Close()
		return nil, errors.Join(context.Cause(r.Context()), err)
	}
	u.left = math.MaxInt64
	a.Body = &lastBody{a.Body, u, stop}
	return a, nil
}

func (u *directConn) await(r *http.Request, firstByte time.Duration) (*http.Response, error) {
	until := time.Time{}
	if firstByte > 0 {
		until = time.Now().Add(firstByte)
	}
	if err := u.SetDeadline(until); err != nil {
		return nil, err
	}
	a, err := readAnswer(u.in, r)
	if err != nil {
		return nil, err
	}
	return a, u.SetDeadline(time.Time{})
}

// readAnswer reads the head of the answer, and passes on what comes before it (RFC 9110 §15.2). All of it together is as long as a head may be.
func readAnswer(in *bufio.Reader, r *http.Request) (*http.Response, error) {
	for {
		a, err := http.ReadResponse(in, r)
		if err != nil {
			return nil, err
		}
		switch {
		case a.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the app changes to a protocol that nobody asked for")
		case a.StatusCode >= 200:
			return a, nil
		}
		if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(a.StatusCode, textproto.MIMEHeader(a.Header)); err != nil {
				return nil, err
			}
		}
	}
}

// lastBody is the body of an answer after which its connection is closed.
type lastBody struct {
	io.ReadCloser
	conn *directConn
	stop func() bool
}

func (b *lastBody) Close() error {
	b.stop()
	return b.conn.Close()
}
