package handlers

import (
	"strings"
	"testing"
)

func TestTheDocumentationShowsEveryCallWithItsCommandLine(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cookie := f.cookie(f.Viewer)
	shown, titles := map[string]bool{}, map[string]bool{}
	for _, g := range f.site.api.Docs(f.url) {
		w := f.send(ask{path: "/api/docs/" + g.Name, cookie: cookie})
		if w.Code != 200 || w.Body.Len() > 80_000 || len(g.Calls) == 0 {
			t.Fatalf("%s: %d, %d calls, %d bytes", g.Name, w.Code, len(g.Calls), w.Body.Len())
		}
		_, after, _ := strings.Cut(w.Body.String(), "<title>")
		title, _, _ := strings.Cut(after, "</title>")
		if titles[title] {
			t.Errorf("%s has the window title of another page: %s", g.Name, title)
		}
		titles[title] = true
		t.Logf("%s: %d calls, %d bytes", g.Name, len(g.Calls), w.Body.Len())
		for _, c := range g.Calls {
			shown[c.Method+" "+c.Path] = true
			if !strings.Contains(w.Body.String(), `id="`+c.ID+`"`) || !strings.Contains(w.Body.String(), "Authorization: Bearer $SLIPWAY_TOKEN") {
				t.Errorf("%s %s is not shown", c.Method, c.Path)
			}
		}
	}
	for _, r := range f.site.routes.echo.Routes() {
		if strings.HasPrefix(r.Path, "/api/v1/") && !shown[r.Method+" "+openPath(r.Path)] {
			t.Errorf("%s %s is on no page", r.Method, r.Path)
		}
	}
}
