package handlers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/middleware"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/events"
)

func TestARouteThatDoesNotSayWhoMayCallItDoesNotStart(t *testing.T) {
	t.Parallel()
	r := newRoutes()
	r.group(accessOpen).GET("/fine", func(echo.Context) error { return nil })
	if err := r.check(); err != nil {
		t.Fatal(err)
	}
	r.echo.POST("/forgotten", func(echo.Context) error { return nil })
	if err := r.check(); err == nil || !strings.Contains(err.Error(), "POST /forgotten") {
		t.Errorf("got %v", err)
	}
}

func TestARouteThatIsAddedTwiceDoesNotStart(t *testing.T) {
	t.Parallel()
	r := newRoutes()
	for range 2 {
		r.group(accessOpen).GET("/again", func(echo.Context) error { return nil })
	}
	if err := r.check(); err == nil || !strings.Contains(err.Error(), "GET /again") {
		t.Errorf("got %v", err)
	}
}

func TestRequestsFindTheirPartOfSlipwayByHostAndPath(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(_ *Services, o *Options) { o.ExternalURL, o.AppsDomain = "https://slip.example.com", "example.com" })
	for _, c := range []struct {
		host, path, contains string
		status               int
	}{
		{"checkout-dev.example.com", "/", "the app at checkout-dev.example.com", 200},
		{"CHECKOUT-dev.Example.COM.:8080", "/api/v1/me", "the app at", 200},
		{"Shop.example.org:80", "/healthz", "the app at", 200},
		{"shop.example.org", "/.well-known/acme-challenge/known-token", "known-token.answer", 200},
		{"slip.example.com", "/.well-known/acme-challenge/known-token", "known-token.answer", 200},
		{"shop.example.org", "/.well-known/acme-challenge/other", "the app at", 200},
		{"slip.example.com", "/healthz", `"ok"`, 200},
		{"example.com", "/healthz", `"ok"`, 200},
		{"10.0.0.1:8080", "/healthz", `"ok"`, 200},
		{"slip.example.com", "/v2/", "UNAUTHORIZED", 401},
		{"slip.example.com", "/api/v1/me", "unauthorized", 401},
	} {
		w := f.send(ask{host: c.host, path: c.path})
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.contains) {
			t.Errorf("%s%s: got %d %s", c.host, c.path, w.Code, w.Body)
		}
	}
}

func TestHEADAnswersAsGETWithoutABody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range []string{"/healthz", "/api/v1/me", "/nothing"} {
		get, head := f.send(ask{path: path}), f.send(ask{method: "HEAD", path: path})
		if head.Code != get.Code || head.Body.Len() != 0 || head.Header().Get("Content-Type") != get.Header().Get("Content-Type") {
			t.Errorf("%s: GET %d, HEAD %d with %d bytes", path, get.Code, head.Code, head.Body.Len())
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.send(ask{method: "HEAD", path: "/live?topics=builds", cookie: f.cookie(f.Viewer)})
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("HEAD of a stream does not end")
	}
}

