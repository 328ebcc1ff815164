package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	flushEvery  = 50 * time.Millisecond
	flushBytes  = 64 << 10
	closeWithin = 10 * time.Second
	tailLines   = 40
	tailWidth   = 2000
)

// ErrTaken means that another process writes the stream now.
var ErrTaken = errors.New("another process writes this log")

// Writer writes one stream. It is safe for concurrent use; none of its methods
// but Close and Leave wait for the database.
type Writer struct {
	svc    *Service
	id     string
	token  string // who writes: whoever opened the stream last
	mask   *Masker
	limits Limits
	with   With
	full   chan struct{}
	quit   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	parts   map[part]*splitter
	tails   map[string][]string
	pending []Line
	waiting int   // bytes of pending
	next    int64 // the number of the next line
	total   int64 // bytes so far
	cut     bool  // the stream is over its limit
	lost    int   // lines that found no room
	taken   bool
}

type part struct {
	step   string
	stream Source
}

// With is what a writer does beside storing lines.
type With struct {
	Every time.Duration // how often lines are stored, where no more than a few wait; 50 ms where zero
	// Along, where set, takes part in each transaction that stores lines, so that
	// what it writes down is true whenever the process ends. It may be called
	// again with the same lines.
	Along func(tx *gorm.DB, lines []Line) error
}

// Open begins to write the stream, or goes on where another writer left it:
// that other, if it still lives, can write no more.
func (s *Service) Open(ctx context.Context, id, kind string, mask *Masker) (*Writer, error) {
	return s.OpenWith(ctx, id, kind, mask, With{})
}

// OpenWith is Open for a writer that does more than to store lines.
func (s *Service) OpenWith(ctx context.Context, id, kind string, mask *Masker, with With) (*Writer, error) {
	with.Every = cmp.Or(with.Every, flushEvery)
	w := &Writer{
		svc: s, id: id, token: models.NewID(), mask: mask, limits: s.Limits.withDefaults(), with: with,
		full: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		parts: map[part]*splitter{}, tails: map[string][]string{},
	}
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := Create(tx, id, kind); err != nil {
			return err
		}
		r := tx.Model(&models.LogStream{}).Where("id = ? AND NOT closed", id).Update("writer", w.token)
		if r.Error == nil && r.RowsAffected == 0 {
			return models.Errorf(models.Conflict, "The log of this %s has ended.", kind)
		}
		if r.Error != nil {
			return r.Error
		}
		var row models.LogStream
		if err := tx.Where("id = ?", id).Take(&row).Error; err != nil {
			return err
		}
		w.next, w.total, w.cut = row.Lines+1, row.Bytes, row.Truncated
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the log %s: %w", id, err)
	}
	go w.run()
	return w, nil
}

// Write takes output as it comes, in pieces of any size, and keeps whole lines.
func (w *Writer) Write(step string, stream Source, at time.Time, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.parts[part{step, stream}]
	if p == nil {
		p = &splitter{}
		w.parts[part{step, stream}] = p
	}
	p.add(at, data, w.limits.Line+w.mask.span(), func(p *splitter) { w.keep(step, stream, p) })
}

// Print adds a whole line, a remark of Slipway's own.
func (w *Writer) Print(step, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.append(Line{Step: step, Stream: Slipway, Time: w.svc.DB.NowFunc(), Text: clean(w.mask.Mask(fmt.Sprintf(format, args...)))})
}

// EndStep ends the last line of the step where its line end never came.
func (w *Writer) EndStep(step string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endParts(func(p part) bool { return p.step == step })
}

// Tail returns the last lines of the step, at most n, as they were stored.
func (w *Writer) Tail(step string, n int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	tail := w.tails[step]
	return slices.Clone(tail[max(len(tail)-n, 0):])
}

func (w *Writer) endParts(which func(part) bool) {
	for k, p := range w.parts {
		if !which(k) {
			continue
		}
		if !p.empty() {
			w.keep(k.step, k.stream, p)
		}
		delete(w.parts, k)
	}
}

// keep stores the line that p holds.
func (w *Writer) keep(step string, stream Source, p *splitter) {
	l := Line{Step: step, Stream: stream, Time: p.at.UTC(), Text: p.text(w.mask, w.limits.Line)}
	w.remember(l)
	if w.cut {
		return
	}
	if w.total+int64(len(l.Text)) > w.limits.Total {
		w.cut = true
		w.append(Line{Stream: Slipway, Time: l.Time, Text: fmt.Sprintf("The log is cut here: it is longer than %d MiB.", w.limits.Total>>20)})
		return
	}
	w.append(l)
}

func (w *Writer) remember(l Line) {
	text := l.Text
	if len(text) > tailWidth {
		text = clean(text[:tailWidth]) + " …"
	}
	tail := append(w.tails[l.Step], text)
	if len(tail) > 2*tailLines {
		tail = slices.Clone(tail[len(tail)-tailLines:])
	}
	w.tails[l.Step] = tail
}

