package proxy

import (
	"net/url"
	"strings"
)

// A host whose paths go to several apps is decided by segments of the path as
// it was sent, each decoded once: an encoded slash divides nothing, an empty
// segment is a segment, and what is sent on is what came in. A path with dot
// segments, in any spelling, could mean one app here and another behind, and is refused.

// below tells whether the escaped path begins with the segments, and returns what follows them: nothing, or what
// begins with a slash.
func below(escaped string, segments []string) (rest string, ok bool) {
	rest = escaped
	for _, want := range segments {
		if !strings.HasPrefix(rest, "/") {
			return "", false
		}
		segment, _, _ := strings.Cut(rest[1:], "/")
		if decoded, err := url.PathUnescape(segment); err != nil || decoded != want {
			return "", false
		}
		rest = rest[1+len(segment):]
	}
	return rest, true
}

// ambiguous tells whether a segment of the escaped path is, or could be read as, one of dots: with a backslash or an
// encoded slash for a slash, or with parameters after a semicolon.
func ambiguous(escaped string) bool {
	if !strings.Contains(escaped, ".") && !strings.Contains(escaped, "%2") {
		return false
	}
	decoded, err := url.PathUnescape(escaped)
	if err != nil {
		return true
	}
	for segment := range strings.SplitSeq(strings.ReplaceAll(decoded, `\`, "/"), "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
