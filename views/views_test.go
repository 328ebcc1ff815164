package views_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"slipway.dev/views/layout"
)

func render(t testing.TB, s sample) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.page.Render(t.Context(), &b); err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	return b.String()
}

func TestNoPageHasInlineStylesOrHandlers(t *testing.T) {
	handler := regexp.MustCompile(`\son[a-z]+=`)
	for _, s := range samples() {
		page := render(t, s)
		for _, bad := range []string{` style="`, "<style", "javascript:", "<script>"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s contains %q", s.name, bad)
			}
		}
		if found := handler.FindString(page); found != "" {
			t.Errorf("%s contains %q", s.name, found)
		}
	}
}

func TestEveryPageIsSmall(t *testing.T) {
	for _, s := range samples() {
		if n := len(render(t, s)); n > 60_000 {
			t.Errorf("%s has %d bytes", s.name, n)
		}
	}
}

func TestEveryPageHasOneHeadingOneMainAndEachIDOnce(t *testing.T) {
	for _, s := range samples() {
		doc, err := html.Parse(strings.NewReader(render(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		elements, ids := map[string]int{}, map[string]int{}
		for n := range doc.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			elements[n.Data]++
			for _, a := range n.Attr {
				if a.Key == "id" {
					ids[a.Val]++
				}
			}
		}
		if elements["h1"] != 1 || elements["main"] != 1 {
			t.Errorf("%s has %d h1 and %d main", s.name, elements["h1"], elements["main"])
		}
		for id, n := range ids {
			if n > 1 {
				t.Errorf("%s has the id %q %d times", s.name, id, n)
			}
		}
	}
}

func TestEveryPageHasAtMostOnePrimaryButtonOutsideDialogs(t *testing.T) {
	dialog := regexp.MustCompile(`(?s)<dialog.*?</dialog>`)
	for _, s := range samples() {
		page := dialog.ReplaceAllString(render(t, s), "")
		if n := strings.Count(page, "btn primary") + strings.Count(page, "btn danger primary"); n > 1 {
			t.Errorf("%s has %d primary buttons", s.name, n)
		}
	}
}

func BenchmarkBuilds(b *testing.B) {
	for _, s := range samples() {
		if s.name == "builds" {
			for b.Loop() {
				render(b, s)
			}
		}
	}
}

func TestAWindowsTitleNamesTheViewThatIsOpen(t *testing.T) {
	tabs := func(current int) []layout.Tab {
		out := []layout.Tab{{Label: "People"}, {Label: "Queue"}}
		out[current].Current = true
		return out
	}
	for want, p := range map[string]layout.Page{
		"Admin · Slipway":         {Title: "Admin", Tabs: tabs(0)},
		"Queue · Admin · Slipway": {Title: "Admin", Tabs: tabs(1)},
		"Keys · Slipway":          {Title: "Admin", Window: "Keys", Tabs: tabs(1)},
	} {
		if got := p.WindowTitle(); got != want {
			t.Errorf("the title is %q, want %q", got, want)
		}
	}
}
