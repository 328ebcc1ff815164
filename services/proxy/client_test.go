package proxy_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"slipway.dev/services/proxy"
)

func TestAVisitorsAddressIsTheLastThatNoTrustedProxyHas(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct{ peer, forwarded, want string }{
		{"10.0.0.1:4711", "", "10.0.0.1"},
		{"10.0.0.1:4711", "203.0.113.7", "203.0.113.7"},
		{"[::ffff:10.0.0.1]:4711", "203.0.113.7", "203.0.113.7"},
		{"[fd00::1]:4711", "198.51.100.9, 203.0.113.7 , 10.2.3.4", "203.0.113.7"},
		{"10.0.0.1:4711", "198.51.100.9|203.0.113.7", "203.0.113.7"}, // two headers
		{"10.0.0.1:4711", "203.0.113.7:50123", "203.0.113.7"},
		{"10.0.0.1:4711", "2001:db8::7", "2001:db8::7"},
		{"10.0.0.1:4711", "[2001:db8::7]", "2001:db8::7"},
		{"10.0.0.1:4711", "203.0.113.9, [2001:db8::7]:50123, [fd00::2]:80", "2001:db8::7"},
		{"10.0.0.1:4711", "203.0.113.9, unknown", "10.0.0.1"},
		{"203.0.113.8:4711", "198.51.100.9", "203.0.113.8"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		if c.forwarded != "" {
			r.Header["X-Forwarded-For"] = strings.Split(c.forwarded, "|")
		}
		if got := proxy.Client(r, trusted); got.String() != c.want {
			t.Errorf("from %s for %q: %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
}
