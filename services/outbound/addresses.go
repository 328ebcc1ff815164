package outbound

import "net/netip"

// special lists the ranges of IANA's special-purpose registries that are not the public internet.
var special = []struct {
	prefix netip.Prefix
	kind   string
}{
	{netip.MustParsePrefix("127.0.0.0/8"), "an address of this machine itself"},
	{netip.MustParsePrefix("::1/128"), "an address of this machine itself"},
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified address"},
	{netip.MustParsePrefix("::/128"), "an unspecified address"},
	{netip.MustParsePrefix("10.0.0.0/8"), "a private address"},
	{netip.MustParsePrefix("172.16.0.0/12"), "a private address"},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private address"},
	{netip.MustParsePrefix("fc00::/7"), "a private address"},
	{netip.MustParsePrefix("fec0::/10"), "a private address"},
	{netip.MustParsePrefix("100.64.0.0/10"), "a carrier-grade NAT address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
	{netip.MustParsePrefix("192.0.0.0/24"), "a reserved address"},
	{netip.MustParsePrefix("192.0.2.0/24"), "a reserved address"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a reserved address"},
	{netip.MustParsePrefix("198.18.0.0/15"), "a reserved address"},
	{netip.MustParsePrefix("198.51.100.0/24"), "a reserved address"},
	{netip.MustParsePrefix("203.0.113.0/24"), "a reserved address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved address"},
	{netip.MustParsePrefix("2001::/23"), "a reserved address"},
	{netip.MustParsePrefix("2001:db8::/32"), "a reserved address"},
	{netip.MustParsePrefix("2002::/16"), "a tunnel address"},
	{netip.MustParsePrefix("3fff::/20"), "a reserved address"},
}

var (
	// nat64 carries an IPv4 address in its last four bytes (RFC 6052).
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
	// globalUnicast is the only part of IPv6 that is routed on the public internet.
	globalUnicast = netip.MustParsePrefix("2000::/3")
)

// refuse says what kind of address keeps the guard from dialing it, or "" when it may be dialed.
func (g *Guard) refuse(addr netip.Addr) string {
	if addr.Zone() != "" {
		return "a link-local address"
	}
	addr = addr.Unmap()
	for _, prefix := range g.Allow {
		if prefix.Contains(addr) {
			return ""
		}
	}
	if nat64.Contains(addr) {
		bytes := addr.As16()
		return g.refuse(netip.AddrFrom4([4]byte(bytes[12:])))
	}
	for _, s := range special {
		if s.prefix.Contains(addr) {
			return s.kind
		}
	}
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return "not a public address"
	}
	return ""
}

// Permits tells whether the guard would dial this address.
func (g *Guard) Permits(addr netip.Addr) bool { return addr.IsValid() && g.refuse(addr) == "" }
