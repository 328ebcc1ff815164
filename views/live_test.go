package views_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"slipway.dev/views/apps"
	"slipway.dev/views/builds"
	"slipway.dev/views/components"
)

func evaluate[T any](t *testing.T, ctx context.Context, script string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return v
}

// await waits until the script is true.
func await(t *testing.T, ctx context.Context, script string) {
	t.Helper()
	for !evaluate[bool](t, ctx, script) {
		select {
		case <-ctx.Done():
			t.Fatalf("waited too long for %s", script)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// portal serves the handler with the assets and the policy.
func portal(t *testing.T, routes map[string]http.HandlerFunc) string {
	mux := http.NewServeMux()
	mux.Handle("/assets/", assets)
	for path, h := range routes {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", policy)
			h(w, r)
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.CloseClientConnections)
	t.Cleanup(func() { go server.Close() })
	return server.URL
}

func tab(t *testing.T) context.Context {
	ctx, done := context.WithTimeout(browser(t), 3*time.Minute)
	t.Cleanup(done)
	return ctx
}

func show(t *testing.T, w http.ResponseWriter, page templ.Component) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Render(t.Context(), w); err != nil {
		t.Error(err)
	}
}

func TestALivePageChangesInPlaceAndKeepsFocusAndOpenMenus(t *testing.T) {
	var changed atomic.Bool
	list := stages()
	url := portal(t, map[string]http.HandlerFunc{
		"/app": func(w http.ResponseWriter, r *http.Request) {
			now := append([]apps.Stage(nil), list...)
			if changed.Load() {
				now[0].State = "failing"
			}
			p := appPage("overview")
			p.Live = []string{"app:a1"}
			show(t, w, apps.Overview(p, apps.OverviewView{Header: header(), Stages: now, Builds: sampleBuilds()[:2]}))
		},
		"/live": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			for !changed.Load() {
				select {
				case <-r.Context().Done():
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
			fmt.Fprint(w, "event: change\ndata: {}\n\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	})
	ctx := tab(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"/app"), chromedp.Click(chromedp.CSS(`[popovertarget="menu-e1"]`)), chromedp.WaitVisible(chromedp.CSS("#menu-e1"))); err != nil {
		t.Fatal(err)
	}
	evaluate[bool](t, ctx, `(document.querySelector("#menu-e1 a").focus(), window.kept = document.activeElement, true)`)
	changed.Store(true)
	await(t, ctx, `document.querySelector("#stage-e1 .badge").textContent.includes("Failing")`)
	if !evaluate[bool](t, ctx, `document.activeElement === window.kept && document.querySelector("#menu-e1").matches(":popover-open")`) {
		t.Error("the open menu or the focus got lost")
	}
}

func TestALogIsWholeAndInOrderAfterItsStreamBroke(t *testing.T) {
	const total = 3000
	var streams atomic.Int64
	b := sampleBuilds()[0]
	url := portal(t, map[string]http.HandlerFunc{
		"/build": func(w http.ResponseWriter, r *http.Request) {
			show(t, w, builds.Page(testPage("A build"), builds.PageView{Build: b, Log: components.LogView{ID: "log", Title: "Log", Lines: lines(1, 100), Stream: "/stream", Running: true}}))
		},
		"/stream": func(w http.ResponseWriter, r *http.Request) {
			streams.Add(1)
			from, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
			if id := r.Header.Get("Last-Event-ID"); id != "" {
				from, _ = strconv.ParseInt(id, 10, 64)
			}
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "retry: 10\n\n")
			for sent := 0; from < total; sent++ {
				if sent == 4 {
					return // the connection breaks
				}
				var html strings.Builder
				if err := components.LogLines(lines(from+1, 200)).Render(r.Context(), &html); err != nil {
					return
				}
				from += 200
				fmt.Fprintf(w, "id: %d\ndata: %s\n\n", min(from, total), strings.ReplaceAll(html.String(), "\n", "\ndata: "))
			}
			fmt.Fprint(w, "event: end\ndata: done\n\n")
		},
	})
	ctx := tab(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"/build")); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, `!document.querySelector(".tailing.is-run")`)
	numbers := evaluate[[]int](t, ctx, `[...document.querySelectorAll(".log .l")].map(l => Number(l.dataset.n))`)
	for i, n := range numbers {
		if n != i+1 {
			t.Fatalf("line %d has the number %d", i+1, n)
		}
	}
	if len(numbers) < total || streams.Load() < 3 {
		t.Errorf("%d lines over %d streams", len(numbers), streams.Load())
	}
}

func lines(first, n int64) []components.Line {
	var text []string
	for i := range n {
		text = append(text, fmt.Sprintf("compile pkg%04d <generic[T]>", first+i))
	}
	return components.Lines(first, text)
}

func TestTheWayWorksWithoutScripts(t *testing.T) {
	server := serve(t)
	ctx := tab(t)
	off := chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	})
	err := chromedp.Do(ctx, off, chromedp.Navigate(server.URL+"/app"), chromedp.Click(chromedp.CSS(`[commandfor="build"]`)), chromedp.WaitVisible(chromedp.CSS("dialog#build[open] select")),
		chromedp.Click(chromedp.CSS(`dialog#build button[command="close"]`)), chromedp.WaitNotPresent(chromedp.CSS("dialog#build[open]")))
	if err != nil {
		t.Error(err)
	}
}

func TestThePaletteIsOpenedSearchedAndFollowedByKeyboard(t *testing.T) {
	all := samples()
	var pages = map[string]sample{}
	for _, s := range all {
		pages[s.name] = s
	}
	routes := map[string]http.HandlerFunc{"/apps/a1": func(w http.ResponseWriter, r *http.Request) { show(t, w, pages["app"].page) }}
	for _, name := range []string{"home", "search"} {
		routes["/"+name] = func(w http.ResponseWriter, r *http.Request) { show(t, w, pages[name].page) }
	}
	url := portal(t, routes)
	ctx := tab(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"/home"), chromedp.KeyEvent("k", chromedp.KeyModifiers(chromedp.ModifierCtrl)), chromedp.WaitVisible(chromedp.CSS("#palette .hit[aria-selected=true]"))); err != nil {
		t.Fatal(err)
	}
	if got := evaluate[string](t, ctx, `document.querySelector("#palette input").getAttribute("aria-activedescendant")`); got != "hit-0" {
		t.Errorf("the active option is %q", got)
	}
	if err := chromedp.Do(ctx, chromedp.KeyEvent("\r")); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, `location.pathname === "/apps/a1"`)
}

