package certificates_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/certificates"
	"slipway.dev/services/certificates/acmetest"
	"slipway.dev/services/events"
	"slipway.dev/services/proxy"
	"slipway.dev/services/secrets"
)

const host = "shop.example.org"

// world is a team with a proven domain, and two proxies on one database.
type world struct {
	*modelstest.World
	t       *testing.T
	db      *models.Database
	box     *secrets.Box
	proxies []*replica
}

// replica is a proxy with a port for each kind of visitor.
type replica struct{ plain, secure net.Listener }

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	w := &world{World: modelstest.Seed(t, db), t: t, db: db, box: newBox(t)}
	now := db.NowFunc()
	w.create(&models.Domain{ID: models.NewID(), TeamID: w.Team.ID, Host: host, ProvenAt: &now, Redirect: true, CreatedAt: now, UpdatedAt: now},
		&models.Domain{ID: models.NewID(), TeamID: w.Team.ID, Host: "soon.example.org", CreatedAt: now, UpdatedAt: now},
		&models.Domain{ID: models.NewID(), TeamID: w.Team.ID, Host: "unused.example.org", ProvenAt: &now, CreatedAt: now, UpdatedAt: now})
	for _, name := range []string{host, "soon.example.org"} {
		w.create(&models.Address{ID: models.NewID(), TeamID: w.Team.ID, EnvironmentID: w.Environment.ID, AppID: w.App.ID, Host: name, Path: "/", CreatedAt: now})
	}
	w.proxies = []*replica{w.replica(), w.replica()}
	return w
}

