package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"slipway.dev/cmd/slipway/slipwaytest"
)

// browser is the one browser of all tests; each tab has cookies of its own.
var browser context.Context

func TestMain(m *testing.M) { slipwaytest.Main(browsing{m}) }

// browsing runs tests with a browser.
type browsing struct{ tests *testing.M }

// Run starts the browser, runs the tests and ends it.
func (b browsing) Run() int {
	path := os.Getenv("SLIPWAY_TEST_BROWSER")
	if path == "" {
		path = "chromium"
	}
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1440, 900),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("no-first-run", true))...)
	defer endAllocator()
	ctx, end := chromedp.NewContext(allocator)
	defer end()
	if err := chromedp.Do(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "no browser starts (%s): run the tests with make test, which installs Chromium: %v\n", path, err)
		return 1
	}
	browser = ctx
	return b.tests.Run()
}

// patience is how long a person in these tests waits for something to appear.
const patience = 3 * time.Minute

// tab is a browser tab that looks at one portal. Whatever the page writes to the console as an error, be it an
// exception or a breach of the content security policy, fails the test.
type tab struct {
	t      *testing.T
	ctx    context.Context
	portal string
}

func open(t *testing.T, portal string) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	messages := chromedp.Console(ctx)
	var complaints []string
	var reading sync.WaitGroup
	reading.Go(func() {
		for message, err := range messages {
			if err != nil {
				return
			}
			if complaint(message) {
				complaints = append(complaints, message.String()+" ("+message.URL+")")
			}
		}
	})
	t.Cleanup(func() {
		end()
		reading.Wait()
		for _, c := range complaints {
			t.Errorf("the browser's console: %s", c)
		}
	})
	b := &tab{t: t, ctx: ctx, portal: portal}
	b.do(chromedp.EmulateViewport(1440, 900), appearance("light"))
	return b
}

// complaint tells whether a message of the console is a fault of the page. An answer with a 4xx is none: forms are
// refused that way.
func complaint(m chromedp.ConsoleMessage) bool {
	refused := m.Source == "network" && strings.Contains(m.Text, "the server responded with a status of 4")
	left := strings.Contains(m.Text, "ERR_INCOMPLETE_CHUNKED_ENCODING") || strings.Contains(m.Text, "ERR_NETWORK_CHANGED")
	return (m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleException) && !refused && !left
}

// appearance sets what the person's system prefers; motion is off so that pages come to rest at once.
func appearance(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme},
			{Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		return err
	})
}

// do runs the steps within the patience; a failure shows where the tab was.
func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%v\n%s", err, b.where())
	}
}

// where describes the page for a failed test, and keeps its picture.
func (b *tab) where() string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 3000)`))
	if err != nil {
		return err.Error()
	}
	b.picture("failed-" + strings.ReplaceAll(b.t.Name(), "/", "-"))
	return text
}

// visit opens a path of the portal.
func (b *tab) visit(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.portal+path), chromedp.WaitReady(chromedp.CSS("body")))
}

// click presses what carries the words: a button or a link.
func (b *tab) click(words string) {
	b.t.Helper()
	b.press(fmt.Sprintf(`//*[self::button or self::a or self::summary][normalize-space()=%q or @aria-label=%q]`, words, words))
}

// clickIn is click inside of the element that a CSS selector names.
func (b *tab) clickIn(selector, words string) {
	b.t.Helper()
	b.pressFirst(fmt.Sprintf("%q in %s", words, selector), fmt.Sprintf(`[...document.querySelectorAll(%q)].flatMap(e => [...e.querySelectorAll("button, a, summary")])
		.filter(e => e.textContent.replace(/\s+/g, " ").trim() === %q || e.ariaLabel === %q)`, selector, words, words))
}

// press clicks the first visible element that the XPath finds.
func (b *tab) press(xpath string) {
	b.t.Helper()
	b.pressFirst(xpath, fmt.Sprintf(`(() => {
		const found = document.evaluate(%q, document, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE, null);
		return Array.from({length: found.snapshotLength}, (_, n) => found.snapshotItem(n));
	})()`, xpath))
}

// pressFirst clicks the first visible one of the elements that the JavaScript expression gives. It looks and clicks
// in one go, for a page that is live may change at any moment; the click itself comes after the answer, for it may
// lead away from the page.
func (b *tab) pressFirst(what, elements string) {
	b.t.Helper()
	b.await("there is "+what, fmt.Sprintf(`(() => {
		const found = %s.find(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled);
		if (found && document.readyState !== "loading") setTimeout(() => found.click());
		return !!found && document.readyState !== "loading";
	})()`, elements))
}

// fill writes into the field with this name, in place of what stood there, as one who types does. It does so in one
// go, so that all of it comes to the same page.
func (b *tab) fill(name, value string) {
	b.t.Helper()
	selector := fmt.Sprintf(`[name=%q]:not([type=hidden])`, name)
	b.await("there is the field "+name, fmt.Sprintf(`(() => {
		const field = [...document.querySelectorAll(%q)].find(e => e.checkVisibility({visibilityProperty: true}));
		if (!field || document.readyState === "loading") return false;
		field.focus();
		field.value = "";
		return document.execCommand("insertText", false, %q) && field.value === %q;
	})()`, selector, value, value))
}

