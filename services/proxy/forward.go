package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
)

// MaintenanceCookie carries the code of a visitor whom a maintenance does not keep away. It is for the proxy alone.
const MaintenanceCookie = "slipway_maintenance"

// visit is one request on its way to an app.
type visit struct {
	name   string // the host's
	scheme string
	route  *route
	rest   string // the path that the app sees where its own is stripped
	hsts   bool   // the domain says that browsers come by https alone
	body   *kept  // nil where the request has none
	end    ending // of the last attempt to have it answered
	watch  *watch
	asked  *directConn // where the request was sent to an instance already
}

type visitKey struct{}

func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}

// spoofable are headers that apps believe a proxy about, beside X-Forwarded-…: none comes from outside.
var spoofable = []string{"Forwarded", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "X-Original-Url", "X-Rewrite-Url", "X-Original-Host"}

// rewrite prepares a request for an app.
func (s *Service) rewrite(b *backend) func(*httputil.ProxyRequest) {
	return func(p *httputil.ProxyRequest) {
		p.Out.URL.RawQuery = p.In.URL.RawQuery                     // as it came: what it means is the app's affair
		if strings.EqualFold(p.Out.Header.Get("Upgrade"), "h2c") { // between the visitor and this proxy alone, and withdrawn (RFC 9113 §3.1)
			delete(p.Out.Header, "Upgrade")
			delete(p.Out.Header, "Connection")
		}
		s.prepare(p, visitOf(p.In.Context()), b)
	}
}

// prepare makes of the request that goes out what the app is to get: forwarding headers that came in are gone, unless
// a trusted proxy sent them, and those that go out are this proxy's own. In and Out may be one request.
func (s *Service) prepare(p *httputil.ProxyRequest, v *visit, b *backend) {
	out, before := p.Out, p.In.Header["X-Forwarded-For"]
	out.URL.Scheme, out.URL.Host = "http", b.addresses[int(b.next.Add(1)%uint64(len(b.addresses)))]
	out.Host = p.In.Host
	hygiene(out.Header)
	if len(s.Trusted) > 0 && within(Peer(p.In), s.Trusted) {
		out.Header["X-Forwarded-For"] = before
	}
	p.SetXForwarded()
	out.Header.Set("X-Forwarded-Proto", v.scheme)
	if v.route.strip {
		strip(out, v)
	}
	s.withoutCookies(out)
}

// hygiene takes out what only a proxy may say, also in the spelling with underscores, which CGI and its heirs do not
// tell from the one with hyphens.
func hygiene(h http.Header) {
	for name := range h {
		if len(name) < 9 || name[0] != 'X' && name[0] != 'F' && name[0] != 'T' {
			continue
		}
		plain := name
		if strings.IndexByte(plain, '_') >= 0 {
			plain = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		}
		if strings.HasPrefix(plain, "X-Forwarded-") || slices.Contains(spoofable, plain) {
			delete(h, name)
		}
	}
}

// strip takes the route's path off, and says so to the app.
func strip(out *http.Request, v *visit) {
	escaped := v.rest
	if escaped == "" {
		escaped = "/"
	}
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return // the server took the path apart before: it can't fail
	}
	out.URL.Path, out.URL.RawPath = path, escaped
	out.Header.Set("X-Forwarded-Prefix", v.route.path)
}

// private tells whether the cookie is Slipway's own, which apps neither get nor set.
func (s *Service) private(name string) bool {
	return name == MaintenanceCookie || slices.Contains(s.Cookies, name)
}

// withoutCookies takes Slipway's own cookies out of a request. A browser
// does not send the portal's to an app's host; this holds where it does.
func (s *Service) withoutCookies(r *http.Request) {
	if lines := r.Header["Cookie"]; len(lines) == 0 || !s.mentions(lines) {
		return
	}
	all := r.Cookies()
	r.Header.Del("Cookie")
	for _, c := range all {
		if !s.private(c.Name) {
			r.AddCookie(c)
		}
	}
}

func (s *Service) mentions(lines []string) bool {
	return slices.ContainsFunc(lines, func(line string) bool {
		return strings.Contains(line, MaintenanceCookie) ||
			slices.ContainsFunc(s.Cookies, func(name string) bool { return strings.Contains(line, name) })
	})
}

// received looks at an answer before the visitor gets it: its cookies stay
// the app's own, and from here on it may not stand still.
func (s *Service) received(b *backend) func(*http.Response) error {
	return func(r *http.Response) error {
		b.tally.add(r.StatusCode)
		v := visitOf(r.Request.Context())
		v.watch.begin(r)
		s.clean(r, v)
		return nil
	}
}

// clean has an answer's head say nothing that is not the app's to say.
func (s *Service) clean(r *http.Response, v *visit) {
	if len(r.Trailer) > 0 { // which HTTP/1.1 has only in chunks
		delete(r.Header, "Content-Length")
		r.ContentLength = -1
	}
	if v.hsts {
		delete(r.Header, "Strict-Transport-Security") // the domain's own is there already
	}
	lines := r.Header["Set-Cookie"]
	if len(lines) == 0 {
		return
	}
	r.Header.Del("Set-Cookie")
	for _, line := range lines {
		if kept := s.ownCookie(line); kept != "" {
			r.Header.Add("Set-Cookie", kept)
		}
	}
}

// ownCookie returns the cookie without its Domain, so that it is the app's
// host's alone, or nothing where it has a name of Slipway's.
func (s *Service) ownCookie(line string) string {
	var kept []string
	for i, part := range strings.Split(line, ";") {
		name, _, _ := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if i == 0 && s.private(name) {
			return ""
		}
		if i > 0 && strings.EqualFold(name, "domain") {
			continue
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, ";")
}

// failed answers a request that an instance did not answer, unless it can still go elsewhere.
func (s *Service) failed(b *backend) func(http.ResponseWriter, *http.Request, error) {
	return func(w http.ResponseWriter, r *http.Request, err error) {
		problem := explain(r, err)
		if r.Context().Err() == nil {
			b.tally.add(problem.Status)
			v := visitOf(r.Context())
			if v.end = v.judge(r, err); v.end != answered {
				return
			}
		}
		s.problem(w, r, problem)
	}
}

// explain says what a failure means for the visitor.
func explain(r *http.Request, err error) Problem {
	if errors.Is(context.Cause(r.Context()), errStoodStill) {
		return StoodStill
	}
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		return TooLarge
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		if dial := new(net.OpError); !errors.As(err, &dial) || dial.Op != "dial" {
			return TooSlow
		}
	}
	return NotAnswering
}
