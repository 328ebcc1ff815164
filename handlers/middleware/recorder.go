package middleware

import (
	"io"
	"net/http"
)

// Recorder remembers the status and size of an answer while it passes through.
// It keeps the copying of files (ReadFrom) and the response controller (Unwrap) working.
type Recorder struct {
	http.ResponseWriter
	Status int
	Bytes  int64
}

// Record returns a Recorder in front of w, or w itself where it is one.
func Record(w http.ResponseWriter) *Recorder {
	if r, ok := w.(*Recorder); ok {
		return r
	}
	return &Recorder{ResponseWriter: w}
}

// WriteHeader notes the first final status.
func (r *Recorder) WriteHeader(status int) {
	if r.Status == 0 && status >= http.StatusOK {
		r.Status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *Recorder) Write(b []byte) (int, error) {
	r.begin()
	n, err := r.ResponseWriter.Write(b)
	r.Bytes += int64(n)
	return n, err
}

// ReadFrom lets the connection copy a file by itself.
func (r *Recorder) ReadFrom(src io.Reader) (int64, error) {
	r.begin()
	n, err := io.Copy(r.ResponseWriter, src)
	r.Bytes += n
	return n, err
}

// Flush sends what is buffered.
func (r *Recorder) Flush() {
	r.begin()
	_ = http.NewResponseController(r.ResponseWriter).Flush() // a writer that can't flush has nothing buffered
}

// Unwrap serves http.ResponseController.
func (r *Recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Begun tells whether something was answered already.
func (r *Recorder) Begun() bool { return r.Status != 0 }

func (r *Recorder) begin() {
	if r.Status == 0 {
		r.Status = http.StatusOK
	}
}