func TestErrorsHaveOneFormForPeopleAndOneForPrograms(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cookie, token := f.cookie(f.Viewer), f.token(f.Viewer, models.ScopeRead)
	for _, c := range []struct {
		name   string
		ask    ask
		status int
		code   string
	}{
		{"unknown path of the API", ask{path: "/api/v1/nothing", token: token}, 404, "not_found"},
		{"wrong method", ask{method: "DELETE", path: "/api/v1/me", token: token}, 405, "not_found"},
		{"stranger", ask{path: "/api/v1/me"}, 401, "unauthorized"},
		{"wrong token", ask{path: "/api/v1/me", token: "slp_wrong", cookie: cookie}, 401, "unauthorized"},
		{"basic authentication", ask{path: "/api/v1/me", header: map[string]string{"Authorization": "Basic YTpi"}}, 401, "unauthorized"},
		{"token in the query", ask{path: "/api/v1/me?access_token=" + token}, 401, "unauthorized"},
		{"no topics", ask{path: "/live", cookie: cookie}, 422, "invalid"},
		{"unknown query field", ask{path: "/api/v1/me?sort=name", token: token}, 422, "invalid"},
		{"too large", ask{method: "POST", path: "/api/v1/me", body: strings.Repeat("x", maxBody+1), token: token}, 413, "too_large"},
	} {
		w := f.send(c.ask)
		var p problem.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Errorf("%s: %d %q: %v", c.name, w.Code, w.Body, err)
			continue
		}
		if w.Code != c.status || p.Status != c.status || p.Code != c.code || p.Detail == "" || p.Title == "" || p.Type != "about:blank" || p.RequestID == "" ||
			p.Instance == "" || w.Header().Get("Content-Type") != problem.ContentType {
			t.Errorf("%s: got %d %s %s", c.name, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	}
	page := f.send(ask{path: "/nothing", cookie: cookie, header: map[string]string{"Accept": "text/html"}})
	if page.Code != 404 || !strings.Contains(page.Body.String(), "<h1>Not Found</h1>") || !strings.Contains(page.Body.String(), page.Header().Get("X-Request-Id")) {
		t.Errorf("a page that does not exist: %d %s", page.Code, page.Body)
	}
}

func TestAPanicIsAnsweredWithARequestIDAndTheProgramGoesOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.site.routes.group(accessOpen).GET("/panic", func(echo.Context) error { panic("secret inner text") })
	f.site.routes.group(accessOpen).GET("/fault", func(echo.Context) error { return errors.New("secret inner text") })
	for _, path := range []string{"/panic", "/fault"} {
		for _, accept := range []string{"application/json", "text/html"} {
			w := f.send(ask{path: path, header: map[string]string{"Accept": accept}})
			if w.Code != 500 || w.Body.Len() == 0 || strings.Contains(w.Body.String(), "secret inner text") || !strings.Contains(w.Body.String(), w.Header().Get("X-Request-Id")) {
				t.Errorf("%s as %s: %d %s", path, accept, w.Code, w.Body)
			}
		}
	}
	if w := f.send(ask{path: "/healthz"}); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
}

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range []string{"/", "/login", "/healthz", "/api/v1/me", "/nothing", "/v2/", "/assets/nothing.css", "/metrics", "/api/openapi.json"} {
		h := f.send(ask{path: path}).Header()
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: content security policy %q", path, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "same-origin" || h.Get("X-Request-Id") == "" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
	secure := newFixture(t, func(_ *Services, o *Options) { o.ExternalURL = "https://portal.test" })
	if secure.send(ask{path: "/healthz"}).Header().Get("Strict-Transport-Security") == "" {
		t.Error("no Strict-Transport-Security behind TLS")
	}
}

func TestForwardingHeadersCountOnlyFromTrustedProxies(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		name, peer, forwarded, want string
		trusted                     []netip.Prefix
	}{
		{"by default nobody", "192.0.2.7:1", "203.0.113.9", "192.0.2.7", nil},
		{"not even this machine", "127.0.0.1:1", "203.0.113.9", "127.0.0.1", nil},
		{"a trusted proxy", "10.0.0.1:1", "203.0.113.9", "203.0.113.9", trusted},
		{"a chain of them", "10.0.0.1:1", "203.0.113.9, 10.0.0.2", "203.0.113.9", trusted},
		{"a client that lies to one", "10.0.0.1:1", "198.51.100.1, 203.0.113.9", "203.0.113.9", trusted},
		{"another peer", "192.0.2.7:1", "203.0.113.9", "192.0.2.7", trusted},
		{"rubbish", "10.0.0.1:1", "<script>", "10.0.0.1", trusted},
	} {
		var got models.Request
		h := middleware.Request(c.trusted)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = models.RequestFrom(r.Context()) }))
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		r.Header.Set("X-Forwarded-For", c.forwarded)
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got.IP != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got.IP, c.want)
		}
	}
}

