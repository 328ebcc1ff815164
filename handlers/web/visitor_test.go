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
	for _, c := range []struct{ accept, kind string }{{"application/json", "application/problem+json"}, {"text/html, application/json", "text/html; charset=utf-8"}, {"", "text/html; charset=utf-8"}} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "http://shop-dev.localhost/", nil)
		r.Header.Set("Accept", c.accept)
		web.Visitor(w, r, proxy.NotAnswering)
		if w.Code != 502 || w.Header().Get("Content-Type") != c.kind || !strings.Contains(w.Body.String(), proxy.NotAnswering.Title) {
			t.Errorf("to %q the answer is %d %s %s", c.accept, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	}
	for _, outside := range []string{"src=", "href=", "url("} {
		if strings.Contains(w.Body.String(), outside) {
			t.Errorf("the page asks for something: %s", outside)
		}
	}
}
