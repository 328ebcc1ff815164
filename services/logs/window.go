package logs

import (
	"context"
	"math"
	"slices"
)

// MaxWindow is the most lines that one Window holds.
const MaxWindow = 1000

// Window asks for a few lines out of a stream of any length: those around a
// place, of all steps or of one.
type Window struct {
	Step   string // the id of a step; empty: all lines
	At     int64  // the place: a line's number; beyond the last one means the end
	Before int    // how many lines before the place
	After  int    // how many lines from the place on
}

// AtEnd is a place after every line.
const AtEnd = math.MaxInt64

// View is what a window shows.
type View struct {
	Lines   []Line
	Earlier bool  // the stream, or the step, has lines before these
	Later   bool  // and after these, as far as it is written now
	Total   int64 // lines of the whole stream
	Ended   bool  // nothing will be added
}

// Window returns lines around a place. Of a packed stream the text before the
// place is unpacked and skipped, which takes some milliseconds for each 100,000
// lines; only the window is held in memory.
func (s *Service) Window(ctx context.Context, id string, w Window) (View, error) {
	w.Before, w.After = min(max(w.Before, 0), MaxWindow), min(max(w.After, 0), MaxWindow)
	row, err := s.Stream(ctx, id)
	if err != nil {
		return View{}, err
	}
	v := View{Total: row.Lines, Ended: row.Closed}
	w.At = min(max(w.At, 1), row.Lines+1)
	var before, after []Line
	for l, err := range s.lines(ctx, id, w.first(), w.Step) {
		switch {
		case err != nil:
			return View{}, err
		case l.N < w.At && w.Before == 0:
			v.Earlier = true
		case l.N < w.At:
			if len(before) == w.Before {
				before, v.Earlier = before[1:], true
			}
			before = append(before, l)
		case len(after) < w.After:
			after = append(after, l)
		default:
			v.Later = true
		}
		if v.Later {
			break
		}
	}
	v.Lines = slices.Concat(before, after)
	v.Earlier = v.Earlier || w.first() > 0
	return v, nil
}

// first is the number of the line after which the window's lines are looked for.
func (w Window) first() int64 {
	if w.Step != "" {
		return 0 // how far back a step's lines lie is not known
	}
	return max(w.At-1-int64(w.Before), 0)
}

// LastOf returns the number of the step's last line as far as it is written, 0 where it has none.
func (s *Service) LastOf(ctx context.Context, id, step string) (n int64, err error) {
	for l, err := range s.lines(ctx, id, 0, step) {
		if err != nil {
			return 0, err
		}
		n = l.N
	}
	return n, nil
}
