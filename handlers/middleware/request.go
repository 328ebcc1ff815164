package middleware

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/proxy"
)

// Request gives every request an id, finds the client's address and tells both
// to the context. Forwarding headers count only when the peer is one of the
// trusted proxies; then the last address that is no trusted proxy is the client's.
func Request(trusted []netip.Prefix) Func {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			req := models.Request{ID: rand.Text()[:16], IP: clientIP(r, trusted)}
			w.Header().Set("X-Request-Id", req.ID)
			next.ServeHTTP(w, r.WithContext(models.WithRequest(r.Context(), req)))
		})
	}
}

func clientIP(r *http.Request, trusted []netip.Prefix) string {
	client := proxy.Client(r, trusted)
	if !client.IsValid() {
		return ""
	}
	return client.String()
}

// Log writes one line for every request: never its query, and not the parts of
// paths that are credentials. Quiet paths are logged at debug level.
func Log(quiet ...string) Func {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start, rec := time.Now(), Record(w)
			next.ServeHTTP(rec, r)
			level := slog.LevelInfo
			if hasPrefix(r.URL.Path, quiet) {
				level = slog.LevelDebug
			}
			req := models.RequestFrom(r.Context())
			slog.LogAttrs(r.Context(), level, "request",
				slog.String("method", r.Method), slog.String("path", MaskPath(r.URL.Path)), slog.Int("status", rec.Status),
				slog.Duration("took", time.Since(start)), slog.Int64("bytes", rec.Bytes),
				slog.String("ip", req.IP), slog.String("request_id", req.ID))
		})
	}
}

// secretPaths are the paths whose next part is a one-time credential.
var secretPaths = []string{"/setup/", "/invite/", "/invites/", "/api/v1/invites/"}

// MaskPath hides the part of a path that is a credential.
func MaskPath(path string) string {
	for _, prefix := range secretPaths {
		if rest, ok := strings.CutPrefix(path, prefix); ok && rest != "" {
			_, tail, more := strings.Cut(rest, "/")
			if more {
				tail = "/" + tail
			}
			return prefix + "***" + tail
		}
	}
	return path
}

func hasPrefix(path string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}
