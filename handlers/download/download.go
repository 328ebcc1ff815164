// Package download says how a browser has to treat a file that somebody else
// made: as something to keep, never as a page of the portal.
package download

import (
	"cmp"
	"mime"
	"net/http"
	"strconv"
)

// Headers describes a file of the name and of so many bytes. Whatever it holds,
// no browser shows it or guesses what it is (RFC 6266; WHATWG MIME Sniffing).
func Headers(h http.Header, name string, size int64) {
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", cmp.Or(mime.FormatMediaType("attachment", map[string]string{"filename": name}), "attachment"))
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-store")
}
