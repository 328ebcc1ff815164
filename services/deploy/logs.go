package deploy

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode"

	"slipway.dev/models"
)

// firstLines is how many lines of a running instance's log a reader gets first.
const firstLines = 1000

// Line is one line of a deployment's runtime log.
type Line struct {
	N      int64 // counts what the reader has got
	At     time.Time
	Stderr bool
	Text   string // secrets masked; may hold colours
}

// Cursor names the place in a runtime log from which a reader goes on.
func (l Line) Cursor() string { return fmt.Sprintf("%d-%d", l.At.UnixNano(), l.N) }

func parseCursor(text string) (at time.Time, n int64) {
	var nano int64
	if _, err := fmt.Sscanf(text, "%d-%d", &nano, &n); err != nil || nano <= 0 || n < 0 {
		return time.Time{}, 0
	}
	return time.Unix(0, nano).UTC(), n
}

// Logs yields what the deployment's instances print: after the cursor, or the
// last lines where it is empty. With follow it goes on, over restarts too, until ctx or the
// deployment ends. What an instance said last is kept when it goes.
func (s *Service) Logs(ctx context.Context, id, cursor string, follow bool) (iter.Seq2[Line, error], error) {
	d, err := s.deployment(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	target, err := s.target(ctx, d.Environment.TargetID)
	if err != nil {
		return nil, err
	}
	at, n := parseCursor(cursor)
	r := &logReader{s: s, d: d, target: target, mask: s.maskerOf(d), at: at, n: n}
	return func(yield func(Line, error) bool) { r.read(ctx, follow, yield) }, nil
}

type logReader struct {
	s      *Service
	d      *models.Deployment
	target Target
	mask   masker
	at     time.Time
	n      int64
}

func (r *logReader) read(ctx context.Context, follow bool, yield func(Line, error) bool) {
	for ctx.Err() == nil {
		over, err := r.over(ctx)
		if err != nil {
			yield(Line{}, err)
			return
		}
		if over {
			r.kept(yield)
			return
		}
		if !r.live(ctx, follow, yield) || !follow {
			return
		}
		select { // not started yet, or between two runs
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// over tells whether the instances are gone for good.
func (r *logReader) over(ctx context.Context) (bool, error) {
	var d models.Deployment
	err := r.s.DB.WithContext(ctx).Select("id", "state", "active", "stopped", "retired_at").First(&d, "id = ?", r.d.ID).Error
	if err != nil {
		return false, models.FromDB(err, "deployment")
	}
	return d.RetiredAt != nil || (d.State.Ended() && !d.Active), nil
}

// live yields what the target has. It tells whether the reader wants more.
func (r *logReader) live(ctx context.Context, follow bool, yield func(Line, error) bool) bool {
	o := LogOptions{After: r.at, Follow: follow}
	if r.at.IsZero() {
		o.Tail = firstLines
	}
	for line, err := range r.target.Logs(ctx, r.d.ID, o) {
		if err != nil {
			yield(Line{}, forPeople(err))
			return false
		}
		r.at, r.n = line.At, r.n+1
		text := r.mask.Mask(clean(line.Text))
		if r.d.Config.Scale.Replicas > 1 {
			text = fmt.Sprintf("[%d] %s", line.Replica, text)
		}
		if !yield(Line{N: r.n, At: line.At, Stderr: line.Stderr, Text: text}, nil) {
			return false
		}
	}
	return true
}

// kept yields what was kept of instances that are gone, to a reader who has seen nothing yet.
func (r *logReader) kept(yield func(Line, error) bool) {
	if r.n > 0 {
		return
	}
	for _, i := range r.d.Instances {
		for _, text := range i.LastLogs {
			r.n++
			if !yield(Line{N: r.n, At: i.UpdatedAt, Text: text}, nil) {
				return
			}
		}
	}
}

// clean drops control characters except those of colours (ESC) and tabs.
func clean(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) && c != '\t' && c != 0x1b {
			return -1
		}
		return c
	}, strings.ToValidUTF8(text, "�"))
}
