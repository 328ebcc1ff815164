package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/events"
	"slipway.dev/services/proxy"
)

// api makes a second app of the team, which serves at a host of its own, and returns it.
func (f *front) api(addresses ...string) *models.App {
	f.t.Helper()
	app := *f.w.App
	app.ID, app.Name = models.NewID(), "api"
	d := &models.Deployment{ID: models.NewID(), TeamID: app.TeamID, AppID: app.ID, EnvironmentID: f.w.Environment.ID, Number: 1, State: models.DeploymentSucceeded, Active: true, Action: models.ActionDeploy, CreatedAt: f.db.NowFunc()}
	r := &models.Route{Host: "api-dev.localhost", TeamID: app.TeamID, AppID: app.ID, EnvironmentID: d.EnvironmentID, DeploymentID: d.ID, Addresses: addresses, UpdatedAt: f.db.NowFunc()}
	f.create(&app, d, r)
	return &app
}

func (f *front) create(rows ...any) {
	f.t.Helper()
	for _, row := range rows {
		if err := f.db.Create(row).Error; err != nil {
			f.t.Fatalf("%T: %v", row, err)
		}
	}
}

// changed tells the proxies that what was written counts.
func (f *front) changed() {
	f.t.Helper()
	err := f.db.Transaction(func(tx *gorm.DB) error {
		return events.Publish(tx, models.Event{TeamID: f.w.Team.ID, Kind: models.VisitorEvents + "test", Topic: "environment:" + f.w.Environment.ID})
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// domain makes the host the team's.
func (f *front) domain(host string, proven bool) *models.Domain {
	f.t.Helper()
	now := f.db.NowFunc()
	d := &models.Domain{ID: models.NewID(), TeamID: f.w.Team.ID, Host: host, Token: host, Redirect: true, CreatedAt: now, UpdatedAt: now}
	if proven {
		d.ProvenAt = &now
	}
	f.create(d)
	return d
}

func (f *front) address(app *models.App, host, path string, strip bool) {
	f.t.Helper()
	f.create(&models.Address{ID: models.NewID(), TeamID: app.TeamID, EnvironmentID: f.w.Environment.ID, AppID: app.ID, Host: host, Path: path, Strip: strip, CreatedAt: f.db.NowFunc()})
}

// mirror is a server that answers with its name and what it was asked.
func mirror(t *testing.T, name string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s\n", name, r.RequestURI)
		for header, values := range r.Header {
			fmt.Fprintf(w, "%s: %s\n", header, strings.Join(values, " | "))
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// raw sends the request as it stands and returns the answer's status and body.
func (f *front) raw(request string) (int, string) {
	f.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		f.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		f.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func (f *front) at(host, target string, headers ...string) (int, string) {
	f.t.Helper()
	return f.raw("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n")
}

// await asks until the answer to the host and target begins with the text.
func (f *front) await(host, target, text string) {
	f.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; <-time.After(10 * time.Millisecond) {
		if _, body := f.at(host, target); strings.HasPrefix(body, text) {
			return
		} else if time.Now().After(end) {
			f.t.Fatalf("%s%s is answered with %q, not %q", host, target, body, text)
		}
	}
}

func TestHostsAndPathsLeadToTheirApps(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(time.Second, mirror(t, "web"))
	api := f.api(mirror(t, "api"))
	f.domain("shop.example.org", true)
	f.domain("soon.example.org", false)
	f.address(f.w.App, "shop.example.org", "/", false)
	f.address(api, "shop.example.org", "/api", false)
	f.address(api, "shop.example.org", "/api/v2", true)
	f.address(f.w.App, "shop.example.org", "/api/v2/help", false)
	f.address(api, "soon.example.org", "/", false)
	f.address(api, host, "/backend", true)
	f.changed()
	f.await(host, "/backend/x", "api /x") // the last one
	for _, c := range []struct {
		host, target string
		status       int
		begins       string
	}{
		{"shop.example.org", "/", 200, "web / "}, {"SHOP.example.org.:8080", "/?a=1;b=2&c", 200, "web /?a=1;b=2&c"},
		{"shop.example.org", "/api", 200, "api /api"}, {"shop.example.org", "/api/", 200, "api /api/"}, {"shop.example.org", "/api/users", 200, "api /api/users"},
		{"shop.example.org", "/apis", 200, "web /apis"}, {"shop.example.org", "/API", 200, "web /API"}, {"shop.example.org", "/%61pi/x", 200, "api /%61pi/x"},
		{"shop.example.org", "/api/v2", 200, "api /\n"}, {"shop.example.org", "/api/v2/", 200, "api /\n"}, {"shop.example.org", "/api/v2?x=1", 200, "api /?x=1"},
		{"shop.example.org", "/api/v2/a%2Fb%20c", 200, "api /a%2Fb%20c"}, {"shop.example.org", "/api/v2//x", 200, "api //x"}, {"shop.example.org", "/api/v2/help/me", 200, "web /api/v2/help/me"},
		{"shop.example.org", "//api/v2/x", 200, "web //api/v2/x"}, {"shop.example.org", "/api%2fv2/x", 200, "web /api%2fv2/x"}, {"shop.example.org", "/x..y/...", 200, "web /x..y/..."},
		{"shop.example.org", "/api/../admin", 400, "This address is ambiguous"}, {"shop.example.org", "/api/%2e%2e/admin", 400, "This address"}, {"shop.example.org", "/api/%2E./admin", 400, "This address"},
		{"shop.example.org", "/api/..%2fadmin", 400, "This address"}, {"shop.example.org", "/api/..;/admin", 400, "This address"}, {"shop.example.org", `/api/..\admin`, 400, "This address"},
		{"shop.example.org", "/api/..%5cadmin", 400, "This address"}, {"shop.example.org", "/./api", 400, "This address"}, {"shop.example.org", "/api/%zz", 400, "400 Bad Request"},
		{"soon.example.org", "/", 404, "Nothing is here"}, {"api-dev.localhost", "/a/../b", 200, "api /a/../b"}, {"api-dev.localhost", "//x%2f..", 200, "api //x%2f.."},
		{host, "/backend/x", 200, "api /x"}, {host, "/", 200, "web /"}, {"nobody.example.org", "/", 404, "Nothing is here"},
		{"shop.example.org", "http://api-dev.localhost/absolute", 200, "api /absolute"},
	} {
		status, body := f.at(c.host, c.target)
		if status != c.status || !strings.HasPrefix(body+" ", c.begins) && !strings.HasPrefix(strings.Replace(body, "\n", " ", 1), c.begins) {
			t.Errorf("%s%s: %d %q, want %d %q", c.host, c.target, status, body, c.status, c.begins)
		}
	}
	if _, body := f.at("shop.example.org", "/api/v2/x"); !strings.Contains(body, "X-Forwarded-Prefix: /api/v2\n") || !strings.Contains(body, "X-Forwarded-Host: shop.example.org\n") {
		t.Errorf("the app is told %q", body)
	}
	if err := f.db.Delete(&models.Domain{}, "host = ?", "shop.example.org").Error; err != nil {
		t.Fatal(err)
	}
	f.changed()
	f.await("shop.example.org", "/", "Nothing is here")
}

func TestAPathOnAnotherTeamsHostLeadsNowhere(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(time.Second, mirror(t, "web"))
	api := f.api(mirror(t, "api"))
	now := f.db.NowFunc()
	f.create(&models.Domain{ID: models.NewID(), TeamID: f.w.OtherTeam.ID, Host: "theirs.example.org", ProvenAt: &now, CreatedAt: now, UpdatedAt: now})
	f.address(api, "theirs.example.org", "/", false)
	if err := f.db.Model(&models.Route{}).Where("host = ?", host).Update("team_id", f.w.OtherTeam.ID).Error; err != nil {
		t.Fatal(err)
	}
	f.address(api, host, "/backend", false)
	f.address(api, "api-dev.localhost", "/known", true) // so that it is seen when the others were
	f.changed()
	f.await("api-dev.localhost", "/known/x", "api /x")
	if status, _ := f.at("theirs.example.org", "/"); status != 404 {
		t.Errorf("a domain of another team is served: %d", status)
	}
	if _, body := f.at(host, "/backend"); !strings.HasPrefix(body, "web /backend") {
		t.Errorf("a path of another team's host was taken: %q", body)
	}
}

func TestWhatOnlyAProxyMaySayDoesNotComeFromOutside(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(time.Second, mirror(t, "web"))
	f.await(host, "/", "web")
	forged := []string{"X-Forwarded-For: 203.0.113.9", "x_forwarded_for: 203.0.113.9", "X-Forwarded_Proto: gopher", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /admin", "Forwarded: for=203.0.113.9", "X-Real-IP: 203.0.113.9",
		"X-Original-URL: /admin", "X-Rewrite-URL: /admin", "True-Client-IP: 203.0.113.9", "X-Forwarded-Host: evil.example", "Keep-Alive: x", "Proxy-Connection: x", "X-Custom: kept", "TE: trailers, deflate", "Connection: X-Forwarded-Proto, X-Hop", "X-Hop: gone"}
	_, body := f.at(host, "/", forged...)
	for _, gone := range []string{"203.0.113.9", "gopher", "admin", "evil", "Keep-Alive", "Proxy-Connection", "X-Hop", "deflate", "X-Forwarded-Port"} {
		if strings.Contains(body, gone) {
			t.Errorf("the app is told %q: %s", gone, body)
		}
	}
	for _, want := range []string{"X-Forwarded-For: 127.0.0.1\n", "X-Forwarded-Proto: https\n", "X-Forwarded-Host: " + host + "\n", "X-Custom: kept\n", "Te: trailers\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("the app is not told %q: %s", want, body)
		}
	}
	f.url = f.another(func(p *proxy.Service) { p.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	f.await(host, "/", "web")
	_, body = f.at(host, "/", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: http", "X-Forwarded-Prefix: /admin")
	if !strings.Contains(body, "X-Forwarded-For: 198.51.100.7, 127.0.0.1\n") || !strings.Contains(body, "X-Forwarded-Proto: http\n") || strings.Contains(body, "admin") {
		t.Errorf("behind a trusted proxy the app is told %s", body)
	}
}

func TestRequestsThatTwoServersWouldReadDifferentlyAreRefused(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(time.Second, mirror(t, "web"))
	f.await(host, "/", "web")
	for name, request := range map[string]string{
		"two lengths":           "POST / HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"chunked twice":         "POST / HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
		"a space before colon":  "GET / HTTP/1.1\r\nHost : " + host + "\r\n\r\n",
		"a folded line":         "GET / HTTP/1.1\r\nHost: " + host + "\r\n X: y\r\n\r\n",
		"two hosts":             "GET / HTTP/1.1\r\nHost: " + host + "\r\nHost: evil.example\r\n\r\n",
		"no host":               "GET / HTTP/1.1\r\n\r\n",
		"a strange transfer":    "POST / HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\nabcd",
		"a null byte in a name": "GET / HTTP/1.1\r\nHost: " + host + "\r\nX\x00: y\r\n\r\n",
		"a tunnel":              "CONNECT " + host + ":80 HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
		"a space in the target": "GET /a b HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
	} {
		if status, body := f.raw(request); status < 400 || strings.HasPrefix(body, "web") {
			t.Errorf("%s: %d %q", name, status, body)
		}
	}
	// A length beside chunks is taken as chunks, and only that is sent on.
	status, body := f.raw("POST / HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\nContent-Length: 30\r\nConnection: close\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")
	if strings.Contains(body, "smuggled") || status == 200 && strings.Contains(body, "Content-Length: 30") {
		t.Errorf("both: %d %q", status, body)
	}
}

func TestMaintenanceKeepsVisitorsAwayAtOnceAndLetsTheInvitedIn(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(time.Second, mirror(t, "web"))
	f.await(host, "/", "web")
	ends := f.db.NowFunc().Add(time.Hour)
	m := &models.Maintenance{EnvironmentID: f.w.Environment.ID, AppID: f.w.App.ID, Message: "Back at noon.", EndsAt: &ends, CodeHash: models.HashCode("sesame"), StartedAt: f.db.NowFunc()}
	f.create(m)
	f.changed()
	f.await(host, "/", "Maintenance. Back at noon.")
	status, _, header := f.get(f.url, "/", nil)
	if seconds := header.Get("Retry-After"); status != 503 || len(seconds) != 4 || header.Get("Cache-Control") != "no-store" {
		t.Errorf("the answer is %d with Retry-After %q", status, seconds)
	}
	send := func(code string) *http.Response {
		t.Helper()
		req, err := http.NewRequest("POST", f.url+"/.slipway/maintenance", strings.NewReader(url.Values{"code": {code}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	if res := send("guess"); res.StatusCode != 303 || len(res.Cookies()) != 0 {
		t.Errorf("a wrong code: %d %v", res.StatusCode, res.Cookies())
	}
	res := send(" SESAME ")
	if res.StatusCode != 303 || len(res.Cookies()) != 1 {
		t.Fatalf("the code: %d %v", res.StatusCode, res.Cookies())
	}
	c := res.Cookies()[0]
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Domain != "" {
		t.Errorf("the cookie is %+v", c)
	}
	_, body := f.at(host, "/", "Cookie: a=1; "+c.Name+"="+c.Value)
	if !strings.HasPrefix(body, "web /") || strings.Contains(body, "sesame") || !strings.Contains(body, "Cookie: a=1\n") {
		t.Errorf("with the code the app is reached as %q", body)
	}
	m.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := f.db.Save(m).Error; err != nil {
		t.Fatal(err)
	}
	f.changed()
	f.await(host, "/", "web /")
	soon := f.db.NowFunc().Add(300 * time.Millisecond)
	m.Allow, m.EndsAt = nil, &soon
	if err := f.db.Save(m).Error; err != nil {
		t.Fatal(err)
	}
	f.changed()
	f.await(host, "/", "web /")
}

// limit bounds the requests to the place.
func (f *front) limit(l models.PlaceLimits) {
	f.t.Helper()
	l.EnvironmentID, l.AppID, l.UpdatedAt = f.w.Environment.ID, f.w.App.ID, f.db.NowFunc()
	if err := f.db.Save(&l).Error; err != nil {
		f.t.Fatal(err)
	}
	f.changed()
}

func TestLimitsHoldForRequestsThatComeAndCutNobody(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/upgrade", echo)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "read %d %v", n, err == nil)
	})
	wait := func(r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	mux.HandleFunc("/never", func(_ http.ResponseWriter, r *http.Request) { wait(r) })
	mux.HandleFunc("/half", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		wait(r)
	})
	app := httptest.NewServer(mux)
	t.Cleanup(app.Close)
	t.Cleanup(func() { close(release) })
	f.serve(time.Second, strings.TrimPrefix(app.URL, "http://"))
	f.await(host, "/", "read 0 true")
	before := f.upgrade()
	if got := before.echo(t, "hello"); got != "hello" {
		t.Fatal(got)
	}
	whole := "POST / HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 1001\r\nConnection: close\r\n\r\n" + strings.Repeat("x", 1001)
	untilTaken := func(taken bool) { // which tells that the limits are there
		t.Helper()
		for end := time.Now().Add(60 * time.Second); ; <-time.After(10 * time.Millisecond) {
			status, body := f.raw(whole)
			if (status != 413) == taken {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("a body of 1001 bytes: %d %q", status, body)
			}
		}
	}
	f.limit(models.PlaceLimits{Body: 1000})
	untilTaken(false)
	chunks := "POST / HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
	if status, body := f.raw(chunks + "3e8\r\n" + strings.Repeat("x", 1000) + "\r\n0\r\n\r\n"); status != 200 || body != "read 1000 true" {
		t.Errorf("a body as large as the limit: %d %q", status, body)
	}
	if status, body := f.raw(chunks + "3e9\r\n" + strings.Repeat("x", 1001) + "\r\n0\r\n\r\n"); status != 413 {
		t.Errorf("a body of unknown length over the limit: %d %q", status, body)
	}
	f.limit(models.PlaceLimits{FirstByte: 1, Idle: 1, Body: 2000}) // no request that has to go well comes from here on
	untilTaken(true)
	if status, body := f.at(host, "/never"); status != 504 || !strings.HasPrefix(body, "The app takes too long") {
		t.Errorf("an app that never answers: %d %q", status, body)
	}
	if status, body := f.raw("POST / HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\nConnection: close\r\n\r\nabc"); status != 504 || !strings.HasPrefix(body, "The request stood still") {
		t.Errorf("a body that does not go on: %d %q", status, body)
	}
	if err := f.try("/half"); err == nil {
		t.Error("an answer that does not go on ended well")
	}
	if got := before.echo(t, "still here"); got != "still here" {
		t.Errorf("a connection from before was cut: %q", got)
	}
}

// try is a request whose answer may break off.
func (f *front) try(path string) error {
	req, err := http.NewRequest("GET", f.url+path, nil)
	if err != nil {
		return err
	}
	req.Host = host
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// withTLS says where visitors find the listener for TLS.
func withTLS(p *proxy.Service) { p.Scheme, p.TLSPort = "http", "8443" }
