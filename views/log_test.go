package views_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"slipway.dev/views/builds"
	"slipway.dev/views/components"
)

// longLog serves a build's page with a window of a log of 100,000 lines, and its further parts.
func longLog(t *testing.T, running bool, first int64, live func(w http.ResponseWriter, r *http.Request)) (url string, parts *atomic.Int64) {
	const total = 100_000
	parts = &atomic.Int64{}
	part := func(first, n int64) components.LogView {
		first = max(first, 1)
		n = min(n, total-first+1)
		return components.LogView{ID: "log", Title: "Log", Running: running, Lines: lines(first, n), Window: components.LogWindow{
			Page: "/build", Lines: "/parts", Total: total, Earlier: first > 1, Later: first+n-1 < total,
		}}
	}
	return portal(t, map[string]http.HandlerFunc{
		"/build": func(w http.ResponseWriter, r *http.Request) {
			v := part(first, 100)
			if running {
				v.Stream = "/stream"
			}
			show(t, w, builds.Page(testPage("A build"), builds.PageView{Build: sampleBuilds()[1], Log: v}))
		},
		"/parts": func(w http.ResponseWriter, r *http.Request) {
			parts.Add(1)
			ask := func(name string) int64 { n, _ := strconv.ParseInt(r.URL.Query().Get(name), 10, 64); return n }
			v := part(ask("line")-250, 500)
			switch {
			case ask("after") > 0:
				v = part(ask("after")+1, 500)
			case ask("before") > 0:
				begin := max(ask("before")-500, 1)
				v = part(begin, ask("before")-begin)
			case ask("end") > 0:
				v = part(total-499, 500)
			}
			show(t, w, components.LogPart(v))
		},
		"/stream": live,
	}), parts
}

// numbers are those of the lines that stand in the page.
const numbers = `[...document.querySelectorAll(".log[role=log] .l")].map(l => Number(l.dataset.n))`

func unbroken(t *testing.T, got []int) {
	t.Helper()
	for i := 1; i < len(got); i++ {
		if got[i] != got[i-1]+1 {
			t.Fatalf("line %d follows line %d", got[i], got[i-1])
		}
	}
}

func TestOfALongLogThePageHoldsAWindowThatMoves(t *testing.T) {
	url, _ := longLog(t, false, 1, nil)
	ctx := tab(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"/build")); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, `!!customElements.get("log-view") && document.querySelectorAll(".log .l").length === 100`)
	for range 12 {
		before := evaluate[int](t, ctx, numbers+`.at(-1)`)
		evaluate[bool](t, ctx, `(document.querySelector("[data-later]").click(), true)`)
		await(t, ctx, fmt.Sprintf(numbers+`.at(-1) > %d`, before))
	}
	got := evaluate[[]int](t, ctx, numbers)
	unbroken(t, got)
	if len(got) > 3500 || got[len(got)-1] != 6100 || got[0] == 1 {
		t.Errorf("the page holds %d lines, %d to %d", len(got), got[0], got[len(got)-1])
	}
	evaluate[bool](t, ctx, `(document.querySelector("[data-earlier]").scrollIntoView({block: "start", behavior: "instant"}), true)`)
	evaluate[bool](t, ctx, `(window.seen = document.querySelector(".log .l"), window.top0 = window.seen.getBoundingClientRect().top, true)`)
	evaluate[bool](t, ctx, `(document.querySelector("[data-earlier]").click(), true)`)
	await(t, ctx, fmt.Sprintf(numbers+`[0] < %d`, got[0]))
	if moved := evaluate[float64](t, ctx, `Math.abs(window.seen.getBoundingClientRect().top - window.top0)`); moved > 60 {
		t.Errorf("what one reads moved by %v pixels when earlier lines came", moved)
	}
	unbroken(t, evaluate[[]int](t, ctx, numbers))
	if text := evaluate[string](t, ctx, `document.querySelector("[data-tail]").textContent`); text != "100,000 lines" {
		t.Errorf("the log says %q", text)
	}
}

func TestTheAddressOfALineOpensAtIt(t *testing.T) {
	url, parts := longLog(t, false, 1, nil)
	ctx := tab(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"/build#L80000")); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, `!!document.querySelector("#L80000.aimed")`)
	if box := evaluate[float64](t, ctx, `document.querySelector("#L80000").getBoundingClientRect().top / innerHeight`); box < 0 || box > 1 {
		t.Errorf("the line stands at %v of the window's height", box)
	}
	if n := parts.Load(); n != 1 {
		t.Errorf("%d parts were read", n)
	}
	evaluate[bool](t, ctx, `(location.hash = "L123", true)`)
	await(t, ctx, `!!document.querySelector("#L123.aimed")`)
	evaluate[bool](t, ctx, `(document.querySelector("[data-end]").click(), true)`)
	await(t, ctx, numbers+`.at(-1) === 100000 && !document.querySelector("[data-later]")`)
}

func TestLinesThatComeWhileOneReadsElsewhereDoNotDisturb(t *testing.T) {
	var next atomic.Int64
	next.Store(100_001)
	url, _ := longLog(t, true, 99_901, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil && next.Load() < 108_000 {
			from := next.Add(200) - 200
			var html strings.Builder
			if components.LogLines(lines(from, 200)).Render(r.Context(), &html) != nil {
				return
			}
			fmt.Fprintf(w, "id: %d\ndata: %s\n\n", from+199, strings.ReplaceAll(html.String(), "\n", "\ndata: "))
			w.(http.Flusher).Flush()
			<-time.After(5 * time.Millisecond)
		}
		<-r.Context().Done()
	})
	ctx := tab(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"/build")); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, `document.querySelector("[data-tail]").textContent === "108,000 lines"`)
	got := evaluate[[]int](t, ctx, numbers)
	unbroken(t, got)
	if len(got) > 3500 || got[0] != 99_901 || !evaluate[bool](t, ctx, `!!document.querySelector("[data-later]")`) {
		t.Errorf("the page holds %d lines from %d on", len(got), got[0])
	}
}
