package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

var errStoodStill = errors.New("nothing was sent for longer than the place's limit")

// watch ends a request through which nothing flows any more: no byte of its
// body, of the answer, or of what follows an upgrade. While the app thinks, after
// the whole request is there and before it begins to answer, another limit counts
// (http.Transport.ResponseHeaderTimeout).
type watch struct {
	limit   time.Duration
	last    atomic.Int64 // nanoseconds of the last byte
	asked   atomic.Bool  // the whole request was sent
	begun   atomic.Bool  // the answer has begun
	cancel  context.CancelCauseFunc
	control *http.ResponseController

	mu    sync.Mutex
	timer *time.Timer
	ended bool
}

// start begins to watch; end must be called.
func (w *watch) start(rw http.ResponseWriter, r *http.Request, limit time.Duration, cancel context.CancelCauseFunc) {
	w.limit, w.cancel, w.control = limit, cancel, http.NewResponseController(rw)
	w.asked.Store(r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0)
	w.touch()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(limit, w.fire)
}

func (w *watch) touch() { w.last.Store(time.Now().UnixNano()) }

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.timer.Stop()
}

// fire looks whether the request stands still. Whoever is blocked in reading
// from or writing to the visitor is woken, which a canceled context does not do.
func (w *watch) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	quiet := time.Since(time.Unix(0, w.last.Load()))
	if w.asked.Load() && !w.begun.Load() {
		quiet = 0
	}
	if quiet < w.limit {
		w.timer.Reset(w.limit - quiet)
		return
	}
	w.cancel(errStoodStill)
	now := time.Now()
	if err := errors.Join(w.control.SetReadDeadline(now.Add(-time.Second)), w.control.SetWriteDeadline(now.Add(time.Second))); err != nil {
		return // the connection is gone, which is as good
	}
}

// begin watches what follows an answer's head.
func (w *watch) begin(r *http.Response) {
	w.touch()
	w.begun.Store(true)
	if conn, ok := r.Body.(io.ReadWriteCloser); ok && r.StatusCode == http.StatusSwitchingProtocols {
		r.Body = &watchedConn{conn, w}
		return
	}
	r.Body = &watchedBody{r.Body, w}
}

// request watches the body of the request.
func (w *watch) request(body io.ReadCloser) io.ReadCloser { return &watchedRequest{body, w} }

type watchedRequest struct {
	io.ReadCloser
	watch *watch
}

func (b *watchedRequest) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.watch.touch()
	if err != nil {
		b.watch.asked.Store(true)
	}
	return n, err
}

type watchedBody struct {
	io.ReadCloser
	watch *watch
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.watch.touch()
	return n, err
}

type watchedConn struct {
	io.ReadWriteCloser
	watch *watch
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(p)
	c.watch.touch()
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Write(p)
	c.watch.touch()
	return n, err
}
