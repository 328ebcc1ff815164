package middleware

import (
	"context"
	"net/http"
)

// Head answers HEAD as GET without the body (RFC 9110 §9.3.2). A stream ends
// as soon as its headers are out.
func Head(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		get := r.WithContext(ctx)
		get.Method = http.MethodGet
		next.ServeHTTP(&headWriter{ResponseWriter: w, flushed: cancel}, get)
	})
}

// headWriter swallows the body.
type headWriter struct {
	http.ResponseWriter
	flushed func()
}

func (w *headWriter) Write(b []byte) (int, error) { return len(b), nil }

func (w *headWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush() // a writer that can't flush has nothing buffered
	w.flushed()
}

// Unwrap serves http.ResponseController's deadlines.
func (w *headWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
