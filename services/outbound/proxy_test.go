package outbound

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

func startProxy(t *testing.T, guard *Guard) *Proxy {
	proxy := &Proxy{Guard: guard}
	if err := proxy.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	return proxy
}

func through(t *testing.T, proxy string) *http.Client {
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(u), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	return &http.Client{Transport: transport}
}

func TestTheProxyForwardsToAllowedHosts(t *testing.T) {
	session := startProxy(t, only("127.0.0.1")).Open()
	defer session.Close()
	plain, _ := counting(t)
	secure := httptest.NewTLSServer(plain.Config.Handler)
	t.Cleanup(secure.Close)
	for _, target := range []string{plain.URL, secure.URL} {
		answer, err := through(t, session.URL()).Get(target)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if string(body) != "secret of the inside" {
			t.Errorf("%s: got %q", target, body)
		}
	}
	if session.Err() != nil {
		t.Errorf("session remembers %v", session.Err())
	}
}

func TestTheProxyRefusesTheInsideAndSaysWhy(t *testing.T) {
	var arrived atomic.Int32
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) })
	inside := serveOn(t, "127.0.0.2", handler)
	proxy := startProxy(t, only("127.0.0.1"))
	for _, target := range []string{inside, strings.Replace(inside, "http:", "https:", 1)} {
		session := proxy.Open()
		answer, err := through(t, session.URL()).Get(target)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode != http.StatusForbidden {
				t.Errorf("%s: status %d", target, answer.StatusCode)
			}
		}
		var refused *RefusedError
		if !errors.As(session.Err(), &refused) || arrived.Load() != 0 {
			t.Errorf("%s: session remembers %v, %d requests arrived", target, session.Err(), arrived.Load())
		}
		session.Close()
	}
}

func TestTheProxyServesNobodyElse(t *testing.T) {
	proxy := startProxy(t, only("127.0.0.1"))
	server, hits := counting(t)
	closed := proxy.Open()
	closed.Close()
	open := proxy.Open()
	defer open.Close()
	wrong := strings.Replace(open.URL(), open.password, "guess", 1)
	bare := "http://" + proxy.listener.Addr().String()
	for _, address := range []string{bare, wrong, closed.URL()} {
		answer, err := through(t, address).Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusProxyAuthRequired || hits.Load() != 0 {
			t.Errorf("status %d, %d requests arrived", answer.StatusCode, hits.Load())
		}
	}
}

func TestTheProxyKeepsItsCredentialsToItself(t *testing.T) {
	got := make(chan http.Header, 1)
	server := serveOn(t, "127.0.0.1", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	session := startProxy(t, only("127.0.0.1")).Open()
	defer session.Close()
	answer, err := through(t, session.URL()).Get(server)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if header := <-got; header.Get("Proxy-Authorization") != "" || header.Get("X-Forwarded-For") != "" {
		t.Errorf("the far side saw %v", header)
	}
}

func TestClosingASessionCutsItsTunnels(t *testing.T) {
	arrived, hold := make(chan struct{}), make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-hold
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hold) })
	session := startProxy(t, only("127.0.0.1")).Open()
	failed := make(chan error, 1)
	go func() {
		answer, err := through(t, session.URL()).Get(server.URL)
		if err == nil {
			answer.Body.Close()
		}
		failed <- err
	}()
	<-arrived
	session.Close()
	if err := <-failed; err == nil {
		t.Error("the request went on after its session had ended")
	}
}
