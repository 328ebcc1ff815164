package observe

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/logs"
)

const (
	// MaxLines is the most lines that one page of a log holds.
	MaxLines = 1000
	// scanBytes is how much text one search looks through: more is another call.
	scanBytes = 16 << 20
	maxTerm   = 200
	// skew is how far a target's clock, by which lines have their times, may be off from the portal's.
	skew = 2 * time.Hour
)

// Line is a line of a place's log.
type Line struct {
	N          int64 // its number in the place's log, which never changes
	At         time.Time
	Deployment int64       // the number of the deployment that printed it
	Replica    int         // which of its instances, from 1
	Stream     logs.Source // stdout, stderr, or slipway for a remark of Slipway's own
	Text       string      // secrets masked; may hold colours
}

// Filter narrows a log. Zero fields narrow nothing.
type Filter struct {
	Text       string // what the line holds, whatever its case; not a pattern
	Deployment int64  // number
	Replica    int
	Stream     logs.Source
	Since      time.Time // not before
	Until      time.Time // before
}

// Empty tells whether the filter lets every line through.
func (f Filter) Empty() bool { return f == Filter{} }

// Query asks for a page of a place's log: with none of the places, its end.
type Query struct {
	Place
	Filter
	Before int64 // lines before the one of the number
	After  int64 // lines after it; Before wins
	Around int64 // lines around it; the others win
	Limit  int   // MaxLines at most
}

// Page is a part of a log, oldest line first.
type Page struct {
	Lines []Line
	// Before asks for what is earlier; 0: nothing is. Where the page holds fewer
	// lines than asked for, the search has not come to the beginning yet.
	Before int64
	After  int64      // asks for what is later, also for what is yet to come
	Later  bool       // there is something later by now, or may be
	To     *time.Time // how far the search has come, where it has not come to the end
}

// Read returns a part of the place's log. It looks through a bounded amount of
// text: Page says from where the next call goes on.
func (s *Service) Read(ctx context.Context, q Query) (*Page, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	if _, _, err := s.find(ctx, q.Place); err != nil {
		return nil, err
	}
	r, err := s.reader(ctx, q)
	if err != nil {
		return nil, err
	}
	switch {
	case q.Before > 0:
		return r.back(ctx, q.Before)
	case q.After > 0:
		return r.forth(ctx, q.After)
	case q.Around > 0:
		return r.around(ctx, q.Around)
	}
	return r.back(ctx, math.MaxInt64)
}

func (q *Query) check() error {
	q.Text = strings.ToLower(strings.TrimSpace(q.Text))
	if len(q.Text) > maxTerm {
		return models.InvalidField("q", "Look for a shorter text: %d characters at most.", maxTerm)
	}
	switch q.Stream {
	case "", logs.Stdout, logs.Stderr, logs.Slipway:
	default:
		return models.InvalidField("stream", "The stream is stdout, stderr or slipway.")
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return models.InvalidField("until", "It must be after the beginning of the time.")
	}
	if q.Limit <= 0 {
		q.Limit = 200
	}
	q.Limit = min(q.Limit, MaxLines)
	return nil
}

// matches tells whether the filter, whose text is in lower case, lets the line through.
func (f Filter) matches(l Line, raw logs.Line) bool {
	return (f.Deployment == 0 || l.Deployment == f.Deployment) && (f.Replica == 0 || l.Replica == f.Replica) &&
		(f.Stream == "" || l.Stream == f.Stream) && (f.Since.IsZero() || !l.At.Before(f.Since)) && (f.Until.IsZero() || l.At.Before(f.Until)) &&
		(f.Text == "" || raw.Holds(f.Text))
}

// reader reads the segments of one place.
type reader struct {
	*Service
	q        Query
	id       string    // of the place's log; empty: nothing was ever kept
	from, to time.Time // only segments with lines of this time may matter; zero: no bound
}

// part is a segment and how much there is of it.
type part struct {
	models.LogSegment
	Lines int64
	Bytes int64
}

func (p part) last() int64 { return p.First + p.Lines - 1 }

func (s *Service) reader(ctx context.Context, q Query) (*reader, error) {
	var row models.PlaceLog
	err := s.DB.WithContext(ctx).Select("id").Where("environment_id = ? AND app_id = ?", q.EnvironmentID, q.AppID).Limit(1).Find(&row).Error
	if err != nil {
		return nil, fmt.Errorf("looking for a place's log: %w", err)
	}
	r := &reader{Service: s, q: q, id: row.ID}
	return r, r.narrow(ctx)
}

// narrow looks for a deployment's lines only in the time in which it ran.
func (r *reader) narrow(ctx context.Context) error {
	if r.q.Deployment == 0 {
		return nil
	}
	var d models.Deployment
	err := r.DB.WithContext(ctx).Select("id", "created_at", "retired_at").Where("app_id = ? AND number = ?", r.q.AppID, r.q.Deployment).Limit(1).Find(&d).Error
	if err != nil || d.ID == "" {
		return err
	}
	r.from = d.CreatedAt.Add(-skew)
	if d.RetiredAt != nil {
		r.to = d.RetiredAt.Add(skew)
	}
	return nil
}

