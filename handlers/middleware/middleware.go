// Package middleware holds what happens to every request before a handler sees
// it: its id, the access log, security headers, limits, and who it acts for.
// The parts are plain http middleware, so that the registry and the identity
// provider, which stand beside the router, get them too.
package middleware

import (
	"net/http"
	"slices"
)

// Func wraps a handler.
type Func func(http.Handler) http.Handler

// Chain wraps the handler in the functions, the first outermost.
func Chain(h http.Handler, funcs ...Func) http.Handler {
	for _, f := range slices.Backward(funcs) {
		h = f(h)
	}
	return h
}

// Fail writes an error as the answer to a request.
type Fail func(w http.ResponseWriter, r *http.Request, err error)

// Only applies f to the paths that begin so.
func Only(f Func, prefixes ...string) Func {
	return func(next http.Handler) http.Handler {
		wrapped := f(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hasPrefix(r.URL.Path, prefixes) {
				wrapped.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}
