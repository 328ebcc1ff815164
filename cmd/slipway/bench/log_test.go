package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/models"
	"slipway.dev/services/blobs"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/logs"
)

const (
	longLog = 100_000 // lines
	viewers = 200
)

// logged is a portal with one build whose log the benchmark writes itself, as a worker of another process would.
type logged struct {
	*slipwaytest.Portal
	person *http.Client
	build  *models.Build
	logs   *logs.Service
	writer *logs.Writer
}

// newLogged makes a build in the state and writes the long log.
func newLogged(b *testing.B, state models.BuildState) *logged {
	b.Helper()
	p := slipwaytest.Launch(b, nil)
	person := p.SignIn(b)
	repo := gittest.New(b).Repository(b, "acme/shop.git", gittest.Files{"Dockerfile": "FROM scratch\n"})
	p.Client = &slipwaytest.Client{URL: p.URL, Token: p.NewToken(b, person)}
	p.Team(b, "acme")
	app := p.App(b, p.Repository(b, "acme", "shop", repo.URL).ID, "shop")
	db, err := models.Open(b.Context(), "sqlite:"+filepath.Join(p.Data, "slipway.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	bucket, err := blobs.Open(b.Context(), filepath.Join(p.Data, "blobs"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = bucket.Close() })
	l := &logged{Portal: p, person: person, logs: &logs.Service{DB: db, Blobs: bucket}}
	l.addBuild(b, db, app.ID, state)
	if l.writer, err = l.logs.Open(b.Context(), l.build.ID, logs.KindBuild, logs.NewMasker("a-secret-that-is-masked")); err != nil {
		b.Fatal(err)
	}
	for n := 1; n <= longLog; n++ {
		l.writer.Write("step", logs.Stdout, time.Now(), fmt.Appendf(nil, "%06d go: downloading github.com/example/module-%d v1.%d.0 and some words more\n", n, n, n%90))
		if n%5000 == 0 {
			l.await(b, int64(n)) // what waits in memory has a limit
		}
	}
	if state.Ended() {
		l.writer.Close(b.Context())
	}
	return l
}

func (l *logged) addBuild(b *testing.B, db *models.Database, appID string, state models.BuildState) {
	b.Helper()
	var app models.App
	if err := db.Where("id = ?", appID).Take(&app).Error; err != nil {
		b.Fatal(err)
	}
	now := db.NowFunc()
	l.build = &models.Build{ID: models.NewID(), TeamID: app.TeamID, AppID: app.ID, Number: 1000, State: state, Ref: "main", RefKind: "branch", Commit: strings.Repeat("a", 40),
		CommitSubject: "A long log", Dockerfile: "Dockerfile", Context: ".", TimeoutSeconds: 3600, Trigger: models.TriggerManual, QueuedAt: now, StartedAt: &now, CreatedAt: now}
	if state.Ended() {
		l.build.FinishedAt = &now
	}
	if err := db.Omit("App", "Steps").Create(l.build).Error; err != nil {
		b.Fatal(err)
	}
	step := models.BuildStep{BuildID: l.build.ID, ID: "step", Seq: 1, Name: "[2/2] RUN go build ./...", State: models.StepRunning, StartedAt: &now}
	if err := db.Create(&step).Error; err != nil {
		b.Fatal(err)
	}
}

// await waits until so many lines are stored.
func (l *logged) await(b *testing.B, lines int64) {
	b.Helper()
	for late := time.Now().Add(time.Minute); ; <-time.After(5 * time.Millisecond) {
		row, err := l.logs.Stream(b.Context(), l.build.ID)
		if err != nil || time.Now().After(late) {
			b.Fatalf("%d of %d lines are stored, error %v", row.Lines, lines, err)
		}
		if row.Lines >= lines {
			return
		}
	}
}

// BenchmarkLongLogOpens measures in Chromium, from the click until the page has loaded and shows lines: the page of a
// build with 100,000 lines, the same at line 80,000, and a search through all of them.
func BenchmarkLongLogOpens(b *testing.B) {
	l := newLogged(b, models.BuildSucceeded)
	tab := l.browse(b)
	page := l.URL + "/builds/" + l.build.ID
	for name, c := range map[string]struct{ address, shows string }{
		"s_open(goal_1)":       {page, "L1"},
		"s_open_at_line_80000": {page + "?line=80000#L80000", "L80000"},
		"s_search":             {page + "?q=module-99999+", "L99999"},
	} {
		var all []time.Duration
		for range 7 {
			all = append(all, took(func() { l.visit(b, tab, c.address, c.shows) }))
			l.visit(b, tab, l.URL+"/teams", "")
		}
		b.ReportMetric(median(all[1:]), name)
	}
	only(b)
}

// browse opens a tab that is signed in.
func (l *logged) browse(b *testing.B) context.Context {
	b.Helper()
	path := os.Getenv("SLIPWAY_TEST_BROWSER")
	if path == "" {
		path = "chromium"
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU)...)
	b.Cleanup(end)
	tab, close := chromedp.NewContext(allocator)
	b.Cleanup(close)
	request, err := http.NewRequest(http.MethodGet, l.URL, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, cookie := range l.person.Jar.Cookies(request.URL) {
		set := chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			_, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{Name: cookie.Name, Value: cookie.Value, URL: l.URL})
			return err
		})
		if err := chromedp.Do(tab, set); err != nil {
			b.Fatal(err)
		}
	}
	return tab
}

