package static

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func loaded(t *testing.T) *Assets {
	t.Helper()
	a, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func get(a *Assets, url, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", url, nil)
	r.Header.Set("Accept-Encoding", accept)
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w
}

func TestStyleSheetAndScriptTogetherStayUnder15kB(t *testing.T) {
	a := loaded(t)
	_, cssGz, cssBr := a.Sizes("app.css")
	_, jsGz, jsBr := a.Sizes("app.js")
	t.Logf("CSS %d gz, %d br; JS %d gz, %d br", cssGz, cssBr, jsGz, jsBr)
	if cssBr+jsBr > 15_000 { // what browsers are sent
		t.Errorf("the style sheet and the script are %d bytes compressed, more than 15000", cssBr+jsBr)
	}
}

func TestAssetsAreServedUnderTheirHashAndKeptForEver(t *testing.T) {
	a := loaded(t)
	w := get(a, a.URL("app.css"), "gzip, br")
	if w.Code != http.StatusOK {
		t.Fatalf("got %d for %s", w.Code, a.URL("app.css"))
	}
	for name, want := range map[string]string{
		"Content-Type":           "text/css; charset=utf-8",
		"Cache-Control":          "public, max-age=31536000, immutable",
		"Content-Encoding":       "br",
		"Vary":                   "Accept-Encoding",
		"X-Content-Type-Options": "nosniff",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := get(a, a.URL("app.css"), "").Header().Get("Content-Encoding"); got != "" {
		t.Errorf("a client that accepts no encoding got %q", got)
	}
}

func TestAnUnknownAssetIsNotFound(t *testing.T) {
	for _, url := range []string{"/assets/app.css", "/assets/", "/assets/../static.go"} {
		if got := get(loaded(t), url, "").Code; got != http.StatusNotFound {
			t.Errorf("%s answered %d", url, got)
		}
	}
}

func TestTheSpriteHasNoScriptAndNoStyle(t *testing.T) {
	sprite := loaded(t).Sprite()
	for _, bad := range []string{"<script", "style=", "<style", " on", "href"} {
		if strings.Contains(sprite, bad) {
			t.Errorf("the icons contain %q", bad)
		}
	}
}

func TestEveryFaviconOfAStateIsThere(t *testing.T) {
	a := loaded(t)
	for _, name := range []string{"favicon.svg", "favicon-ok.svg", "favicon-run.svg", "favicon-warn.svg", "favicon-bad.svg"} {
		if a.URL(name) == "" {
			t.Errorf("there is no %s", name)
		}
	}
}

func TestEditsShowAtOnceInDevelopment(t *testing.T) {
	a, err := LoadDev(".")
	if err != nil {
		t.Fatal(err)
	}
	if get(a, a.URL("app.js"), "").Code != http.StatusOK {
		t.Error("the script of the folder is not served")
	}
}