// parts are the segments that may hold what is asked for.
func (r *reader) parts(ctx context.Context, narrow func(*gorm.DB) *gorm.DB) (all []part, err error) {
	q := r.segments(ctx).Select("log_segments.*, log_streams.lines, log_streams.bytes").Where("log_segments.place_log_id = ? AND log_streams.lines > 0", r.id)
	for _, since := range []time.Time{r.q.Since, r.from} {
		if !since.IsZero() {
			q = q.Where("log_segments.last_at >= ?", since.UTC())
		}
	}
	for _, until := range []time.Time{r.q.Until, r.to} {
		if !until.IsZero() {
			q = q.Where("log_segments.first_at < ?", until.UTC())
		}
	}
	if err := narrow(q).Limit(100).Scan(&all).Error; err != nil {
		return nil, fmt.Errorf("looking for the parts of a place's log: %w", err)
	}
	return all, nil
}

// back returns the last lines before the one of the number.
func (r *reader) back(ctx context.Context, before int64) (*Page, error) {
	parts, err := r.parts(ctx, func(q *gorm.DB) *gorm.DB {
		return q.Where("log_segments.first < ?", before).Order("log_segments.first DESC")
	})
	if err != nil {
		return nil, err
	}
	page := &Page{After: max(min(before-1, lastOf(parts)), 0), Later: before != math.MaxInt64}
	scanned := int64(0)
	for n, p := range parts {
		lines, more, err := r.tail(ctx, p, before, r.q.Limit-len(page.Lines))
		if err != nil {
			return nil, err
		}
		page.Lines = append(lines, page.Lines...)
		scanned += p.Bytes
		switch {
		case len(page.Lines) == r.q.Limit && (more || n+1 < len(parts)):
			page.Before = page.Lines[0].N
			return page, nil
		case scanned >= cmp.Or(r.Scan, scanBytes) && n+1 < len(parts):
			page.Before, page.To = p.First, &p.FirstAt
			return page, nil
		}
	}
	return page, nil
}

func lastOf(parts []part) int64 {
	if len(parts) == 0 {
		return 0
	}
	return parts[0].last()
}

// tail returns the last lines of the segment that match, and whether there are more before them.
func (r *reader) tail(ctx context.Context, p part, before int64, limit int) (lines []Line, more bool, err error) {
	after := int64(0)
	if r.q.Filter.Empty() { // how far back they begin is known
		after = max(min(before-1, p.last())-p.First+1-int64(limit), 0)
		more = after > 0
	}
	err = r.scan(ctx, p, after, func(l Line) bool {
		if l.N >= before {
			return false
		}
		if len(lines) >= 2*limit { // seldom moved, and bounded
			lines, more = slices.Clone(lines[len(lines)-limit:]), true
		}
		lines = append(lines, l)
		return true
	})
	if len(lines) > limit {
		lines, more = lines[len(lines)-limit:], true
	}
	return lines, more, err
}

// forth returns the first lines after the one of the number.
func (r *reader) forth(ctx context.Context, after int64) (*Page, error) {
	parts, err := r.parts(ctx, func(q *gorm.DB) *gorm.DB {
		return q.Where("log_segments.first + log_streams.lines > ?", after+1).Order("log_segments.first")
	})
	if err != nil {
		return nil, err
	}
	page := &Page{Before: after + 1, After: after}
	scanned := int64(0)
	for n, p := range parts {
		err := r.scan(ctx, p, max(after-p.First+1, 0), func(l Line) bool {
			page.Lines, page.After = append(page.Lines, l), l.N
			return len(page.Lines) < r.q.Limit
		})
		if err != nil {
			return nil, err
		}
		if len(page.Lines) == r.q.Limit {
			page.Later = page.After < p.last() || n+1 < len(parts)
			return page, nil
		}
		page.After = max(page.After, p.last())
		if scanned += p.Bytes; scanned >= cmp.Or(r.Scan, scanBytes) && n+1 < len(parts) {
			page.Later, page.To = true, &p.LastAt
			return page, nil
		}
	}
	return page, nil
}

// around returns lines from before and after the one of the number.
func (r *reader) around(ctx context.Context, line int64) (*Page, error) {
	limit := r.q.Limit
	r.q.Limit = max(limit/2, 1)
	before, err := r.back(ctx, line)
	if err != nil {
		return nil, err
	}
	after, err := r.forth(ctx, line-1)
	if err != nil {
		return nil, err
	}
	after.Lines, after.Before = append(before.Lines, after.Lines...), before.Before
	return after, nil
}

// scan hands the segment's lines after the one of the number within it to yield, those that match.
func (r *reader) scan(ctx context.Context, p part, after int64, yield func(Line) bool) error {
	for raw, err := range r.Logs.Lines(ctx, p.ID, after) {
		if err != nil {
			return err
		}
		deployment, replica := instanceOf(raw.Step)
		l := Line{N: p.First + raw.N - 1, At: raw.Time, Deployment: deployment, Replica: replica, Stream: raw.Stream, Text: raw.Text}
		if r.q.matches(l, raw) && !yield(l) {
			return nil
		}
	}
	return ctx.Err()
}
