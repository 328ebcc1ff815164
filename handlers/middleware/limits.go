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

// bodyTime is how long a client may take to send a body that Body limits.
const bodyTime = time.Minute

// Body limits the size of request bodies, and how long they may take to arrive.
func Body(limit int64, fail Fail) Func { return body(limit, bodyTime, fail) }

func body(limit int64, within time.Duration, fail Fail) Func {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength > limit {
				fail(w, r, models.Errorf(models.TooLarge, "The body is larger than %d bytes.", limit))
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, limit)
			rc := http.NewResponseController(w)
			if r.ContentLength != 0 && rc.SetReadDeadline(time.Now().Add(within)) == nil { // writers in tests have no deadlines
				defer rc.SetReadDeadline(time.Time{})
			}
			next.ServeHTTP(w, r)
		})
	}
}

// Timeout ends the work on a request after a while, and gives slow readers no
// longer than that. Streams are left alone: they set a deadline for each write.
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
			if rc.SetWriteDeadline(end.Add(limit)) == nil { // writers in tests have no deadlines
				defer rc.SetWriteDeadline(time.Time{})
			}
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

// streamPaths are the addresses that answer with events, whatever the client accepts.
var streamPaths = []string{"/live", "/api/v1/events"}

// IsStream tells whether the answer will be server-sent events. Only reads are
// answered so: what else asks for them is no reason to let it take its time.
func IsStream(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
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
