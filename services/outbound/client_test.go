package outbound

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

func counting(t *testing.T) (*httptest.Server, *atomic.Int32) {
	var hits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = io.WriteString(w, "secret of the inside")
	}))
	t.Cleanup(server.Close)
	return server, &hits
}

func portOf(t *testing.T, raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// only allows this one loopback address, so that another loopback address stands for an inside that is closed.
func only(addr string) *Guard {
	return &Guard{Allow: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(addr), 32)}}
}

func serveOn(t *testing.T, addr string, handler http.Handler) string {
	listener, err := net.Listen("tcp", addr+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

func TestTheClientRefusesTheInside(t *testing.T) {
	server, hits := counting(t)
	_, err := (&Guard{}).HTTPClient().Get(server.URL)
	if err == nil || !strings.Contains(err.Error(), "an address of this machine itself") {
		t.Errorf("got %v", err)
	}
	if hits.Load() != 0 {
		t.Error("the request arrived")
	}
}

func TestARedirectToTheInsideIsRefused(t *testing.T) {
	var inside atomic.Int32
	closed := serveOn(t, "127.0.0.2", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Add(1) }))
	open := serveOn(t, "127.0.0.1", http.RedirectHandler(closed, http.StatusFound))
	_, err := only("127.0.0.1").HTTPClient().Get(open)
	if err == nil || inside.Load() != 0 {
		t.Errorf("err %v, %d requests arrived inside", err, inside.Load())
	}
}

func TestCredentialsStayWithTheirHost(t *testing.T) {
	got := make(chan http.Header, 1)
	other := serveOn(t, "127.0.0.1", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	first := serveOn(t, "127.0.0.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other, http.StatusFound)
	}))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, first+"/?token=s3cret", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer s3cret")
	req.Header.Set("Private-Token", "s3cret")
	req.Header.Set("Cookie", "session=s3cret")
	req.Header.Set("Accept", "application/json")
	answer, err := only("127.0.0.1").HTTPClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	header := <-got
	for name, values := range header {
		if strings.Contains(strings.Join(values, " "), "s3cret") {
			t.Errorf("%s reached another host: %v", name, values)
		}
	}
	if header.Get("Accept") != "application/json" {
		t.Error("a harmless header was lost")
	}
}

func TestABodyIsNotSentOnToAnotherHost(t *testing.T) {
	var arrived atomic.Int32
	other := serveOn(t, "127.0.0.1", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) }))
	first := serveOn(t, "127.0.0.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other, http.StatusTemporaryRedirect)
	}))
	_, err := only("127.0.0.1").HTTPClient().Post(first, "text/plain", strings.NewReader("s3cret"))
	if err == nil || arrived.Load() != 0 {
		t.Errorf("err %v, arrived %d", err, arrived.Load())
	}
}

func TestRedirectsEnd(t *testing.T) {
	var hits atomic.Int32
	loop := serveOn(t, "127.0.0.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "/again", http.StatusFound)
	}))
	_, err := only("127.0.0.1").HTTPClient().Get(loop)
	if err == nil || hits.Load() > maxRedirects+1 {
		t.Errorf("err %v after %d requests", err, hits.Load())
	}
}

func TestTheEnvironmentsProxyIsIgnored(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.3:1")
	if (&Guard{}).Transport().Proxy != nil {
		t.Error("a proxy from the environment would be used")
	}
}
