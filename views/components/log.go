package components

import (
	"regexp"

	"slipway.dev/views/ansi"
)

// Line is one line of a log, ready to be drawn.
type Line struct {
	Number int64
	HTML   string // from views/ansi: escaped text and spans
	Class  string // "err" for lines that look like errors, "sys" for the names of steps, "fin" for Slipway's other remarks
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
}

// last is the number that the stream goes on after.
func (v LogView) last() string {
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
