package images

import (
	"bytes"
	"encoding/json"
	"strings"
)

const (
	maxShown = 256 << 10 // bytes of a file that a page shows
	maxDepth = 64        // how deep JSON may be to be indented: each level makes every line below it longer
)

// pretty indents JSON. What is no JSON, too large or too deep is shown as it is, as far as a page has room.
func pretty(content []byte) string {
	if len(content) > maxShown {
		return strings.ToValidUTF8(string(content[:maxShown]), "") + "…"
	}
	var b bytes.Buffer
	if depth(content) > maxDepth || json.Indent(&b, content, "", "  ") != nil {
		return strings.ToValidUTF8(string(content), "�")
	}
	return b.String()
}

// depth is at most how deep brackets stand in each other.
func depth(content []byte) int {
	now, most := 0, 0
	for _, c := range content {
		switch c {
		case '{', '[':
			now++
			most = max(most, now)
		case '}', ']':
			now--
		}
	}
	return most
}
