package views_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types slipway"

// serve shows the samples under their names, with the policy of the real portal.
func serve(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	mux.Handle("/assets/", assets)
	for _, s := range samples() {
		mux.HandleFunc("/"+s.name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", policy)
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Write([]byte(render(t, s)))
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

// browser starts one Chromium for the test, in which nothing moves: what fades in has less contrast on its way.
func browser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("force-prefers-reduced-motion", true), chromedp.Flag("disable-background-networking", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		closeTab()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	return ctx
}

type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML   string
		Target []any
		Any    []struct{ Message string }
	}
}

// withAxe has every page that the browser opens begin with the accessibility checker of static/package.json: it is half
// a megabyte, which is sent once and not with each page.
func withAxe(t *testing.T, ctx context.Context) {
	t.Helper()
	script, err := os.ReadFile("../static/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("%v; run: npm ci --prefix static", err)
	}
	_, err = chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: string(script)})
	if err != nil {
		t.Fatal(err)
	}
}

// axe checks the open page, which began withAxe.
func axe(t *testing.T, ctx context.Context) []violation {
	t.Helper()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[string](`axe.run(document,{runOnly:["wcag2a","wcag2aa","wcag21a","wcag21aa","wcag22aa","best-practice"]}).then(r=>JSON.stringify(r.violations))`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	var found []violation
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// looks are how a page is looked at: each is opened once and then shown in all of them.
var looks = []struct {
	name, theme string
	width       int64
	size        chromedp.Action[chromedp.Void]
}{
	{"light", "light", 1440, chromedp.EmulateViewport(1440, 900)},
	{"dark", "dark", 1440, chromedp.EmulateViewport(1440, 900)},
	{"phone", "light", 390, chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2))},
}

// TestPagesAreAccessible runs axe on every sample in light, dark and on a phone. Where SLIPWAY_PICTURES names a folder,
// it leaves a picture of each there.
func TestPagesAreAccessible(t *testing.T) {
	server := serve(t)
	ctx := browser(t)
	withAxe(t, ctx)
	for _, s := range samples() {
		if !strings.HasPrefix(s.name, os.Getenv("SLIPWAY_SAMPLE")) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			tab, done := context.WithTimeout(ctx, 2*time.Minute)
			defer done()
			if err := chromedp.Do(tab, chromedp.Navigate(server.URL+"/"+s.name)); err != nil {
				t.Fatal(err)
			}
			for _, look := range looks {
				t.Run(look.name, func(t *testing.T) {
					if err := chromedp.Do(tab, look.size, paint(look.theme)); err != nil {
						t.Fatal(err)
					}
					picture(t, tab, s.name+"-"+look.name)
					inspect(t, tab, look.width)
				})
			}
		})
	}
}

// paint gives the open page the theme, as the buttons of the menu do.
func paint(theme string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](`void (document.documentElement.dataset.theme = "` + theme + `")`)
}

// inspect fails the test for what is wrong with the open page: what stands out at the side of the window, what has no
// room, and what axe finds.
func inspect(t *testing.T, tab context.Context, width int64) {
	t.Helper()
	is, err := chromedp.Run(tab, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`))
	if err != nil {
		t.Fatal(err)
	}
	if is > width {
		t.Errorf("the page scrolls sideways: it is %d wide; %s", is, widest(t, tab, width))
	}
	if found := crowded(t, tab); found != "" {
		t.Errorf("there is no room: %s", found)
	}
	for _, v := range axe(t, tab) {
		for _, n := range v.Nodes {
			t.Errorf("%s (%s): %v %.200s", v.ID, v.Help, n.Target, n.HTML)
		}
	}
}

// widest names the elements that stand out at the right.
func widest(t *testing.T, ctx context.Context, width int64) string {
	names, err := chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf(
		`[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > %d).slice(0, 4).map(e => e.className + " " + Math.round(e.getBoundingClientRect().right)).join("; ")`, width+1)))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// crowded names what stands on top of its neighbour in the row of a list, cells of tables that are squeezed to a word
// a line, logs that are higher than their lines, and bars that nobody sees.
func crowded(t *testing.T, ctx context.Context) string {
	found, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(() => {
		const found = [], name = e => e.className + " " + e.textContent.replace(/\s+/g, " ").trim().slice(0, 40);
		for (const row of document.querySelectorAll(".rows > li")) {
			const parts = [...row.querySelectorAll(":scope > *, :scope > .c-act > *, :scope > .end > *")]
				.filter(e => e.checkVisibility() && !e.querySelector(":scope > *") || e.matches("button, a.btn, input, .num, .sub"));
			for (const [n, one] of parts.entries()) for (const other of parts.slice(n + 1)) {
				if (one.contains(other) || other.contains(one)) continue;
				const a = one.getBoundingClientRect(), b = other.getBoundingClientRect();
				if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
					found.push(name(one) + " lies on " + name(other));
			}
		}
		for (const cell of document.querySelectorAll("tbody td")) {
			const words = document.createRange();
			words.selectNodeContents(cell);
			const lines = new Set([...words.getClientRects()].map(r => Math.round(r.top / 4))).size;
			if (lines > 6 && cell.getBoundingClientRect().width < 120) found.push(name(cell) + " has " + lines + " lines");
		}
		for (const chunk of document.querySelectorAll(".log > .ch:last-child")) {
			const lines = [...chunk.children].reduce((sum, l) => sum + l.getBoundingClientRect().height, 0);
			if (chunk.getBoundingClientRect().height > lines + 20) found.push("a log of " + lines + " is " + chunk.getBoundingClientRect().height + " high");
		}
		for (const bar of document.querySelectorAll("progress"))
			if (getComputedStyle(bar).display === "none") found.push("a progress bar is hidden");
		return found.slice(0, 4).join("; ");
	})()`))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func picture(t *testing.T, ctx context.Context, name string) {
	folder := os.Getenv("SLIPWAY_PICTURES")
	if folder == "" {
		return
	}
	image, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), image, 0o644); err != nil {
		t.Fatal(err)
	}
}
