package git_test

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/outbound"
)

// newService keeps mirrors in a folder of the test and may reach the servers of gittest.
func newService(t *testing.T) *git.Service {
	return serviceWith(t, gittest.Loopback)
}

func serviceWith(t *testing.T, allow []netip.Prefix) *git.Service {
	t.Helper()
	guard := &outbound.Guard{Allow: allow}
	proxy := &outbound.Proxy{Guard: guard}
	if err := proxy.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	return &git.Service{Dir: filepath.Join(t.TempDir(), "mirrors"), Guard: guard, Proxy: proxy}
}

// fetched gives a service whose mirror "r1" holds the repository.
func fetched(t *testing.T, repo *gittest.Repo) *git.Service {
	t.Helper()
	s := newService(t)
	if _, err := s.Fetch(t.Context(), "r1", git.Remote{URL: repo.URL}); err != nil {
		t.Fatal(err)
	}
	return s
}

// wantError checks an error's code and that its message has all the parts.
func wantError(t *testing.T, err error, code models.Code, parts ...string) {
	t.Helper()
	var told *models.Error
	if !errors.As(err, &told) {
		t.Errorf("got %v, want an error of code %s", err, code)
		return
	}
	message := told.Message
	for _, field := range told.Fields {
		message += " " + field
	}
	for _, part := range parts {
		if !strings.Contains(message, part) {
			t.Errorf("message %q lacks %q", message, part)
		}
	}
	if told.Code != code {
		t.Errorf("code %s, want %s (%s)", told.Code, code, message)
	}
}
