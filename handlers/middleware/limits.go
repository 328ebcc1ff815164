package middleware

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/limits"
)

// Body limits the size of request bodies.
func Body(limit int64, fail Fail) Func {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength > limit {
				fail(w, r, models.Errorf(models.TooLarge, "The body is larger than %d bytes.", limit))
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, limit)
			next.ServeHTTP(w, r)
		})
	}
}

// Timeout ends the work on a request after a while, and gives slow senders and
// readers no longer than that. Streams are left alone: they set a deadline for
// each write.
func Timeout(limit time.Duration) Func {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if IsStream(r) {
				next.ServeHTTP(w, r)
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), limit)
			defer cancel()
			rc, end := http.NewResponseController(w), time.Now().Add(limit)
			if r.ContentLength != 0 && rc.SetReadDeadline(end) == nil { // writers in tests have no deadlines
				defer rc.SetReadDeadline(time.Time{})
			}
			if rc.SetWriteDeadline(end.Add(limit)) == nil {
				defer rc.SetWriteDeadline(time.Time{})
			}
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

// streamPaths are the addresses that answer with events, whatever the client accepts.
var streamPaths = []string{"/live", "/api/v1/events"}

// IsStream tells whether the answer will be server-sent events.
func IsStream(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/event-stream") || slices.Contains(streamPaths, r.URL.Path)
}

// Rate limits how often each principal may call; strangers count by address.
func Rate(l *limits.Limiter, fail Fail) Func {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !l.Allow(caller(r)) {
				w.Header().Set("Retry-After", "1")
				fail(w, r, models.Errorf(models.TooMany, "Too many calls in a short time. Wait a second and go on more slowly."))
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func caller(r *http.Request) string {
	if p := models.PrincipalFrom(r.Context()); p != nil {
		return string(p.Kind) + ":" + p.ID
	}
	return "ip:" + limits.Peer(models.RequestFrom(r.Context()).IP)
}
