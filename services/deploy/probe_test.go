package deploy_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"slipway.dev/services/deploy"
)

func TestAProbeHearsAnAppThatSpeaksHTTP2Alone(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true) // Go's own server ends a connection by HTTP/1.1 without a word then
	s.Start()
	t.Cleanup(s.Close)
	at := strings.TrimPrefix(s.URL, "http://")
	if answer, healthy := (deploy.Prober{}).HTTP(t.Context(), at, "/healthz"); answer != "HTTP 200" || !healthy {
		t.Errorf("a good path: %q, %t", answer, healthy)
	}
	if answer, healthy := (deploy.Prober{}).HTTP(t.Context(), at, "/"); answer != "HTTP 418" || healthy {
		t.Errorf("a bad one: %q, %t", answer, healthy)
	}
}

func TestAConnectionThatIsClosedAtOnceIsARefusedOneWheneverThatComes(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // as a forwarder does for a port on which nothing listens
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				if answer, healthy := (deploy.Prober{}).HTTP(t.Context(), l.Addr().String(), "/healthz"); healthy || answer != "connection refused" {
					t.Errorf("healthy is %v: %s", healthy, answer)
					return
				}
			}
		})
	}
	all.Wait()
}
