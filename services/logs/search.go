package logs

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"slipway.dev/models"
)

const (
	maxTerm = 200
	// maxHits is how many lines a search counts exactly.
	maxHits = 100_000
	// MaxShownHits is how many hits one answer shows.
	MaxShownHits = 100
)

// Search asks for the lines of a stream that hold a text, whatever its case.
// Colours in the lines don't count.
type Search struct {
	Text  string // what is looked for, not a pattern
	Step  string // the id of a step; empty: all lines
	From  int64  // hits from this line on are shown; all are counted
	Limit int    // how many are shown, MaxShownHits at most
	Lines int    // how many lines around each are shown with it, 5 at most
}

// Hit is a line that holds the text, with the lines around it.
type Hit struct {
	Before []Line
	Line   Line
	After  []Line
}

// Hits is what a search found.
type Hits struct {
	Total int     // lines that hold the text; at most 100,000 are counted
	Index int     // how many of them come before the first one shown
	Shown []Hit   // from the asked line on
	Prev  int64   // the line of the hit before the asked line, 0 for none
	All   []int64 // the numbers of the first lines that hold the text, at most 1,000
}

// Search looks through the whole stream as it is written now. The error names
// the field q where the text is too short or too long to look for.
func (s *Service) Search(ctx context.Context, id string, q Search) (Hits, error) {
	q.Limit, q.Lines = min(max(q.Limit, 0), MaxShownHits), min(max(q.Lines, 0), 5)
	wanted := strings.ToLower(strings.TrimSpace(q.Text))
	switch {
	case wanted == "":
		return Hits{}, models.InvalidField("q", "Enter the text to look for.")
	case len(wanted) > maxTerm:
		return Hits{}, models.InvalidField("q", "Look for a shorter text: %d characters at most.", maxTerm)
	}
	f := finder{q: q, wanted: wanted}
	for l, err := range s.lines(ctx, id, 0, q.Step) {
		if err != nil {
			return Hits{}, err
		}
		if !f.take(l) {
			break
		}
	}
	return f.hits, nil
}

// finder gathers the hits of one search.
type finder struct {
	q      Search
	wanted string
	hits   Hits
	recent []Line // the last lines before the one that is looked at
}

// take looks at the next line; false means that enough were found.
func (f *finder) take(l Line) bool {
	for i := len(f.hits.Shown) - 1; i >= 0 && len(f.hits.Shown[i].After) < f.q.Lines; i-- {
		f.hits.Shown[i].After = append(f.hits.Shown[i].After, l)
	}
	if holds(l.Text, f.wanted) {
		f.found(l)
	}
	if f.q.Lines > 0 {
		if len(f.recent) == f.q.Lines {
			f.recent = f.recent[1:]
		}
		f.recent = append(f.recent, l)
	}
	return f.hits.Total < maxHits
}

// Holds tells whether the line is one that a search for the text finds.
func (l Line) Holds(text string) bool {
	wanted := strings.ToLower(strings.TrimSpace(text))
	return wanted != "" && holds(l.Text, wanted)
}

func holds(text, wanted string) bool { return strings.Contains(strings.ToLower(plain(text)), wanted) }

func (f *finder) found(l Line) {
	h := &f.hits
	h.Total++
	if len(h.All) < 1000 {
		h.All = append(h.All, l.N)
	}
	switch {
	case l.N < f.q.From:
		h.Prev = l.N
		h.Index++
	case len(h.Shown) < f.q.Limit:
		h.Shown = append(h.Shown, Hit{Before: slices.Clone(f.recent), Line: l})
	}
}

// escapes are the sequences that colour a terminal and set its title.
var escapes = regexp.MustCompile(`\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])`)

// plain is the text as people see it.
func plain(text string) string {
	if !strings.Contains(text, "\x1b") {
		return text
	}
	return escapes.ReplaceAllString(text, "")
}