func TestTheAccessLogHasNoQueryAndNoOneTimeTokens(t *testing.T) {
	var b bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
	defer slog.SetDefault(before)
	h := middleware.Log()(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	for _, path := range []string{"/apps?q=CANARY", "/setup/CANARY", "/invite/CANARY/accept"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	if strings.Contains(b.String(), "CANARY") || strings.Count(b.String(), "status=204") != 3 {
		t.Errorf("the log says\n%s", b.String())
	}
}

func TestATokenThatCallsTooOftenIsToldToWaitAndOthersAreNot(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(_ *Services, o *Options) { o.RatePerSecond, o.RateBurst = 1, 5 })
	busy, calm := f.token(f.Viewer, models.ScopeRead), f.token(f.Viewer, models.ScopeRead)
	var last *httptest.ResponseRecorder
	calls := 0
	for last == nil || last.Code == 200 && calls < 100 { // one more is let through with each second that they take
		calls++
		last = f.send(ask{path: "/api/v1/me", token: busy, header: map[string]string{"X-Forwarded-For": "203.0.113." + strconv.Itoa(calls)}})
	}
	if calls < 6 || last.Code != 429 || last.Header().Get("Retry-After") == "" {
		t.Errorf("call %d: %d %v", calls, last.Code, last.Header())
	}
	if w := f.send(ask{path: "/api/v1/me", token: calm}); w.Code != 200 {
		t.Errorf("another token: %d", w.Code)
	}
}

func TestGuessingTokensIsSlowedDownByAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	seen := map[int]int{}
	for i := range 30 {
		seen[f.send(ask{path: "/api/v1/me", token: "slp_guess", header: map[string]string{"X-Forwarded-For": string(rune('a' + i))}}).Code]++
	}
	if seen[429] == 0 || seen[401] == 0 {
		t.Errorf("got %v", seen)
	}
	if w := f.send(ask{path: "/api/v1/me", token: f.token(f.Viewer, models.ScopeRead)}); w.Code != 200 {
		t.Errorf("a good token from there: %d", w.Code)
	}
}

func TestMetricsAreForThisMachineAndForAdmins(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	admin, viewer := f.token(f.Admin, models.ScopeAdmin), f.token(f.Viewer, models.ScopeRead)
	for _, c := range []struct {
		name   string
		ask    ask
		status int
	}{
		{"this machine", ask{peer: "127.0.0.1:9"}, 200},
		{"this machine by IPv6", ask{peer: "[::1]:9"}, 200},
		{"somebody behind a proxy on this machine", ask{peer: "127.0.0.1:9", header: map[string]string{"X-Forwarded-For": "203.0.113.9"}}, 401},
		{"a stranger", ask{}, 401},
		{"a viewer", ask{token: viewer}, 403},
		{"an admin", ask{token: admin}, 200},
	} {
		c.ask.path = "/metrics"
		w := f.send(c.ask)
		if w.Code != c.status || (c.status == 200) != strings.Contains(w.Body.String(), "slipway_workers 0") {
			t.Errorf("%s: %d", c.name, w.Code)
		}
	}
}

func TestReadinessNamesEachDependencyAndKeepsReasonsToItself(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(_ *Services, o *Options) {
		o.Ready = []Check{
			{"database", func(context.Context) error { return nil }},
			{"docker", func(context.Context) error { return errors.New("dial tcp 10.1.2.3: refused") }},
		}
	})
	w := f.send(ask{path: "/readyz"})
	var got readiness
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 503 || got.Status != "failing" {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	if len(got.Checks) != 2 || got.Checks[0].Name != "database" || got.Checks[0].Status != "ok" || got.Checks[1].Status != "failing" || strings.Contains(w.Body.String(), "10.1.2.3") {
		t.Errorf("got %s", w.Body)
	}
}

// frames reads server-sent events from a real connection.
type frames struct {
	t    *testing.T
	resp *http.Response
	scan *bufio.Scanner
}

func follow(t *testing.T, f *fixture, path string, headers map[string]string) *frames {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // an event that never comes fails the test, and does not hang it
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", f.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &frames{t, resp, bufio.NewScanner(resp.Body)}
}

// next returns the next event's id and data; ok is false at the end.
func (s *frames) next() (id, event, data string, ok bool) {
	for s.scan.Scan() {
		name, value, _ := strings.Cut(s.scan.Text(), ": ")
		switch {
		case name == "id":
			id = value
		case name == "event":
			event = value
		case name == "data":
			data += value
		case s.scan.Text() == "" && data != "":
			return id, event, data, true
		}
	}
	return "", "", "", false
}

func (f *fixture) publish(teamID, kind, topic, parent string) {
	f.t.Helper()
	if err := events.Publish(f.db.DB, models.Event{TeamID: teamID, Kind: kind, Topic: topic, Parent: parent}); err != nil {
		f.t.Fatal(err)
	}
}

