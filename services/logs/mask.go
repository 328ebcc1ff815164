package logs

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

const (
	masked = "••••••"
	// shortest is the length from which a value is hidden: a shorter one would
	// hide half of every log and protect nothing.
	shortest = 4
	// shortestEncoded is the same for encoded forms and for the lines of a value.
	shortestEncoded = 8
)

// Masker hides secrets in text: as they are, line by line where they have
// several, and in base64, URL, hexadecimal and JSON form. The zero value hides
// nothing. It is safe for concurrent use.
type Masker struct {
	mu       sync.RWMutex
	patterns [][]byte // longest first
	longest  int
}

// NewMasker returns a masker of the secrets.
func NewMasker(secrets ...string) *Masker {
	m := &Masker{}
	m.Add(secrets...)
	return m
}

// Add hides these secrets too, from now on.
func (m *Masker) Add(secrets ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range secrets {
		m.add(s, shortest)
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); line != s {
				m.add(line, shortestEncoded)
			}
		}
	}
	slices.SortFunc(m.patterns, func(a, b []byte) int { return cmp.Or(len(b)-len(a), bytes.Compare(a, b)) })
	m.patterns = slices.CompactFunc(m.patterns, bytes.Equal)
	if len(m.patterns) > 0 {
		m.longest = len(m.patterns[0])
	}
}

func (m *Masker) add(secret string, atLeast int) {
	secret = strings.TrimSpace(secret)
	if len(secret) < atLeast {
		return
	}
	m.patterns = append(m.patterns, []byte(secret))
	for _, form := range encodings(secret) {
		if len(form) >= shortestEncoded && form != secret {
			m.patterns = append(m.patterns, []byte(form))
		}
	}
}

// encodings are the forms in which tools print a value without meaning to.
func encodings(secret string) []string {
	forms := []string{hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	forms = append(forms, quoted(secret, true), quoted(secret, false))
	for _, safe := range []string{"", "/", "!'()*", "$&+=:@", "$&+,/:;=?@#!'()*"} {
		upper, lower := percent(secret, safe, "%%%02X"), percent(secret, safe, "%%%02x")
		forms = append(forms, upper, lower, strings.ReplaceAll(upper, "%20", "+"), strings.ReplaceAll(lower, "%20", "+"))
	}
	for offset := range 3 {
		forms = append(forms, inside(base64.RawStdEncoding, offset, secret), inside(base64.RawURLEncoding, offset, secret))
	}
	for _, width := range []int{76, 64} { // RFC 2045 §6.8 and RFC 7468 §2
		forms = append(forms, wrapped(secret, width)...)
		forms = append(forms, wrapped(secret+"\n", width)...) // as it stands in a file
	}
	return forms
}

// percent is the secret in a URL (RFC 3986 §2.1). Tools differ in what they
// leave as it is beside the unreserved characters: curl nothing, Python's quote
// the slash, JavaScript's encodeURIComponent some marks, Go's PathEscape some
// others, encodeURI the reserved ones.
func percent(secret, safe, format string) string {
	var out strings.Builder
	for i := range len(secret) {
		c := secret[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~"+safe, c) >= 0 {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, format, c)
		}
	}
	return out.String()
}

// wrapped is the secret's base64 as tools break it into lines.
func wrapped(secret string, width int) (lines []string) {
	text := base64.StdEncoding.EncodeToString([]byte(secret))
	if len(text) <= width {
		return nil
	}
	for line := range slices.Chunk([]byte(text), width) {
		lines = append(lines, string(line))
	}
	return lines
}

func quoted(secret string, escapeHTML bool) string {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(escapeHTML)
	_ = enc.Encode(secret) // a string, into memory
	return strings.TrimSuffix(strings.TrimPrefix(out.String(), `"`), "\"\n")
}

// inside is what remains of the secret in the base64 of a longer text that has
// it at the offset (modulo 3): the characters that depend on nothing else.
func inside(enc *base64.Encoding, offset int, secret string) string {
	text := enc.EncodeToString(append(make([]byte, offset), secret...))
	first := (offset*8 + 5) / 6
	last := (offset + len(secret)) * 8 / 6
	return text[first:last]
}

// Mask returns the text with every secret replaced.
func (m *Masker) Mask(text string) string { return string(m.mask([]byte(text), len(text))) }

// Any tells whether the text holds a secret.
func (m *Masker) Any(text string) bool {
	return len(m.find([]byte(text))) > 0
}

// span returns how much text past a cut decides what is hidden before it.
func (m *Masker) span() int {
	if m == nil {
		return 0
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.longest
}

// mask hides the secrets in text and returns what begins before the byte end.
func (m *Masker) mask(text []byte, end int) []byte {
	spans := m.find(text)
	end = min(end, len(text))
	if len(spans) == 0 {
		return text[:end]
	}
	var out []byte
	at := 0
	for _, s := range spans {
		if s[0] >= end {
			break
		}
		out = append(append(out, text[at:s[0]]...), masked...)
		at = s[1]
	}
	if at < end {
		out = append(out, text[at:end]...)
	}
	return out
}

// find returns the places of all secrets, in order, those that touch merged.
func (m *Masker) find(text []byte) [][2]int {
	if m == nil {
		return nil
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	var spans [][2]int
	for _, p := range m.patterns {
		for at := 0; ; {
			i := bytes.Index(text[at:], p)
			if i < 0 {
				break
			}
			spans = append(spans, [2]int{at + i, at + i + len(p)})
			at += i + 1
		}
	}
	slices.SortFunc(spans, func(a, b [2]int) int { return a[0] - b[0] })
	var merged [][2]int
	for _, s := range spans {
		if n := len(merged); n > 0 && s[0] <= merged[n-1][1] {
			merged[n-1][1] = max(merged[n-1][1], s[1])
			continue
		}
		merged = append(merged, s)
	}
	return merged
}
