package components

import (
	"net/url"
	"regexp"

	"slipway.dev/views/ansi"
)

// Line is one line of a log, ready to be drawn.
type Line struct {
	Number int64
	HTML   string // from views/ansi: escaped text and spans
	Class  string // "err" for lines that look like errors, "sys" for the names of steps, "fin" for Slipway's other remarks
	Found  bool   // the line holds what is looked for
}

// LogView is a log with everything around it.
type LogView struct {
	ID      string // of the section, such as "log"
	Title   string
	Lines   []Line // those that stand in the page; the rest comes over Stream
	Stream  string // the address of the event stream; empty when there is nothing more to come
	Raw     string // the address of the whole log as text
	More    string // for pages without scripts: the address of the page with the lines after these
	Running bool   // lines are still being written
	Follow  bool   // keep the newest line in sight from the beginning
	Waiting string // what to say while there are no lines
	Compact bool   // a box of limited height that scrolls by itself
	Window  LogWindow
	Search  *LogSearch // nil where nobody looks for anything
}

// LogWindow says which part of a long log stands in the page. Its zero value: the log is not read in parts.
type LogWindow struct {
	Page    string // the address of the page
	Lines   string // the address that gives other parts, as LogPart draws them
	Step    string // the id of the step whose lines are shown alone; empty: all
	Name    string // what that step does
	Total   int64  // lines of the whole log
	Earlier bool   // there are lines before these
	Later   bool   // and after these
}

// LogSearch is what was found in the whole log.
type LogSearch struct {
	Text  string
	Total int
	Index int // of the hit in sight, from 0
	Hits  []LogHit
	Prev  int64 // the line of the hit before the one in sight, 0 for none
	Next  int64
}

// LogHit is a line that was looked for, with the lines around it.
type LogHit struct {
	Number int64
	Lines  []Line
}

// query is the address of the page, or of other parts, with the step and what is looked for kept.
func (v LogView) query(base string, pairs ...string) string {
	q := url.Values{}
	if v.Window.Step != "" {
		q.Set("step", v.Window.Step)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return base
	}
	return base + "?" + q.Encode()
}

// place is the page with another part of the log in sight.
func (v LogView) place(pairs ...string) string { return v.query(v.Window.Page, pairs...) + "#" + v.ID }

// term is what is looked for.
func (v LogView) term() string {
	if v.Search == nil {
		return ""
	}
	return v.Search.Text
}

// spot is the page at a hit.
func (v LogView) spot(line int64) string {
	return v.query(v.Window.Page, "q", v.term(), "line", itoa(line)) + "#L" + itoa(line)
}

// last is the number that the stream goes on after.
func (v LogView) last() string {
	if v.Window.Total > 0 {
		return itoa(v.Window.Total)
	}
	if n := len(v.Lines); n > 0 {
		return itoa(v.Lines[n-1].Number)
	}
	return "0"
}

// looksLikeError finds the lines that a person with a failed build looks for.
var looksLikeError = regexp.MustCompile(`(?i)(^|[^a-z0-9_-])(error|fatal|panic|failed|exception|undefined reference)([: ]|$)|did not complete successfully`)

// ending matches the remarks within a step, as opposed to its name.
var ending = regexp.MustCompile(`^(CACHED|DONE|FAILED|CANCELED|ERROR)\b|^Layer [0-9a-f]+:|^Build #|@sha256:`)

// Liner makes lines of a log. Steps may write at the same time, so each keeps its own colours. Its zero value is ready.
type Liner struct {
	steps map[string]*ansi.Converter
	named map[string]bool // steps whose name was written
}

// Line returns a line as the page shows it. Own lines are remarks of
// Slipway's: first the step's name, then how it ended.
func (l *Liner) Line(number int64, step, text string, own bool) Line {
	if l.steps == nil {
		l.steps, l.named = map[string]*ansi.Converter{}, map[string]bool{}
	}
	if l.steps[step] == nil {
		l.steps[step] = &ansi.Converter{}
		l.named[step] = !own || ending.MatchString(text) // the log is read from its middle on
	}
	line := Line{Number: number, HTML: l.steps[step].Line(text)}
	switch {
	case own && !l.named[step]:
		line.Class = "sys"
		l.named[step] = true
	case own:
		line.Class = "fin"
	case looksLikeError.MatchString(text):
		line.Class = "err"
	}
	return line
}

// Lines turns text into lines of a log; the first has the number given.
func Lines(first int64, texts []string) []Line {
	var liner Liner
	lines := make([]Line, 0, len(texts))
	for i, text := range texts {
		lines = append(lines, liner.Line(first+int64(i), "", text, false))
	}
	return lines
}
