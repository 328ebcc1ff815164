package web_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"slipway.dev/handlers/web"
	"slipway.dev/services/proxy"
)

func TestAVisitorOfAStoppedAppGetsAPageThatNeedsNothingElse(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	web.Visitor(w, httptest.NewRequest("GET", "http://shop-dev.localhost/", nil), proxy.Stopped)
	if w.Code != proxy.Stopped.Status || !strings.Contains(w.Body.String(), "<h1>Stopped</h1>") {
		t.Errorf("the answer is %d %s", w.Code, w.Body)
	}
	if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") {
		t.Errorf("the policy is %q", policy)
	}
	for _, outside := range []string{"src=", "href=", "url("} {
		if strings.Contains(w.Body.String(), outside) {
			t.Errorf("the page asks for something: %s", outside)
		}
	}
}
