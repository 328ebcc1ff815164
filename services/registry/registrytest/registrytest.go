// Package registrytest serves the embedded registry to tests as the portal does.
package registrytest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"slipway.dev/services/registry"
)

// Serve answers for the registry over HTTP until the test ends, and sets its address (External). Its blobs lie in a
// folder of the test where it has none.
func Serve(t testing.TB, r *registry.Service) {
	t.Helper()
	if r.Folder == "" {
		r.Folder = t.TempDir()
	}
	server := httptest.NewServer(Handler(r))
	t.Cleanup(server.Close)
	r.External = server.URL
}

// Handler answers for the registry's API and for its tokens.
func Handler(r *registry.Service) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v2/", r)
	mux.HandleFunc("/registry/token", r.Token)
	return mux
}
