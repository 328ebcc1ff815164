package components

import (
	"regexp"

	"slipway.dev/views/ansi"
)

// Line is one line of a log, ready to be drawn.
type Line struct {
	Number int64
	HTML   string // from views/ansi: escaped text and spans
	Class  string // "err" for lines that look like errors
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

// Lines turns text into lines of a log; the first has the number given. Colours carry over from line to line.
func Lines(first int64, texts []string) []Line {
	var c ansi.Converter
	lines := make([]Line, 0, len(texts))
	for i, text := range texts {
		line := Line{Number: first + int64(i), HTML: c.Line(text)}
		if looksLikeError.MatchString(text) {
			line.Class = "err"
		}
		lines = append(lines, line)
	}
	return lines
}
