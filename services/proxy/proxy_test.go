package proxy_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/events"
	"slipway.dev/services/proxy"
	"slipway.dev/services/secrets"
	"slipway.dev/services/secrets/secretstest"
)

const host = "checkout-dev.localhost"

// front is a proxy on a port of its own.
type front struct {
	t    *testing.T
	db   *models.Database
	w    *modelstest.World
	box  *secrets.Box
	url  string
	slow chan struct{} // takes from each request for /slow that has reached its instance
	end  chan struct{} // lets one of them be answered

	secure string // the address for visitors by TLS
}

// patience is how long a test waits for what must come.
const patience = time.Minute

func newFront(t *testing.T) *front {
	t.Helper()
	f := &front{t: t, db: modelstest.DB(t), slow: make(chan struct{}), end: make(chan struct{}), box: secretstest.Box()}
	f.w = modelstest.Seed(t, f.db)
	f.url = f.another()
	return f
}

// another starts one more proxy on the same database.
func (f *front) another(with ...func(*proxy.Service)) string {
	e := &events.Service{DB: f.db.DB}
	p := &proxy.Service{DB: f.db, Events: e, Box: f.box, Scheme: "https", Dial: direct, Cookies: []string{"slipway_session"}}
	for _, change := range with {
		change(p)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	wg.Go(func() {
		if err := p.Run(ctx); err != nil {
			f.t.Error(err)
		}
	})
	server := httptest.NewUnstartedServer(p)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Listener = p.Front(server.Config, server.Listener)
	server.Start()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	front := &http.Server{Handler: p, TLSConfig: p.TLSConfig(), ErrorLog: log.New(io.Discard, "", 0)}
	wg.Go(func() { _ = front.ServeTLS(l, "", "") })
	f.secure = l.Addr().String()
	f.t.Cleanup(func() { server.CloseClientConnections(); server.Close(); front.Close(); stop(); wg.Wait() })
	return server.URL
}

func direct(ctx context.Context, _, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// serve makes the addresses what answers, as a deployment's switch does, and
// returns the deployment's id.
func (f *front) serve(drain time.Duration, addresses ...string) string {
	f.t.Helper()
	return f.serveAs(models.ProtocolHTTP1, drain, addresses...)
}

// serveAs is serve for instances that speak the protocol.
func (f *front) serveAs(protocol models.Protocol, drain time.Duration, addresses ...string) string {
	f.t.Helper()
	addresses = append([]string{}, addresses...)
	now := f.db.NowFunc()
	until := now.Add(drain)
	d := &models.Deployment{ID: models.NewID(), TeamID: f.w.Team.ID, AppID: f.w.App.ID, EnvironmentID: f.w.Environment.ID, Number: now.UnixNano(),
		State: models.DeploymentSucceeded, Active: true, Action: models.ActionDeploy, CreatedAt: now}
	err := f.db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Model(&models.Deployment{}).Where("active").Updates(map[string]any{"active": false, "drain_until": until}).Error; err != nil {
			return err
		}
		if err := tx.Create(d).Error; err != nil {
			return err
		}
		r := models.Route{Host: host, TeamID: d.TeamID, AppID: d.AppID, EnvironmentID: d.EnvironmentID, DeploymentID: d.ID, Addresses: addresses, Protocol: protocol, UpdatedAt: now}
		if err := tx.Save(&r).Error; err != nil {
			return err
		}
		return events.Publish(tx, models.Event{TeamID: d.TeamID, Kind: "deployment.switched", Topic: "deployment:" + d.ID})
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return d.ID
}

// echo upgrades the connection and sends back what comes.
func echo(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	rw.Flush()
	io.Copy(conn, rw)
}

// instance is a server that answers with its name.
func (f *front) instance(name string) string {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "theme=dark; Domain=localhost; Path=/")
		w.Header().Add("Set-Cookie", "slipway_session=stolen; Path=/")
		fmt.Fprintf(w, "%s\nproto %s\nfor %s\ncookie %s\n", name, r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-For"), r.Header.Get("Cookie"))
	})
	mux.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) { http.Error(w, name, http.StatusInternalServerError) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		f.slow <- struct{}{}
		<-f.end
		fmt.Fprintln(w, name)
	})
	mux.HandleFunc("/while", func(w http.ResponseWriter, r *http.Request) {
		<-time.After(600 * time.Millisecond)
		fmt.Fprintln(w, name)
	})
	mux.HandleFunc("/sse", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			fmt.Fprintf(w, "data: %s\n\n", name)
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	mux.HandleFunc("/upgrade", echo)
	server := httptest.NewServer(mux)
	f.t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return strings.TrimPrefix(server.URL, "http://")
}

