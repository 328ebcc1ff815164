package proxy

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
	"slipway.dev/services/certificates"
)

var headEnd = []byte("\r\n\r\n")

// mayBePlain tells by its first bytes whether a head can be one of a plain request.
func mayBePlain(head []byte) bool {
	return bytes.HasPrefix(head, []byte("GET /")) || bytes.HasPrefix(head, []byte("HEAD /"))
}

// unusual are headers that a plain request does not have: of bodies, of other protocols, and of this connection alone.
var unusual = map[string]bool{
	"content-length": true, "transfer-encoding": true, "trailer": true, "te": true, "expect": true, "upgrade": true, "http2-settings": true,
	"keep-alive": true, "proxy-connection": true, "proxy-authenticate": true, "proxy-authorization": true,
}

// plainHead tells whether the head is one of a plain request: GET or HEAD of a path by HTTP/1.1, without a body, in
// the one spelling that nobody can misread (RFC 9112 §2–5). It is no parser: net/http reads what it lets pass, and
// answers what it does not.
func plainHead(head []byte) bool {
	if !mayBePlain(head) {
		return false
	}
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if bytes.Count(line, []byte(" ")) != 2 || !bytes.HasSuffix(line, []byte(" HTTP/1.1")) || !visible(line) {
		return false
	}
	hosts := 0
	for {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			return false
		}
		if len(line) == 0 {
			return len(after) == 0 && hosts == 1
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !visible(line) || !httpguts.ValidHeaderFieldName(string(name)) {
			return false
		}
		switch name, value := strings.ToLower(string(name)), string(bytes.TrimSpace(value)); {
		case unusual[name]:
			return false
		case name == "host":
			if hosts++; !plainHost(value) {
				return false
			}
		case name == "connection" && !strings.EqualFold(value, "keep-alive"):
			return false
		}
		rest = after
	}
}

// visible tells whether the line is of printable ASCII and tabs.
func visible(line []byte) bool {
	for _, b := range line {
		if (b < ' ' || b > '~') && b != '\t' {
			return false
		}
	}
	return true
}

func plainHost(host string) bool {
	for _, b := range []byte(host) {
		if !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '.' || b == '-' || b == ':' || b == '_') {
			return false
		}
	}
	return host != ""
}

// plain returns the request with the head, or nil where the server has to answer it.
func (c *visitorConn) plain(head []byte) *http.Request {
	if !plainHead(head) {
		return nil
	}
	r, err := http.ReadRequest(c.parse(head))
	if err != nil || r.Body != http.NoBody {
		return nil
	}
	r.RemoteAddr = c.remote
	delete(r.Header, "Connection")
	return r
}

// parse returns what reads the bytes. It is good until the next time.
func (c *visitorConn) parse(b []byte) *bufio.Reader {
	c.parsed.Reset(b)
	if c.parser == nil {
		c.parser = bufio.NewReader(&c.parsed)
	}
	c.parser.Reset(&c.parsed)
	return c.parser
}

// direct returns the visit and the backend of a request that is for an app and for which there is nothing to do but
// to pass it on, counted in at the backend. Where there is more to do, it returns no backend.
func (s *Service) direct(r *http.Request) (visit, *backend) {
	s.news.settle(r.Context())
	name, scheme := HostOf(r.Host), s.scheme(r)
	h, _ := s.host(name)
	if h == nil || name == s.Portal || strings.HasPrefix(r.URL.Path, certificates.ChallengePath) {
		return visit{}, nil
	}
	if h.hsts != "" || scheme == "http" && h.redirect && h.secure && s.TLSPort != "" {
		return visit{}, nil
	}
	to, rest, _ := h.match(r)
	if to == nil || to.place.preview || to.place.maintenance != nil {
		return visit{}, nil
	}
	b, _ := s.answers(r, to.place, nil)
	if b == nil || b.pool == nil || b.pool.blind.Load() || !b.acquire() {
		return visit{}, nil
	}
	return visit{name: name, scheme: scheme, route: to, rest: rest}, b
}
