package logs

import (
	"context"
	"time"
)

// Batch is some lines that follow each other. Err, in the last batch only, says why there are no more.
type Batch struct {
	Lines []Line
	Err   error
}

// Follow gives the stream's lines after the number as they are written, by
// whatever process, at most ten batches a second of at most BatchLines lines.
// The channel is closed when the stream has ended or ctx has. A stream that
// does not exist yet is waited for. However many follow a stream, the database
// is asked for what is new of it once.
func (s *Service) Follow(ctx context.Context, id string, after int64) <-chan Batch {
	out := make(chan Batch)
	go func() {
		defer close(out)
		t := s.join(id)
		defer s.leave(t)
		f := &follower{svc: s, ctx: ctx, tail: t, after: after, out: out}
		if err := f.follow(); err != nil && ctx.Err() == nil {
			_ = f.send(Batch{Err: err}) // fails only where nobody listens any more
		}
	}()
	return out
}

type follower struct {
	svc   *Service
	ctx   context.Context
	tail  *tail
	after int64
	sent  time.Time // when the last batch went out
	out   chan<- Batch
}

func (f *follower) follow() error {
	for {
		news := f.tail.since(f.after)
		var err error
		switch {
		case news.err != nil:
			return news.err
		case len(news.lines) > 0 && f.early() > 0:
			err = f.pause(f.early()) // what comes meanwhile goes out with these
		case len(news.lines) > 0:
			err = f.send(Batch{Lines: news.lines})
		case news.behind:
			err = f.catchUp()
		case news.ended:
			return nil
		default:
			err = f.wait(news.changed)
		}
		if err != nil {
			return err
		}
	}
}

// catchUp sends what is stored and no longer at hand in the tail.
func (f *follower) catchUp() error {
	var lines []Line
	for l, err := range f.svc.Lines(f.ctx, f.tail.id, f.after) {
		if err != nil {
			return err
		}
		if lines = append(lines, l); len(lines) < BatchLines {
			continue
		}
		if err := f.send(Batch{Lines: lines}); err != nil {
			return err
		}
		lines = nil
	}
	if len(lines) == 0 {
		return nil
	}
	return f.send(Batch{Lines: lines})
}

func (f *follower) send(b Batch) error {
	if err := f.pause(f.early()); err != nil {
		return err
	}
	select {
	case f.out <- b:
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
	f.sent = time.Now()
	if n := len(b.Lines); n > 0 {
		f.after = b.Lines[n-1].N
	}
	return nil
}

// early is how long the next batch has to wait.
func (f *follower) early() time.Duration { return batchEvery - time.Since(f.sent) }

func (f *follower) pause(d time.Duration) error {
	if d <= 0 {
		return f.ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

func (f *follower) wait(changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}
