// Package ansi turns terminal output into HTML that is safe whatever the output is: nothing but escaped text and
// <span class="…"> with classes of a fixed list. Colours and weights are kept, a carriage return lets the last write
// win, and every other escape sequence is dropped: hyperlinks, images and titles (OSC) among them.
package ansi

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Converter turns lines into HTML, one after the other. It carries colours over the ends of lines, as terminals do.
// Its zero value is ready.
type Converter struct{ style style }

// style is how the text that follows is written.
type style struct {
	foreground                    int // an SGR number, 30–37 or 90–97; 0: the default
	bold, dim, italic, underlined bool
}

// classes returns the style's class names, empty for plain text.
func (s style) classes() string {
	var names []string
	if s.foreground != 0 {
		names = append(names, "fg"+strconv.Itoa(s.foreground))
	}
	for _, flag := range []struct {
		on   bool
		name string
	}{{s.bold, "bold"}, {s.dim, "dim"}, {s.italic, "it"}, {s.underlined, "ul"}} {
		if flag.on {
			names = append(names, flag.name)
		}
	}
	return strings.Join(names, " ")
}

// Line returns the line as HTML. The line's own end may be part of it.
func (c *Converter) Line(line string) string {
	line = strings.TrimRight(line, "\r\n")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	w := writer{}
	w.Grow(len(line) + 32)
	w.begin(c.style)
	for i := 0; i < len(line); {
		if line[i] != 0x1b {
			i += w.char(line[i:])
			continue
		}
		n, parameters, final := escape(line[i:])
		i += n
		if final == 'm' {
			c.style = c.style.apply(parameters)
			w.begin(c.style)
		}
	}
	w.end()
	return w.String()
}

// Strip returns the line without escape sequences and control characters, as plain text.
func Strip(line string) string {
	line = strings.TrimRight(line, "\r\n")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	var b strings.Builder
	for i := 0; i < len(line); {
		if line[i] == 0x1b {
			n, _, _ := escape(line[i:])
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(line[i:])
		if r == '\t' || r >= 0x20 && r != 0x7f {
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// writer builds the HTML; at most one span is open at any time.
type writer struct {
	strings.Builder
	open bool
}

func (w *writer) begin(s style) {
	w.end()
	if classes := s.classes(); classes != "" {
		w.WriteString(`<span class="` + classes + `">`)
		w.open = true
	}
}

func (w *writer) end() {
	if w.open {
		w.WriteString("</span>")
		w.open = false
	}
}

// char writes the first character of s, escaped, and returns how many bytes it took. Control characters are dropped.
func (w *writer) char(s string) int {
	switch c := s[0]; {
	case c == '<':
		w.WriteString("&lt;")
	case c == '>':
		w.WriteString("&gt;")
	case c == '&':
		w.WriteString("&amp;")
	case c == '"':
		w.WriteString("&#34;")
	case c == '\'':
		w.WriteString("&#39;")
	case c < 0x20 && c != '\t' || c == 0x7f:
	case c < utf8.RuneSelf:
		w.WriteByte(c)
	default:
		r, n := utf8.DecodeRuneInString(s)
		w.WriteRune(r)
		return n
	}
	return 1
}

// escape reads the sequence that begins at s[0], which is ESC (ECMA-48 §5). It returns the sequence's length and, for
// control sequences, their parameters and final byte.
func escape(s string) (n int, parameters string, final byte) {
	if len(s) < 2 {
		return len(s), "", 0
	}
	switch s[1] {
	case '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1, s[2:i], s[i]
			}
		}
		return len(s), "", 0
	case ']', '_', 'P', '^', 'X': // OSC, APC, DCS, PM, SOS: up to BEL or ST
		return stringEnd(s), "", 0
	}
	return 2, "", 0
}

// stringEnd returns the length of a control string, which ends with BEL or with ESC \.
func stringEnd(s string) int {
	for i := 2; i < len(s); i++ {
		if s[i] == 0x07 {
			return i + 1
		}
		if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
			return i + 2
		}
	}
	return len(s)
}

// apply returns the style after the parameters of an SGR sequence (ECMA-48 §8.3.117).
func (s style) apply(parameters string) style {
	if parameters == "" {
		return style{}
	}
	codes := strings.Split(parameters, ";")
	for i := 0; i < len(codes); i++ {
		code, _ := strconv.Atoi(codes[i])
		if code == 38 || code == 48 {
			color, used := extended(codes[i+1:])
			if code == 38 && color != 0 {
				s.foreground = color
			}
			i += used
			continue
		}
		s = s.with(code)
	}
	return s
}

// with returns the style after one SGR code.
func (s style) with(code int) style {
	switch {
	case code == 0:
		return style{}
	case code == 1:
		s.bold = true
	case code == 2:
		s.dim = true
	case code == 3:
		s.italic = true
	case code == 4:
		s.underlined = true
	case code == 22:
		s.bold, s.dim = false, false
	case code == 23:
		s.italic = false
	case code == 24:
		s.underlined = false
	case code >= 30 && code <= 37, code >= 90 && code <= 97:
		s.foreground = code
	case code == 39:
		s.foreground = 0
	}
	return s
}

// extended reads the rest of a 256-colour ("5;n") or true-colour ("2;r;g;b") code. It returns the colour as one of the
// sixteen that have a class, 0 for the others, and how many codes it used.
func extended(rest []string) (color, used int) {
	if len(rest) < 2 {
		return 0, len(rest)
	}
	if rest[0] != "5" {
		return 0, min(4, len(rest))
	}
	n, _ := strconv.Atoi(rest[1])
	switch {
	case n >= 0 && n < 8:
		return 30 + n, 2
	case n >= 8 && n < 16:
		return 82 + n, 2
	}
	return 0, 2
}
