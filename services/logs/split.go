package logs

import (
	"bytes"
	"strings"
	"time"
)

// splitter puts the lines of one step and stream together from the pieces in which they arrive.
type splitter struct {
	buf  []byte
	at   time.Time
	more bool // the line went on past what is kept
}

// add takes a piece and calls line with each whole line. Of a line, at most keep bytes are held.
func (p *splitter) add(at time.Time, data []byte, keep int, line func(*splitter)) {
	for len(data) > 0 {
		if p.empty() {
			p.at = at
		}
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			p.hold(data, keep)
			return
		}
		p.hold(data[:end], keep)
		line(p)
		p.buf, p.more = p.buf[:0], false
		p.at, data = at, data[end+1:]
	}
}

func (p *splitter) empty() bool { return len(p.buf) == 0 && !p.more }

// hold adds a piece of a line. What a carriage return overwrites is gone, as on a terminal.
func (p *splitter) hold(piece []byte, keep int) {
	if len(piece) == 0 {
		return
	}
	if n := len(p.buf); n > 0 && p.buf[n-1] == '\r' {
		p.buf, p.more = p.buf[:0], false
	}
	if back := bytes.LastIndexByte(piece[:len(piece)-1], '\r'); back >= 0 {
		p.buf, p.more, piece = p.buf[:0], false, piece[back+1:]
	}
	room := max(keep-len(p.buf), 0)
	if len(piece) > room {
		p.more = p.more || len(bytes.TrimSuffix(piece, []byte("\r"))) > room
		piece = piece[:room]
	}
	p.buf = append(p.buf, piece...)
}

// text returns the line as it is stored: masked, then cut to limit bytes, valid UTF-8.
func (p *splitter) text(m *Masker, limit int) string {
	raw := bytes.TrimSuffix(p.buf, []byte("\r"))
	cut := p.more || len(raw) > limit
	text := clean(string(m.mask(raw, limit)))
	if cut {
		text += " … [line cut]"
	}
	return text
}

// clean removes what no database and no page takes.
func clean(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "\uFFFD")
}