// pairs are the colours that stand on each other, with the least contrast that they need (WCAG 2.2, 1.4.3 and 1.4.11).
var pairs = func() (list [][3]string) {
	for _, text := range []string{"ink", "ink-2", "ink-3", "link", "ok", "bad", "run", "warn"} {
		for _, ground := range []string{"canvas", "surface", "hover"} {
			list = append(list, [3]string{text, ground, "4.5"})
		}
	}
	for _, state := range []string{"ok", "bad", "run", "warn", "idle"} {
		list = append(list, [3]string{state, state + "-bg", "4.5"}, [3]string{"ink", state + "-bg", "4.5"}, [3]string{state + "-sol", "surface", "3"})
	}
	for _, text := range []string{"t-fg", "t-dim", "t-red", "t-green", "t-yellow", "t-blue", "t-magenta", "t-cyan"} {
		list = append(list, [3]string{text, "t-bg", "4.5"})
	}
	return append(list, [3]string{"on-ink", "ink", "4.5"}, [3]string{"ctl-line", "surface", "3"}, [3]string{"ctl-line", "raised", "3"}, [3]string{"focus", "canvas", "3"}, [3]string{"focus", "surface", "3"})
}()

const contrast = `(() => {
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const light = (name) => {
		const probe = document.createElement("i");
		probe.style.color = "var(--" + name + ")";
		document.body.append(probe);
		canvas.fillStyle = getComputedStyle(probe).color;
		canvas.fillRect(0, 0, 1, 1);
		probe.remove();
		const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((x) => x / 255).map((x) => (x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4));
		return .2126 * r + .7152 * g + .0722 * b;
	};
	const a = light(%q), b = light(%q);
	return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
})()`

func TestEveryPairOfColoursHasEnoughContrast(t *testing.T) {
	server := serve(t)
	ctx := tab(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL+"/problem-outside")); err != nil {
		t.Fatal(err)
	}
	for _, theme := range []string{"light", "dark"} {
		if err := chromedp.Do(ctx, paint(theme)); err != nil {
			t.Fatal(err)
		}
		for _, pair := range pairs {
			least, _ := strconv.ParseFloat(pair[2], 64)
			if got := evaluate[float64](t, ctx, fmt.Sprintf(contrast, pair[0], pair[1])); got < least {
				t.Errorf("%s: %s on %s has %.2f, less than %s", theme, pair[0], pair[1], got, pair[2])
			}
		}
	}
}
