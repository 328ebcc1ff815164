package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// ReadLines yields the lines of an instance's log, which is open, as next reads them: those after o.After, until next gives
// io.EOF or ctx ends. An error of next, while reading what, ends it too.
func ReadLines(ctx context.Context, i Instance, o LogOptions, what string, next func() (LogLine, error), yield func(LogLine, error) bool) {
	if o.Opened != nil {
		o.Opened()
	}
	for {
		line, err := next()
		if err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				yield(LogLine{}, fmt.Errorf("reading %s: %w", what, err))
			}
			return
		}
		line.Replica = i.Replica
		if line.At.After(o.After) && !yield(line, nil) {
			return
		}
	}
}

// StampedLine takes "time text" apart, the form in which engines write a line with its time (RFC 3339).
func StampedLine(text string) (LogLine, error) {
	stamp, rest, _ := strings.Cut(text, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return LogLine{}, err
	}
	return LogLine{At: at.UTC(), Text: strings.TrimRight(strings.ToValidUTF8(rest, "�"), "\r\n")}, nil
}

// maxKept is how many bytes of a line are kept with its deployment. Who reads a log gets the whole line.
const maxKept = 2 << 10

// short cuts a line that is too long to be kept. Secrets have to be hidden before.
func short(line string) string {
	if len(line) <= maxKept {
		return line
	}
	return strings.ToValidUTF8(line[:maxKept], "") + "…"
}

// PlainLines are the lines without colours, as a Failure has them, up to an error.
func PlainLines(all iter.Seq2[LogLine, error]) (lines []string) {
	for line, err := range all {
		if err != nil {
			break
		}
		lines = append(lines, Plain(line.Text))
	}
	return lines
}