// visit opens an address and waits until it has loaded, and shows the line.
func (l *logged) visit(b *testing.B, tab context.Context, address, line string) {
	b.Helper()
	if err := chromedp.Do(tab, chromedp.Navigate(address)); err != nil {
		b.Fatal(err)
	}
	shown := `document.readyState === "complete" && ` + strconv.FormatBool(line == "") + ` || !!document.getElementById("` + line + `")`
	for late := time.Now().Add(30 * time.Second); ; <-time.After(5 * time.Millisecond) {
		if ok, err := chromedp.Run(tab, chromedp.Evaluate[bool](shown)); err == nil && ok {
			return
		}
		if time.Now().After(late) {
			b.Fatalf("%s never showed %s", address, line)
		}
	}
}

// BenchmarkLogTail measures what passes between the moment in which a line is handed to the log, after 100,000 others,
// by a worker of another process, and the moment in which each of 200 viewers has received it.
func BenchmarkLogTail(b *testing.B) {
	l := newLogged(b, models.BuildRunning)
	l.await(b, longLog)
	tokens := []string{l.Client.Token}
	for len(tokens) < viewers/20 {
		tokens = append(tokens, l.NewToken(b, l.person))
	}
	const lines = 500
	var lock sync.Mutex
	var all []time.Duration
	var ready, done sync.WaitGroup
	ready.Add(viewers)
	for i := range viewers {
		done.Go(func() {
			times, err := l.view(b.Context(), tokens[i%len(tokens)], lines, sync.OnceFunc(ready.Done))
			if err != nil {
				b.Error(err)
			}
			lock.Lock()
			defer lock.Unlock()
			all = append(all, times...)
		})
	}
	ready.Wait()
	for range lines {
		<-time.After(20 * time.Millisecond)
		now := time.Now()
		l.writer.Write("step", logs.Stdout, now, fmt.Appendf(nil, "at %d\n", now.UnixNano()))
	}
	done.Wait()
	l.writer.Close(b.Context())
	if len(all) != viewers*lines {
		b.Fatalf("%d of %d lines arrived", len(all), viewers*lines)
	}
	b.ReportMetric(quantile(all, 0.5), "ms_p50")
	b.ReportMetric(quantile(all, 0.99), "ms_p99(goal_250)")
	b.ReportMetric(quantile(all, 1), "ms_max")
	only(b)
}

// view follows the log from its end on and returns how old each of the lines was when it arrived.
func (l *logged) view(ctx context.Context, token string, lines int, ready func()) (times []time.Duration, err error) {
	defer ready()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/api/v1/builds/%s/logs?after=%d", l.URL, l.build.ID, longLog), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "text/event-stream")
	answer, err := (&http.Transport{}).RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	ready()
	for scan := bufio.NewScanner(answer.Body); len(times) < lines && scan.Scan(); {
		if stamp, ok := strings.CutPrefix(scan.Text(), "data: at "); ok {
			n, err := strconv.ParseInt(stamp, 10, 64)
			if err != nil {
				return times, err
			}
			times = append(times, time.Since(time.Unix(0, n)))
		}
	}
	return times, nil
}