func (f *front) get(url, path string, change func(*http.Request)) (int, string, http.Header) {
	f.t.Helper()
	req, err := http.NewRequest("GET", url+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Host = host + ":8080"
	if change != nil {
		change(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error(), nil
	}
	return res.StatusCode, string(body), res.Header
}

// until waits for the host to answer with the text.
func (f *front) until(url, text string) {
	f.t.Helper()
	for end := time.Now().Add(patience); ; {
		_, body, _ := f.get(url, "/", nil)
		if strings.Contains(body, text) {
			return
		}
		if time.Now().After(end) {
			f.t.Fatalf("the proxy never answered with %q but %q", text, body)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (f *front) holds(id string) (n int64) {
	f.t.Helper()
	if err := f.db.Model(&models.ProxyHold{}).Where("deployment_id = ?", id).Count(&n).Error; err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *front) untilHolds(id string, want int64) {
	f.t.Helper()
	for end := time.Now().Add(patience); f.holds(id) != want; <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("%d proxies hold the deployment, not %d", f.holds(id), want)
		}
	}
}

// untilServes waits until requests go to the deployment.
func (f *front) untilServes(id string) {
	f.t.Helper()
	for end := time.Now().Add(patience); ; <-time.After(5 * time.Millisecond) {
		var n int64
		if err := f.db.Model(&models.ProxyHold{}).Where("deployment_id = ? AND serving", id).Count(&n).Error; err != nil {
			f.t.Fatal(err)
		}
		if n > 0 {
			return
		}
		if time.Now().After(end) {
			f.t.Fatal("no request ever goes to the deployment")
		}
	}
}

func TestAnAppGetsItsRequestsAndNothingOfThePortal(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(time.Second, f.instance("one"))
	f.until(f.url, "one")
	_, body, header := f.get(f.url, "/", func(r *http.Request) {
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		r.Header.Set("X-Forwarded-Proto", "gopher")
		r.Header.Set("Cookie", "a=1; slipway_session=secret; b=2")
	})
	if want := "one\nproto https\nfor 127.0.0.1\ncookie a=1; b=2\n"; body != want {
		t.Errorf("the app got %q, want %q", body, want)
	}
	if got := header.Values("Set-Cookie"); len(got) != 1 || got[0] != "theme=dark; Path=/" {
		t.Errorf("the app set %q", got)
	}
}

func TestAHostWithoutARunningAppGetsAPageThatTellsNothing(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	place := models.Route{Host: host, TeamID: f.w.Team.ID, AppID: f.w.App.ID, EnvironmentID: f.w.Environment.ID, Addresses: []string{}, UpdatedAt: f.db.NowFunc()}
	f.until(f.url, "Nothing is here")
	if err := f.db.Create(&place).Error; err != nil {
		t.Fatal(err)
	}
	f.until(f.url, "Not deployed yet")
	id := f.serve(time.Second)
	f.until(f.url, "Not running")
	if err := f.db.Model(&models.Deployment{}).Where("id = ?", id).Update("stopped", true).Error; err != nil {
		t.Fatal(err)
	}
	f.until(f.url, "Stopped")
	f.serve(time.Second, "127.0.0.1:1")
	f.until(f.url, "does not answer")
	_, body, _ := f.get(f.url, "/", nil)
	for _, secret := range []string{"127.0.0.1", "payments", id} {
		if strings.Contains(body, secret) {
			t.Errorf("the page tells %q: %q", secret, body)
		}
	}
}

func TestEachOfSeveralProxiesHoldsWhatItSendsRequestsTo(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	other := f.another()
	first := f.serve(0, f.instance("one"))
	f.until(f.url, "one")
	f.until(other, "one")
	if f.holds(first) != 2 {
		t.Fatalf("%d proxies hold the deployment", f.holds(first))
	}
	slow := make(chan string, 1)
	go func() { _, body, _ := f.get(other, "/slow", nil); slow <- body }()
	<-f.slow
	f.serve(patience, f.instance("two"))
	f.until(f.url, "two")
	f.until(other, "two")
	f.untilHolds(first, 1)
	f.end <- struct{}{}
	if got := <-slow; got != "one\n" {
		t.Errorf("the slow request got %q", got)
	}
	f.untilHolds(first, 0)
}

func TestARequestThatNobodyTookGoesWhereTheAppIsNow(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(time.Second, f.instance("one"))
	f.until(f.url, "one")
	f.serve(time.Second, "127.0.0.1:1")
	f.until(f.url, "does not answer")
	two := f.instance("two") // a request waits two seconds
	answered := make(chan string, 2)
	for _, body := range []io.Reader{nil, strings.NewReader("an order")} {
		go func() {
			req, err := http.NewRequest("POST", f.url+"/", body)
			if err != nil {
				t.Error(err)
				return
			}
			req.Host = host
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				answered <- err.Error()
				return
			}
			defer res.Body.Close()
			got, _ := io.ReadAll(res.Body)
			answered <- string(got)
		}()
	}
	f.serve(time.Second, two)
	for range 2 {
		if body := <-answered; !strings.HasPrefix(body, "two") {
			t.Errorf("the request got %q", body)
		}
	}
}

func TestNoRequestFailsWhileVersionsReplaceEachOther(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.serve(patience, f.instance("version 0")) // requests under way are cut then
	f.until(f.url, "version 0")
	var ok, failed atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				path := "/"
				if n%40 == worker {
					path = "/while"
				}
				if code, body, _ := f.get(f.url, path, nil); code != http.StatusOK {
					failed.Add(1)
					t.Errorf("a request got %d %q", code, body)
					return
				}
				ok.Add(1)
			}
		})
	}
	for v := 1; v <= 8; v++ {
		name := fmt.Sprintf("version %d", v)
		f.serve(patience, f.instance(name))
		f.until(f.url, name)
		for seen := ok.Load(); ok.Load() < seen+60 && failed.Load() == 0; {
			<-time.After(time.Millisecond)
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d requests were answered, %d failed", ok.Load(), failed.Load())
}
