// Package sse sends server-sent events for as long as the one who asked may
// see them: who the stream acts for is looked up anew every few seconds.
package sse

import (
	"bytes"
	"context"
	"iter"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/auth"
)

const (
	heartbeat    = 15 * time.Second
	writeTimeout = 10 * time.Second
	pourEvery    = 100 * time.Millisecond
	pourEvents   = 500
)

// Streams opens streams and counts them.
type Streams struct {
	Auth    *auth.Service
	Max     int           // open streams of one principal; 0: 20
	Recheck time.Duration // how often a stream's right is looked up; 0: 10 s

	mu   sync.Mutex
	open map[string]int
}

// Check tells whether the context's principal may still see what the stream is about.
type Check func(ctx context.Context) error

// Stream is one open answer. Its methods may be called from several goroutines.
type Stream struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	ctx  context.Context
	end  context.CancelFunc
	who  atomic.Pointer[models.Principal]
	mu   sync.Mutex
	done func()
}

// Open begins a stream for the principal of the request, after check allowed
// it. Close must be called. It fails with TooMany where the principal has too
// many streams already.
func (s *Streams) Open(w http.ResponseWriter, r *http.Request, check Check) (*Stream, error) {
	p := models.PrincipalFrom(r.Context())
	if p == nil {
		return nil, models.Errorf(models.Unauthorized, "Sign in first.")
	}
	if foreign(r) {
		return nil, models.Errorf(models.Denied, "A page of another site asked for this stream; it was refused.")
	}
	if check == nil {
		check = func(context.Context) error { return nil }
	}
	if err := check(r.Context()); err != nil {
		return nil, err
	}
	release, err := s.count(string(p.Kind) + ":" + p.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	st := &Stream{w: w, rc: http.NewResponseController(w), ctx: ctx, end: cancel}
	st.who.Store(p)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	st.write([]byte("retry: 2000\n\n"))
	var wg sync.WaitGroup
	wg.Go(func() { st.watch(s, check) })
	st.done = sync.OnceFunc(func() { cancel(); wg.Wait(); release() })
	return st, nil
}

// foreign tells whether a browser asks for a page of another site, an app's
// among them: cookies travel with requests between hosts of one domain, and
// the answer, which the page could not read, would still take one of the principal's streams.
func foreign(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site != "" && site != "same-origin" && site != "none"
}

func (s *Streams) count(key string) (release func(), err error) {
	limit := s.Max
	if limit == 0 {
		limit = 20
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key] >= limit {
		return nil, models.Errorf(models.TooMany, "%d live streams are open already. Close a tab or end a call that follows something.", limit)
	}
	if s.open == nil {
		s.open = map[string]int{}
	}
	s.open[key]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open[key]--; s.open[key] == 0 {
			delete(s.open, key)
		}
	}, nil
}

// watch keeps the connection alive and ends the stream when the right to it ends.
func (st *Stream) watch(s *Streams, check Check) {
	pause := s.Recheck
	if pause == 0 {
		pause = 10 * time.Second
	}
	alive, right := time.NewTicker(heartbeat), time.NewTicker(pause)
	defer alive.Stop()
	defer right.Stop()
	for {
		select {
		case <-st.ctx.Done():
			return
		case <-alive.C:
			st.write([]byte(": alive\n\n"))
		case <-right.C:
			if !st.still(s.Auth, check) {
				st.end()
				return
			}
		}
	}
}

func (st *Stream) still(a *auth.Service, check Check) bool {
	p, err := a.Reload(st.ctx, st.who.Load())
	if err != nil {
		return false
	}
	st.who.Store(p)
	return check(models.WithPrincipal(st.ctx, p)) == nil
}

// Context ends when the client leaves, when the right ends, or after Close.
func (st *Stream) Context() context.Context {
	return models.WithPrincipal(st.ctx, st.who.Load())
}

// Principal is who the stream acts for, as last looked up.
func (st *Stream) Principal() *models.Principal { return st.who.Load() }

// Send writes one event and flushes. An empty id leaves the client's last id
// as it is; an empty event means "message". An error means that the stream is over.
func (st *Stream) Send(id, event, data string) error {
	var b bytes.Buffer
	Append(&b, id, event, data)
	return st.write(b.Bytes())
}

// SendAll writes several events, made with Append, at once.
func (st *Stream) SendAll(events []byte) error { return st.write(events) }

// Pour sends events, each made with Append, as they come: at most ten writes a
// second of at most 500 events each. It returns when there are no more, or with
// an error when the stream is over; the sequence has to end with the stream's context.
func (st *Stream) Pour(events iter.Seq[[]byte]) error {
	queue := make(chan []byte, pourEvents)
	go func() {
		defer close(queue)
		for e := range events {
			select {
			case queue <- e:
			case <-st.ctx.Done():
				return
			}
		}
	}()
	defer func() {
		for range queue { // the sequence ends with the stream: whoever called may then look at what it did
		}
	}()
	tick := time.NewTicker(pourEvery)
	defer tick.Stop()
	for e := range queue {
		if err := st.write(gather(e, queue)); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-st.ctx.Done():
			return st.ctx.Err()
		}
	}
	return st.ctx.Err()
}

// gather adds what waits in the queue to the first event.
func gather(first []byte, queue <-chan []byte) []byte {
	all := bytes.Clone(first)
	for range pourEvents - 1 {
		select {
		case e := <-queue:
			all = append(all, e...)
		default:
			return all
		}
	}
	return all
}

// Append adds one event to b in the form of the wire (HTML §9.2.5).
func Append(b *bytes.Buffer, id, event, data string) {
	if id != "" {
		b.WriteString("id: " + oneLine(id) + "\n")
	}
	if event != "" {
		b.WriteString("event: " + oneLine(event) + "\n")
	}
	data = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(data)
	for line := range strings.SplitSeq(data, "\n") {
		b.WriteString("data: " + line + "\n")
	}
	b.WriteByte('\n')
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == 0 {
			return -1
		}
		return r
	}, s)
}

func (st *Stream) write(b []byte) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.ctx.Err(); err != nil {
		return err
	}
	_ = st.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // writers in tests have no deadlines
	_, err := st.w.Write(b)
	if err == nil {
		err = st.rc.Flush()
	}
	if err != nil {
		st.end()
	}
	return err
}

// Close ends the stream.
func (st *Stream) Close() {
	st.done()
	_ = st.rc.SetWriteDeadline(time.Time{}) // the connection may serve another request
}

// After is where a client that comes back wants to go on: Last-Event-ID, which
// browsers send by themselves, or ?after=.
func After(r *http.Request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return r.URL.Query().Get("after")
}
