// Package outbound is the one way out for calls that the server makes on behalf of a user: git, registries,
// webhooks, issuers. A Guard looks at the address a name resolves to, at the moment of dialing, and dials
// exactly that address, so neither a clever spelling nor a redirect nor a changing DNS answer reaches a network
// that is not public or allowed by the administrator.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// AllowSetting is the name of the setting that opens further address ranges; refusals mention it.
const AllowSetting = "SLIPWAY_OUTBOUND_ALLOW"

// Guard decides which addresses may be reached for a user. The zero value allows public addresses only.
// It is safe for concurrent use.
type Guard struct {
	// Allow holds the address ranges beyond the public ones that an administrator has opened.
	Allow []netip.Prefix
	// Lookup resolves a host name; nil means the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// DialTimeout bounds one connection attempt; zero means 10 seconds.
	DialTimeout time.Duration
}

// RefusedError tells that a host is at an address which the server doesn't visit for a user.
type RefusedError struct {
	Host string
	Addr netip.Addr
	// Kind is what the address is, with its article: "a private address".
	Kind string
}

// Error names the address, the host it came from and the setting that would allow it.
func (e *RefusedError) Error() string {
	name := e.Addr.String()
	if e.Host != "" && e.Host != name {
		name += " (" + e.Host + ")"
	}
	return fmt.Sprintf("%s is %s; an administrator can allow it with %s", name, e.Kind, AllowSetting)
}

// HostError tells that a host name could not be turned into an address.
type HostError struct {
	Host   string
	Reason string
}

// Error names the host and why it has no address.
func (e *HostError) Error() string { return fmt.Sprintf("host %q: %s", e.Host, e.Reason) }

// DialContext connects to addr ("host:port") if one of its addresses is allowed, and to that very address.
// It fails with *RefusedError or *HostError before a packet leaves when none is.
func (g *Guard) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &HostError{Host: addr, Reason: "not a host and port"}
	}
	targets, err := g.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: g.dialTimeout(), KeepAlive: 30 * time.Second}
	var failures []error
	for _, target := range targets {
		conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(target.String(), port))
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("connecting to %s: %w", addr, errors.Join(failures...))
}

// ResolveTCP gives the allowed address of host and port, for programs such as ssh that dial themselves.
// They must be told this address and not the name.
func (g *Guard) ResolveTCP(ctx context.Context, host, port string) (netip.AddrPort, error) {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return netip.AddrPort{}, &HostError{Host: host, Reason: fmt.Sprintf("port %q is not a number from 1 to 65535", port)}
	}
	targets, err := g.resolve(ctx, host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(targets[0], uint16(number)), nil
}

// resolve gives the allowed addresses of a host, at least one, or the reason why there is none.
func (g *Guard) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	all, err := g.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	var allowed []netip.Addr
	var refused *RefusedError
	for _, addr := range all {
		if kind := g.refuse(addr); kind == "" {
			allowed = append(allowed, addr.Unmap())
		} else if refused == nil {
			refused = &RefusedError{Host: host, Addr: addr, Kind: kind}
		}
	}
	if len(allowed) == 0 {
		return nil, refused
	}
	return allowed, nil
}

func (g *Guard) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if err := CheckHost(host); err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	lookup := g.Lookup
	if lookup == nil {
		lookup = systemLookup
	}
	ctx, cancel := context.WithTimeout(ctx, g.dialTimeout())
	defer cancel()
	addrs, err := lookup(ctx, host)
	if err != nil {
		return nil, &HostError{Host: host, Reason: lookupReason(err)}
	}
	if len(addrs) == 0 {
		return nil, &HostError{Host: host, Reason: "it has no address"}
	}
	return addrs, nil
}

func (g *Guard) dialTimeout() time.Duration {
	if g.DialTimeout > 0 {
		return g.DialTimeout
	}
	return 10 * time.Second
}

func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

func lookupReason(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.As(err, &dns) && dns.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		return "the name server did not answer in time"
	}
	return "it could not be resolved: " + err.Error()
}

// CheckHost refuses with *HostError what is neither an IP address nor a host name, above all the old spellings of
// IPv4 addresses (2130706433, 127.1, 0x7f.0.0.1, 0177.0.0.1) that some resolvers understand and others don't.
// It resolves nothing.
func CheckHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return &HostError{Host: host, Reason: "not a host name"}
	}
	for _, r := range name {
		if !isNameRune(r) {
			return &HostError{Host: host, Reason: "not a host name"}
		}
	}
	if endsInNumber(name) {
		return &HostError{Host: host, Reason: "write an IP address in full, like 192.0.2.10"}
	}
	return nil
}

func isNameRune(r rune) bool {
	return r == '-' || r == '.' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// endsInNumber follows the WHATWG URL standard: such a host is an IPv4 address or nothing.
func endsInNumber(name string) bool {
	last := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}