func newBox(t *testing.T) *secrets.Box {
	t.Helper()
	box, err := secrets.Parse(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func (w *world) create(rows ...any) {
	w.t.Helper()
	for _, r := range rows {
		if err := w.db.Create(r).Error; err != nil {
			w.t.Fatalf("%T: %v", r, err)
		}
	}
}

func (w *world) replica() *replica {
	w.t.Helper()
	e := &events.Service{DB: w.db.DB}
	p := &proxy.Service{DB: w.db, Events: e, Box: w.box, Scheme: "http", TLSPort: "443", Dial: func(context.Context, string, string, string) (net.Conn, error) {
		return nil, errors.New("nothing runs")
	}}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	wg.Go(func() {
		if err := p.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !p.Challenge(rw, r) {
			p.ServeHTTP(rw, r)
		}
	})
	plain := httptest.NewServer(handler)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	secure := &http.Server{Handler: handler, TLSConfig: p.TLSConfig(), ErrorLog: noLog}
	wg.Go(func() { _ = secure.ServeTLS(l, "", "") })
	w.t.Cleanup(func() { plain.Close(); secure.Close(); stop(); wg.Wait() })
	return &replica{plain.Listener, l}
}

func (w *world) service(a *acmetest.Authority) *certificates.Service {
	return &certificates.Service{DB: w.db, Box: w.box, Authority: &certificates.Authority{Directory: a.Directory, Email: "ops@example.org", Client: a.Client}}
}

// shown returns the certificate that the replica shows for the host, once it shows one.
func (r *replica) shown(t *testing.T, a *acmetest.Authority, name string) *tls.ConnectionState {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); ; <-time.After(20 * time.Millisecond) {
		conn, err := tls.Dial("tcp", r.secure.Addr().String(), &tls.Config{ServerName: name, RootCAs: a.Roots, NextProtos: []string{"h2", "http/1.1"}})
		if err == nil {
			state := conn.ConnectionState()
			conn.Close()
			return &state
		}
		if time.Now().After(end) {
			t.Fatalf("no certificate for %s: %v", name, err)
		}
	}
}

func (w *world) orders(host string) *models.CertificateOrder {
	w.t.Helper()
	var all []models.CertificateOrder
	if err := w.db.Find(&all, "host = ?", host).Error; err != nil {
		w.t.Fatal(err)
	}
	if len(all) == 0 {
		return nil
	}
	return &all[0]
}

func (w *world) certificates() (all []models.Certificate) {
	w.t.Helper()
	if err := w.db.Find(&all).Error; err != nil {
		w.t.Fatal(err)
	}
	return all
}

func TestADomainGetsOneCertificateThatEveryProxyShows(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		// The authority asks the second proxy; the orders are another process's.
		a := acmetest.Start(t, acmetest.Options{HTTPPort: port(w.proxies[1].plain), TLSPort: port(w.proxies[1].secure)})
		var wg sync.WaitGroup
		for range 3 { // workers
			s := w.service(a)
			wg.Go(func() {
				if err := s.OrderAll(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		all := w.certificates()
		if len(all) != 1 || all[0].OrderedFor != host || all[0].TeamID != w.Team.ID || len(all[0].Hosts) != 1 {
			t.Fatalf("the certificates are %+v; the order says %+v", all, w.orders(host))
		}
		if strings.Contains(string(all[0].Sealed), "PRIVATE KEY") || strings.Contains(all[0].Chain, "PRIVATE KEY") {
			t.Error("the key is not sealed")
		}
		for _, r := range w.proxies {
			state := r.shown(t, a, host)
			if state.NegotiatedProtocol != "h2" || state.Version < tls.VersionTLS12 {
				t.Errorf("the connection is %+v", state)
			}
			if _, err := tls.Dial("tcp", r.secure.Addr().String(), &tls.Config{ServerName: "soon.example.org", InsecureSkipVerify: true}); err == nil {
				t.Error("a host without a certificate was shown one")
			}
			if _, err := tls.Dial("tcp", r.secure.Addr().String(), &tls.Config{ServerName: host, RootCAs: a.Roots, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
				t.Error("TLS 1.1 is spoken")
			}
		}
		s := w.service(a)
		if err := s.OrderAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if again := w.certificates(); len(again) != 1 || again[0].ID != all[0].ID || w.orders(host) != nil {
			t.Errorf("a good certificate was ordered anew")
		}
		late := all[0].NotBefore.Add(-12 * time.Hour)
		if err := db.Model(&all[0]).Updates(map[string]any{"not_before": late.Add(-90 * 24 * time.Hour), "not_after": db.NowFunc().Add(24 * time.Hour)}).Error; err != nil {
			t.Fatal(err)
		}
		if err := s.OrderAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if again := w.certificates(); len(again) != 1 || again[0].ID == all[0].ID {
			t.Errorf("a certificate that ends was not ordered anew: %+v", w.orders(host))
		}
		var left int64
		if err := db.Model(&models.CertificateChallenge{}).Count(&left).Error; err != nil || left != 0 {
			t.Errorf("%d challenges are left, %v", left, err)
		}
	})
}

func TestWhatAnAuthorityRefusesIsSaidAndTriedInAnotherWayLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := port(closed)
	closed.Close()
	a := acmetest.Start(t, acmetest.Options{HTTPPort: nobody, TLSPort: port(w.proxies[0].secure)})
	s := w.service(a)
	before := w.db.NowFunc()
	if err := s.OrderAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := w.orders(host)
	if o == nil || o.Tries != 1 || !strings.Contains(o.Note, "did not see this host") || o.NextAt.Before(before.Add(time.Minute)) || o.TakenUntil != nil {
		t.Fatalf("the order is %+v", o)
	}
	if err := s.OrderAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := w.orders(host); again.Tries != 1 {
		t.Error("it was tried again at once")
	}
	if err := w.db.Model(o).Update("next_at", before.Add(-time.Second)).Error; err != nil {
		t.Fatal(err)
	}
	if err := s.OrderAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.certificates()) != 1 {
		t.Fatalf("port 443 alone gave no certificate: %+v", w.orders(host))
	}
	w.proxies[1].shown(t, a, host)
}

func TestAnAuthorityThatAsksForAnAccountGetsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	key := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("x", 32)))
	a := acmetest.Start(t, acmetest.Options{HTTPPort: port(w.proxies[0].plain), TLSPort: port(w.proxies[0].secure), Accounts: map[string]string{"slipway": key}})
	s := w.service(a)
	if err := s.OrderAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o := w.orders(host); o == nil || !strings.Contains(o.Note, "refused the order") {
		t.Fatalf("without an account: %+v", o)
	}
	s = w.service(a)
	s.Authority.KeyID, s.Authority.MACKey = "slipway", []byte(strings.Repeat("x", 32))
	if err := w.db.Where("TRUE").Delete(&models.CertificateOrder{}).Error; err != nil {
		t.Fatal(err)
	}
	if err := s.OrderAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.certificates()) != 1 {
		t.Errorf("with the account: %+v", w.orders(host))
	}
}

func TestChallengesAreAnsweredForTheirHostAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.create(&models.CertificateChallenge{Host: host, Kind: models.ChallengeHTTP, Token: "token-one", Answer: "token-one.thumb", ExpiresAt: w.db.NowFunc().Add(time.Hour)},
		&models.CertificateChallenge{Host: "late.example.org", Kind: models.ChallengeHTTP, Token: "token-two", Answer: "token-two.thumb", ExpiresAt: w.db.NowFunc().Add(-time.Hour)})
	for _, c := range []struct {
		host, path string
		status     int
		body       string
	}{
		{host, "token-one", 200, "token-one.thumb"}, {"SHOP.example.org:80", "token-one", 200, "token-one.thumb"}, {"other.example.org", "token-one", 404, ""},
		{host, "token-two", 404, ""}, {host, "../token-one", 404, ""}, {host, "token-one'--", 404, ""}, {"late.example.org", "token-two", 404, ""},
	} {
		req, err := http.NewRequest("GET", "http://"+w.proxies[0].plain.Addr().String()+certificates.ChallengePath+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || c.body != "" && (res.StatusCode != c.status || string(body) != c.body) || strings.Contains(string(body), "thumb") != (c.body != "") {
			t.Errorf("%s %s: %d %q %v", c.host, c.path, res.StatusCode, body, err)
		}
	}
}
