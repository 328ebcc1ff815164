package logs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// lookEvery is how often a stream that is followed is asked for what other processes wrote.
	lookEvery = 50 * time.Millisecond
	// tailKept and tailBytes bound what a tail holds for those who follow.
	tailKept  = 2 * BatchLines
	tailBytes = 1 << 20
)

// tail is the end of a stream that somebody follows, shared by all who do in this process.
type tail struct {
	svc    *Service
	id     string
	wake   chan struct{} // a writer of this process has stored something
	cancel context.CancelFunc
	users  int // guarded by the service's lock

	mu      sync.Mutex
	known   bool   // the stream has been looked at
	lines   []Line // the newest ones
	bytes   int
	last    int64 // the number of the stream's last line
	ended   bool
	err     error
	changed chan struct{} // closed when any of these change
}

// news is what a tail knows that a follower does not.
type news struct {
	lines   []Line // BatchLines at most
	behind  bool   // there is more, which must be read from where it is stored
	ended   bool
	err     error
	changed <-chan struct{}
}

// join returns the stream's tail; leave must be called for it.
func (s *Service) join(id string) *tail {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tails[id]; t != nil {
		t.users++
		return t
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &tail{svc: s, id: id, wake: make(chan struct{}, 1), cancel: cancel, users: 1, changed: make(chan struct{})}
	if s.tails == nil {
		s.tails = map[string]*tail{}
	}
	s.tails[id] = t
	go t.run(ctx)
	return t
}

// leave ends the tail with its last follower.
func (s *Service) leave(t *tail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.users--; t.users == 0 {
		t.cancel()
		delete(s.tails, t.id)
	}
}

// stored tells those who follow the stream in this process that there is something new.
func (s *Service) stored(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tails[id]; t != nil {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

func (t *tail) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for t.look(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-t.wake:
		}
	}
}

// look takes over what is new and tells whether there may be more.
func (t *tail) look(ctx context.Context) (more bool) {
	row, err := t.svc.Stream(ctx, t.id)
	var lines []Line
	if err == nil && t.known && row.Lines > t.last {
		lines, err = t.read(ctx)
	}
	if ctx.Err() != nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil && t.known && len(lines) == 0 && row.Closed == t.ended && t.err == nil {
		return true
	}
	t.err = err
	if err == nil {
		if !t.known {
			t.known, t.last = true, row.Lines
		}
		t.add(lines)
		t.ended = row.Closed && t.last >= row.Lines
	}
	close(t.changed)
	t.changed = make(chan struct{})
	return !t.ended
}

func (t *tail) read(ctx context.Context) (lines []Line, err error) {
	for l, err := range t.svc.Lines(ctx, t.id, t.last) {
		if err != nil {
			return nil, fmt.Errorf("following a log: %w", err)
		}
		if lines = append(lines, l); len(lines) == tailKept {
			break
		}
	}
	return lines, nil
}

// add keeps the lines, and lets go of the oldest ones where there are too many.
func (t *tail) add(lines []Line) {
	for _, l := range lines {
		t.last = l.N
		t.bytes += len(l.Text)
	}
	t.lines = append(t.lines, lines...)
	drop := max(len(t.lines)-tailKept, 0)
	for _, l := range t.lines[:drop] {
		t.bytes -= len(l.Text)
	}
	for ; t.bytes > tailBytes && drop < len(t.lines); drop++ {
		t.bytes -= len(t.lines[drop].Text)
	}
	if drop > 0 {
		t.lines = slices.Clone(t.lines[drop:])
	}
}

// since tells what is known after the line of the number.
func (t *tail) since(after int64) news {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := news{err: t.err, ended: t.ended, changed: t.changed}
	if !t.known || after >= t.last {
		return n
	}
	first := t.last + 1 - int64(len(t.lines))
	if after+1 < first {
		n.behind = true
		return n
	}
	from := int(after + 1 - first)
	n.lines = slices.Clone(t.lines[from:min(from+BatchLines, len(t.lines))])
	return n
}