func TestOpenPagesHearOfWhatTheyShowAndMaySee(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cookie := f.cookie(f.Viewer)
	s := follow(t, f, "/live?topics=build:1,app:9", map[string]string{"Cookie": cookie.Name + "=" + cookie.Value, "Accept": "text/event-stream"})
	if s.resp.StatusCode != 200 || s.resp.Header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("%d %v", s.resp.StatusCode, s.resp.Header)
	}
	f.publish(f.OtherTeam.ID, "build.running", "build:1", "")
	f.publish(f.Team.ID, "build.running", "build:2", "app:8")
	f.publish(f.Team.ID, "build.running", "build:3", "app:9")
	f.publish(f.Team.ID, "build.succeeded", "build:1", "app:8")
	var got []string
	for range 2 {
		_, event, data, ok := s.next()
		if !ok || event != "change" {
			t.Fatalf("event %q, %v", event, ok)
		}
		got = append(got, data)
	}
	if want := `{"topic":"build:3","kind":"build.running"} {"topic":"build:1","kind":"build.succeeded"}`; strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
}

func TestAStreamEndsWithTheSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(_ *Services, o *Options) { o.Recheck = 50 * time.Millisecond })
	cookie := f.cookie(f.Viewer)
	s := follow(t, f, "/live?topics=builds", map[string]string{"Cookie": cookie.Name + "=" + cookie.Value})
	if err := f.db.Where("user_id = ?", f.Viewer.ID).Delete(&models.Session{}).Error; err != nil {
		t.Fatal(err)
	}
	if _, _, _, ok := s.next(); ok || s.scan.Err() != nil {
		t.Errorf("the stream went on after the session's end: %v", s.scan.Err())
	}
}

func TestAPrincipalHasABoundedNumberOfStreams(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cookie := f.cookie(f.Viewer)
	headers := map[string]string{"Cookie": cookie.Name + "=" + cookie.Value, "Accept": "text/event-stream"}
	var open []*frames
	for range 20 {
		s := follow(t, f, "/live?topics=builds", headers)
		if s.resp.StatusCode != 200 {
			t.Fatalf("stream %d: %d", len(open)+1, s.resp.StatusCode)
		}
		open = append(open, s)
	}
	if s := follow(t, f, "/live?topics=builds", headers); s.resp.StatusCode != 429 {
		t.Errorf("one more: %d", s.resp.StatusCode)
	}
	other := f.cookie(f.Developer)
	if s := follow(t, f, "/live?topics=builds", map[string]string{"Cookie": other.Name + "=" + other.Value}); s.resp.StatusCode != 200 {
		t.Errorf("somebody else: %d", s.resp.StatusCode)
	}
	open[0].resp.Body.Close()
	deadline := time.Now().Add(time.Minute)
	for follow(t, f, "/live?topics=builds", headers).resp.StatusCode != 200 {
		if time.Now().After(deadline) {
			t.Fatal("a closed stream still counts")
		}
	}
}

func TestAStreamIsNotForPagesOfOtherSitesNorForAppsBesideThePortal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cookie := f.cookie(f.Viewer)
	for _, path := range []string{"/live?topics=builds", "/api/v1/events", "/builds/" + f.Build.ID + "/log"} {
		for _, site := range []string{"cross-site", "same-site"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+f.host+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.AddCookie(cookie)
			r.Header.Set("Accept", "text/event-stream")
			r.Header.Set("Sec-Fetch-Site", site)
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusForbidden {
				t.Errorf("%s from a page that is %s: %d", path, site, res.StatusCode)
			}
		}
	}
}

func TestEventsGoOnWhereAClientLeftOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish(f.Team.ID, "build.queued", "build:1", "")
	var first models.Event
	if err := f.db.Order("id").Take(&first).Error; err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond) // ids of one millisecond have no order
	f.publish(f.Team.ID, "build.running", "build:1", "")
	f.publish(f.OtherTeam.ID, "build.running", "build:7", "")
	s := follow(t, f, "/api/v1/events", map[string]string{"Authorization": "Bearer " + f.token(f.Viewer, models.ScopeRead), "Last-Event-ID": first.ID, "Accept": "text/event-stream"})
	id, event, data, ok := s.next()
	if !ok || event != "event" || !strings.Contains(data, `"kind":"build.running","topic":"build:1"`) || id <= first.ID {
		t.Fatalf("what was missed: %q %q %q %v", id, event, data, ok)
	}
	f.publish(f.Team.ID, "build.succeeded", "build:1", "")
	if _, _, data, ok = s.next(); !ok || !strings.Contains(data, "build.succeeded") {
		t.Errorf("what happens next: %q %v", data, ok)
	}
}
