package deploy

import (
	"strings"
	"unicode"
)

// maxWords is how many bytes of somebody else's words a sentence has.
const maxWords = 400

// Plain drops what is not text from somebody else's words, and makes them one line.
func Plain(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "�")))
}

// Sentence makes somebody else's words end like a sentence, and not go on for ever.
func Sentence(text string) string {
	if len(text) > maxWords {
		text = strings.ToValidUTF8(text[:maxWords], "") + "…"
	}
	return strings.TrimRight(text, ". ") + "."
}
