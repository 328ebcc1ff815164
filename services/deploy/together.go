package deploy

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"
)

const (
	maxMerged = 20_000                 // lines of one instance that are merged with others'
	holdBack  = 150 * time.Millisecond // so long a line waits for earlier ones of other instances
)

// ReadLog yields the lines of one instance, oldest first.
type ReadLog func(context.Context, Instance, LogOptions) iter.Seq2[LogLine, error]

// Together yields the lines of several instances in the order of their times.
func Together(ctx context.Context, all []Instance, o LogOptions, read ReadLog) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		if o.Follow {
			follow(ctx, all, o, named(read), yield)
		} else {
			merge(ctx, all, o, named(read), yield)
		}
	}
}

// named says of each line which instance wrote it, and has the instance's own time count.
func named(read ReadLog) ReadLog {
	return func(ctx context.Context, i Instance, o LogOptions) iter.Seq2[LogLine, error] {
		if at, ok := o.AfterOf[i.ID]; ok {
			o.After = at
		}
		return func(yield func(LogLine, error) bool) {
			for line, err := range read(ctx, i, o) {
				line.Instance = i.ID
				if !yield(line, err) {
					return
				}
			}
		}
	}
}

// merge yields the lines that there are; with a tail the last of them all.
func merge(ctx context.Context, all []Instance, o LogOptions, read ReadLog, yield func(LogLine, error) bool) {
	var lines []LogLine
	for _, i := range all {
		kept := 0
		for line, err := range read(ctx, i, o) {
			if err != nil {
				yield(LogLine{}, err)
				return
			}
			lines = append(lines, line)
			if kept++; kept == maxMerged {
				break
			}
		}
	}
	inOrder(lines)
	if o.Tail > 0 && len(lines) > o.Tail {
		lines = lines[len(lines)-o.Tail:]
	}
	for _, line := range lines {
		if !yield(line, nil) {
			return
		}
	}
}

func inOrder(lines []LogLine) {
	slices.SortStableFunc(lines, func(a, b LogLine) int { return a.At.Compare(b.At) })
}

// heard is what a reader of one instance came upon.
type heard struct {
	line LogLine
	err  error
}

// follow yields what the instances print until all have ended. Lines are held
// back for a moment, so that those of several come in the order of their times.
func follow(ctx context.Context, all []Instance, o LogOptions, read ReadLog, yield func(LogLine, error) bool) {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	lines := make(chan heard, 256)
	for _, i := range all {
		readers.Go(func() {
			for line, err := range read(ctx, i, o) {
				select {
				case lines <- heard{line, err}:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	go func() { readers.Wait(); close(lines) }()
	tick := time.NewTicker(holdBack)
	defer tick.Stop()
	held := &waitingRoom{}
	for {
		select {
		case h, ok := <-lines:
			switch {
			case !ok:
				held.leave(held.all(), yield)
				return
			case h.err != nil:
				if held.leave(held.all(), yield) {
					yield(LogLine{}, h.err)
				}
				return
			}
			if held.lines = append(held.lines, guest{h.line, time.Now()}); len(held.lines) >= maxMerged && !held.leave(held.all(), yield) {
				return
			}
		case now := <-tick.C:
			if !held.leave(held.since(now.Add(-holdBack)), yield) {
				return
			}
		}
	}
}

// waitingRoom holds lines back. How long goes by when they came: the clock that they were stamped by may be wrong.
type waitingRoom struct{ lines []guest }

// guest is a line and when it came.
type guest struct {
	LogLine
	came time.Time
}

// all puts the lines in order and counts them.
func (w *waitingRoom) all() int {
	slices.SortStableFunc(w.lines, func(a, b guest) int { return a.At.Compare(b.At) })
	return len(w.lines)
}

// since puts the lines in order and counts those up to the last one that came before the time.
func (w *waitingRoom) since(before time.Time) (n int) {
	w.all()
	for i, g := range w.lines {
		if g.came.Before(before) {
			n = i + 1
		}
	}
	return n
}

// leave yields the first lines, and tells whether more are wanted.
func (w *waitingRoom) leave(n int, yield func(LogLine, error) bool) bool {
	for _, g := range w.lines[:n] {
		if !yield(g.LogLine, nil) {
			return false
		}
	}
	w.lines = append(w.lines[:0], w.lines[n:]...)
	return true
}
