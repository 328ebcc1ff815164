package registry

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// serveContent answers with the content or the ranges of it that were asked
// for. Nothing is answered before the first bytes are there, so that storage that
// does not answer is an error for the client and not half a blob.
//
// A large file goes by sendfile but for its first bytes: copies of it cost the
// server nearly twice as much.
func serveContent(w http.ResponseWriter, r *http.Request, content io.ReadSeeker) error {
	if strings.Contains(r.Header.Get("Range"), ",") { // several at once serve nobody but attackers; all of it is an answer too
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	reader := &watchedContent{ReadSeeker: content}
	late := &lateHeader{ResponseWriter: w}
	var to http.ResponseWriter = late
	if size, err := content.Seek(0, io.SeekEnd); err == nil && size >= largeBlob { // ServeContent seeks too, and says what went wrong
		file, _ := content.(*os.File) // what a bucket has is none
		to = inPieces{late, file}
	}
	http.ServeContent(to, r, "", time.Time{}, reader)
	switch {
	case late.begun || reader.err == nil && late.status == 0:
	case reader.err == nil:
		w.WriteHeader(late.status)
	default:
		for _, name := range []string{"Accept-Ranges", "Cache-Control", "Content-Length", "Content-Range", "Content-Type", "Docker-Content-Digest", "Etag"} {
			w.Header().Del(name)
		}
		return reader.err
	}
	if reader.err != nil && r.Context().Err() == nil { // the client notices that bytes are missing
		slog.ErrorContext(r.Context(), "a blob broke off on its way to the client", "path", r.URL.Path, "error", reader.err)
	}
	return nil
}

const (
	largeBlob  = 8 << 20   // bytes from which a blob goes in large pieces
	largePiece = 256 << 10 // bytes that are copied at once; more save nothing
)

var pieces = sync.Pool{New: func() any { return new([largePiece]byte) }}

// inPieces sends what http.ServeContent sends in large pieces.
type inPieces struct {
	*lateHeader
	file *os.File // that the content is; nil: it is no file
}

// ReadFrom is what io.Copy calls.
func (p inPieces) ReadFrom(content io.Reader) (int64, error) {
	rest, ok := content.(*io.LimitedReader)
	if p.file == nil || !ok {
		piece := pieces.Get().(*[largePiece]byte)
		defer pieces.Put(piece)
		return io.CopyBuffer(p.lateHeader, content, piece[:])
	}
	size := rest.N
	if _, err := io.CopyN(p.lateHeader, rest, min(largePiece, rest.N)); err != nil { // now there are bytes, or why there are none
		return size - rest.N, err
	}
	n, err := io.CopyN(p.ResponseWriter, p.file, rest.N) // by sendfile, where the connection can
	return size - rest.N + n, err
}

// watchedContent remembers why reading failed, which http.ServeContent keeps to itself.
type watchedContent struct {
	io.ReadSeeker
	err error
}

func (c *watchedContent) Read(b []byte) (int, error) {
	n, err := c.ReadSeeker.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// lateHeader holds the status back until there are bytes.
type lateHeader struct {
	http.ResponseWriter
	status int
	begun  bool
}

func (l *lateHeader) WriteHeader(status int) { l.status = status }

func (l *lateHeader) Write(b []byte) (int, error) {
	if !l.begun {
		l.begun = true
		l.ResponseWriter.WriteHeader(l.status)
	}
	return l.ResponseWriter.Write(b)
}