// see waits until the page shows the words.
func (b *tab) see(words string) {
	b.t.Helper()
	b.await(fmt.Sprintf("the page shows %q", words),
		fmt.Sprintf(`document.body !== null && document.body.innerText.replace(/\s+/g, " ").includes(%q)`, words))
}

// reach waits until the tab shows a page whose path begins so, all of it.
func (b *tab) reach(path string) {
	b.t.Helper()
	b.await("the page is "+path, fmt.Sprintf(`location.pathname.startsWith(%q) && document.readyState === "complete"`, path))
}

// await waits until the JavaScript expression is true, across page loads.
func (b *tab) await(what, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	var seen error
	for {
		var ok bool
		if ok, seen = chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression)); seen == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			b.t.Fatalf("waited too long until %s (%v)\n%s", what, seen, b.where())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// eval gives the value of a JavaScript expression.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", expression, err, b.where())
	}
	return value
}

// inspect checks the page that is open, light and dark, and that it fits a phone, and takes its pictures.
func (b *tab) inspect(name string) {
	b.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		b.do(appearance(scheme))
		b.settle()
		b.accessible(name + ", " + scheme)
		b.contained(name)
		b.picture(name + "-" + scheme)
	}
	b.do(appearance("light"), chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2)))
	b.settle()
	b.narrow(name)
	b.picture(name + "-phone")
	b.do(chromedp.EmulateViewport(1440, 900))
	b.settle()
	b.bare(name)
}

// settle waits for two frames, after which styles have been applied.
func (b *tab) settle() {
	b.t.Helper()
	eval[bool](b, `document.fonts.ready.then(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true)))))`)
}

// narrow fails the test where the page scrolls sideways on a phone.
func (b *tab) narrow(name string) {
	b.t.Helper()
	if width := eval[int](b, `document.documentElement.scrollWidth`); width > 390 {
		b.t.Errorf("%s scrolls sideways on a phone: it is %d wide; the widest: %s", name, width, eval[string](b,
			`[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > 391).slice(0, 4)
				.map(e => e.tagName + "." + e.className + " " + Math.round(e.getBoundingClientRect().right)).join(", ")`))
	}
}

// contained fails the test where something sticks out of the card that it stands in.
func (b *tab) contained(name string) {
	b.t.Helper()
	found := eval[string](b, `[...document.querySelectorAll(".card *")].filter(e => {
		const card = e.closest(".card"), box = e.getBoundingClientRect();
		if (box.width === 0 || box.right <= card.getBoundingClientRect().right + 1) return false;
		for (let p = e.parentElement; p && p !== card.parentElement; p = p.parentElement)
			if (getComputedStyle(p).overflowX !== "visible") return false;
		return !e.closest("[popover], dialog, .vh");
	}).slice(0, 4).map(e => e.tagName + "." + e.className + " " + e.textContent.trim().slice(0, 40)).join(", ")`)
	if found != "" {
		b.t.Errorf("on %s this sticks out of its card: %s", name, found)
	}
}

// bare fails the test where the page carries what its content security policy forbids.
func (b *tab) bare(name string) {
	b.t.Helper()
	found := eval[string](b, `[...document.querySelectorAll("*")].flatMap(e => [...e.attributes].filter(a =>
		a.name === "style" && !e.closest("dialog, [popover]") || a.name.startsWith("on")).map(a => e.tagName + " " + a.name)).join(", ")`)
	if found != "" {
		b.t.Errorf("%s has inline styles or handlers: %s", name, found)
	}
}

// violation is what axe reports.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML   string
		Target []any
		Any    []struct{ Message string }
	}
}

var axe = sync.OnceValues(func() (string, error) {
	source, err := os.ReadFile(filepath.Join("..", "..", "..", "static", "node_modules", "axe-core", "axe.min.js"))
	return string(source), err
})

// accessible fails the test for every breach of WCAG 2.2 AA and of good practice that axe finds.
func (b *tab) accessible(name string) {
	b.t.Helper()
	source, err := axe()
	if err != nil {
		b.t.Fatalf("the accessibility checker is missing: run the tests with make test, which fetches it: %v", err)
	}
	b.do(chromedp.Evaluate[chromedp.Void](source + `; undefined`))
	found := eval[string](b, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
		.then(result => JSON.stringify(result.violations))`)
	var violations []violation
	if err := json.Unmarshal([]byte(found), &violations); err != nil {
		b.t.Fatal(err)
	}
	for _, v := range violations {
		for _, node := range v.Nodes {
			detail := node.HTML
			if len(node.Any) > 0 {
				detail = node.Any[0].Message + " " + node.HTML
			}
			b.t.Errorf("%s: %s (%s), %v: %.300s", name, v.Help, v.Impact, node.Target, detail)
		}
	}
}

// picture writes what the tab shows, all of its height, where pictures were asked for.
func (b *tab) picture(name string) {
	folder := os.Getenv("SLIPWAY_TEST_PICTURES")
	if folder == "" {
		return
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		b.t.Error(err)
		return
	}
	image, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Errorf("picture of %s: %v", name, err)
		return
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), image, 0o644); err != nil {
		b.t.Error(err)
	}
}
