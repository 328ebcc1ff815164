package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Peer is the address at the other end of the connection, whatever headers say.
func Peer(r *http.Request) netip.Addr {
	name, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		name = r.RemoteAddr
	}
	addr, _ := netip.ParseAddr(name) // the zero address where there is none: trusted by nobody
	return addr.Unmap()
}

// Client is the address that a request comes from. Forwarding headers count
// only when the peer is one of the trusted proxies; then the last address that is
// no trusted proxy is the client's. It is the zero address where there is none.
func Client(r *http.Request, trusted []netip.Prefix) netip.Addr {
	client := Peer(r)
	if !within(client, trusted) {
		return client
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && within(client, trusted); i-- {
		addr, ok := hop(hops[i])
		if !ok {
			break
		}
		client = addr
	}
	return client
}

// hop reads an address as proxies write it: alone, in brackets, or with the port that the connection came from, as
// Azure's Application Gateway does.
func hop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap(), true
	}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		text = strings.TrimSuffix(inner, "]")
	}
	addr, err := netip.ParseAddr(text)
	return addr.Unmap(), err == nil
}

func within(addr netip.Addr, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// scheme is how the visitor came: as the connection says, as a trusted proxy in
// front says, or as people reach the portal where TLS ends at a proxy that nobody named.
func (s *Service) scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	if len(s.Trusted) > 0 && within(Peer(r), s.Trusted) {
		if said := strings.ToLower(r.Header.Get("X-Forwarded-Proto")); said == "http" || said == "https" {
			return said
		}
	}
	if s.TLSPort != "" {
		return "http"
	}
	return s.Scheme
}
