package middleware

import (
	"net/http"
	"strings"
)

// Policy is the content security policy of every page: first-party files only,
// nothing inline, no frames.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types slipway"

// Headers sets the security headers of every answer. Over TLS browsers are told to stay with it.
func Headers(externalURL string) Func {
	secure := strings.HasPrefix(externalURL, "https://")
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Security-Policy", Policy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("X-Frame-Options", "DENY")
			h.Set("Referrer-Policy", "same-origin")
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
			h.Set("Cross-Origin-Resource-Policy", "same-origin")
			h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
			if secure {
				h.Set("Strict-Transport-Security", "max-age=31536000")
			}
			if !strings.HasPrefix(r.URL.Path, "/v2/") {
				h.Set("Cache-Control", "private, no-cache")
			}
			next.ServeHTTP(w, r)
		})
	}
}

// SameOrigin refuses writes that a page of another origin sends. Clients that
// are no browsers send none of the headers that it looks at, and pass.
func SameOrigin(check *http.CrossOriginProtection, fail Fail, refused error) Func {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := check.Check(r); err != nil {
				fail(w, r, refused)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}