func (w *Writer) append(l Line) {
	if w.taken {
		return
	}
	if w.waiting > w.limits.Unsent {
		w.lost++
		return
	}
	l.N = w.next
	w.next++
	w.pending = append(w.pending, l)
	w.total += int64(len(l.Text))
	w.waiting += len(l.Text) + 64
	if w.waiting >= flushBytes {
		select {
		case w.full <- struct{}{}:
		default:
		}
	}
}

func (w *Writer) run() {
	defer close(w.done)
	tick := time.NewTicker(w.with.Every)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		case <-w.full:
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
		err := w.flush(ctx, false)
		cancel()
		if err != nil && !failed {
			slog.Warn("a log can't be stored just now; its lines wait in memory", "stream", w.id, "error", err)
		}
		failed = err != nil
	}
}

// flush stores what waits. Only one goroutine at a time may call it. Where the
// database does not take the lines they stay and are tried again.
func (w *Writer) flush(ctx context.Context, last bool) error {
	w.mu.Lock()
	lines, lost, taken := w.pending, w.lost, w.taken
	w.mu.Unlock()
	if taken || len(lines) == 0 && lost == 0 && !last {
		return nil
	}
	err := w.svc.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return w.store(tx, lines, lost, last) })
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case errors.Is(err, ErrTaken):
		w.taken, w.pending, w.waiting = true, nil, 0
	case err != nil:
		return err
	default:
		w.pending = slices.Clone(w.pending[len(lines):])
		w.waiting = 0
		for _, l := range w.pending {
			w.waiting += len(l.Text) + 64
		}
		w.tellLost(lost)
		w.svc.stored(w.id)
	}
	return nil
}

// tellLost leaves a visible mark where lines found no room.
func (w *Writer) tellLost(stored int) {
	if w.lost -= stored; w.lost > 0 || stored == 0 {
		return
	}
	w.append(Line{Stream: Slipway, Time: w.svc.DB.NowFunc(), Text: fmt.Sprintf("Here %d lines are missing: the log could not be stored in time.", stored)})
}

func (w *Writer) store(tx *gorm.DB, lines []Line, lost int, last bool) error {
	changes := map[string]any{"updated_at": w.svc.DB.NowFunc(), "closed": last}
	if len(lines) > 0 {
		changes["lines"] = lines[len(lines)-1].N
		changes["bytes"] = gorm.Expr("bytes + ?", size(lines))
		changes["truncated"] = w.overLimit()
	}
	if lost > 0 {
		changes["error"] = "Some lines are missing: the log could not be stored in time."
	}
	r := tx.Model(&models.LogStream{}).Where("id = ? AND writer = ? AND NOT closed", w.id, w.token).Updates(changes)
	if r.Error != nil {
		return r.Error
	}
	if r.RowsAffected == 0 {
		return ErrTaken
	}
	if len(lines) == 0 {
		return nil
	}
	if err := tx.Create(&models.LogChunk{StreamID: w.id, First: lines[0].N, Lines: int64(len(lines)), Data: encode(lines)}).Error; err != nil || w.with.Along == nil {
		return err
	}
	return w.with.Along(tx, lines)
}

// Waiting returns how many bytes are not stored yet. Who can wait should, while
// they are many: what finds no room is lost, with a remark.
func (w *Writer) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting
}

func (w *Writer) overLimit() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut
}

func size(lines []Line) (n int64) {
	for _, l := range lines {
		n += int64(len(l.Text))
	}
	return n
}

// Close ends the stream and packs it. It returns when readers see the end, or
// when it can't be stored within ten seconds; what then stays in the database
// is packed later by Sweep.
func (w *Writer) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	if err := w.stop(ctx, true); err != nil {
		slog.WarnContext(ctx, "the end of a log could not be stored", "stream", w.id, "error", err)
		return
	}
	if w.Taken() {
		return
	}
	if err := w.svc.pack(ctx, w.id); err != nil {
		slog.WarnContext(ctx, "a log could not be packed and stays in the database", "stream", w.id, "error", err)
	}
}

// Leave stores what was written and leaves the stream open for the next writer.
func (w *Writer) Leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	if err := w.stop(ctx, false); err != nil {
		slog.WarnContext(ctx, "the last lines of a log could not be stored", "stream", w.id, "error", err)
	}
}

func (w *Writer) stop(ctx context.Context, last bool) error {
	close(w.quit)
	<-w.done
	w.mu.Lock()
	w.endParts(func(part) bool { return true })
	w.mu.Unlock()
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		err := w.flush(ctx, last)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// Taken tells whether another writer has the stream: what this one was given
// since its last flush is not stored.
func (w *Writer) Taken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken
}
