package outbound

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

// fixed answers every name with the given addresses.
func fixed(addrs ...string) func(context.Context, string) ([]netip.Addr, error) {
	return func(context.Context, string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, a := range addrs {
			out = append(out, netip.MustParseAddr(a))
		}
		return out, nil
	}
}

func TestAddressesThatAreNotPublicAreRefused(t *testing.T) {
	refused := []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"100.64.0.1", "169.254.169.254", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9",
		"224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "2002:7f00:1::",
		"100::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe",
		"64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001::1", "5f00::1",
	}
	guard := &Guard{}
	for _, addr := range refused {
		_, err := guard.DialContext(t.Context(), "tcp", joinPort(addr))
		var refusal *RefusedError
		if !errors.As(err, &refusal) {
			t.Errorf("%s: got %v, want a refusal", addr, err)
		}
	}
}

func joinPort(addr string) string {
	if strings.Contains(addr, ":") {
		return "[" + addr + "]:80"
	}
	return addr + ":80"
}

func TestPublicAddressesAreAllowed(t *testing.T) {
	guard := &Guard{}
	for _, addr := range []string{"1.1.1.1", "140.82.121.4", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"} {
		if !guard.Permits(netip.MustParseAddr(addr)) {
			t.Errorf("%s is refused, want allowed", addr)
		}
	}
}

func TestOldSpellingsOfAddressesAreNotHostNames(t *testing.T) {
	guard := &Guard{Lookup: fixed("1.1.1.1")}
	for _, host := range []string{
		"2130706433", "127.1", "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "127.0.0.1.", "1.2.3.4.5", "", ".", "a b",
		"evil.example\n", "host/path", "127。0。0。1", "x@y", strings.Repeat("a", 300),
	} {
		_, err := guard.ResolveTCP(t.Context(), host, "443")
		var bad *HostError
		if !errors.As(err, &bad) {
			t.Errorf("%q: got %v, want a host error", host, err)
		}
	}
}

func TestTheRefusalNamesAddressHostAndSetting(t *testing.T) {
	guard := &Guard{Lookup: fixed("10.1.2.3")}
	_, err := guard.ResolveTCP(t.Context(), "git.internal", "22")
	want := "10.1.2.3 (git.internal) is a private address; an administrator can allow it with SLIPWAY_OUTBOUND_ALLOW"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestAnAdministratorOpensARange(t *testing.T) {
	guard := &Guard{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Lookup: fixed("10.1.2.3")}
	got, err := guard.ResolveTCP(t.Context(), "git.internal", "22")
	if err != nil || got.String() != "10.1.2.3:22" {
		t.Errorf("got %v, %v", got, err)
	}
	if guard.Permits(netip.MustParseAddr("10.2.0.1")) {
		t.Error("an address outside of the range is allowed")
	}
}

func TestOfMixedAnswersOnlyAllowedAddressesAreUsed(t *testing.T) {
	guard := &Guard{Lookup: fixed("127.0.0.1", "1.1.1.1", "::1")}
	got, err := guard.ResolveTCP(t.Context(), "mixed.example", "443")
	if err != nil || got.Addr() != netip.MustParseAddr("1.1.1.1") {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestANameThatChangesItsAnswerIsResolvedOncePerConnection(t *testing.T) {
	server, _ := counting(t)
	var calls atomic.Int32
	guard := &Guard{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			if calls.Add(1) == 1 {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("169.254.169.254")}, nil
		},
	}
	conn, err := guard.DialContext(t.Context(), "tcp", "rebind.example:"+portOf(t, server.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if calls.Load() != 1 || !strings.HasPrefix(conn.RemoteAddr().String(), "127.0.0.1:") {
		t.Errorf("%d lookups, connected to %s", calls.Load(), conn.RemoteAddr())
	}
	if _, err := guard.DialContext(t.Context(), "tcp", "rebind.example:80"); err == nil {
		t.Error("the second answer was not checked")
	}
}
