package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/certificates"
)

// shown is a certificate as visitors get it.
type shown struct {
	models.Certificate
	opened *tls.Certificate
}

// readCertificates returns all certificates; those that have not changed are neither read nor opened again.
func (s *Service) readCertificates(ctx context.Context) (all []*shown, err error) {
	var heads []models.Certificate
	if err := s.DB.WithContext(ctx).Select("id", "updated_at").Find(&heads).Error; err != nil {
		return nil, err
	}
	known := make(map[string]*shown, len(heads))
	for _, head := range heads {
		c := s.shown[head.ID]
		if c == nil || !c.UpdatedAt.Equal(head.UpdatedAt) {
			if c, err = s.openCertificate(ctx, head.ID); err != nil {
				return nil, err
			}
		}
		known[head.ID] = c
		all = append(all, c)
	}
	s.shown = known
	return all, nil
}

// openCertificate reads a certificate. One that can't be opened, such as with a key file that lacks its key, is kept
// as one that nobody is shown.
func (s *Service) openCertificate(ctx context.Context, id string) (*shown, error) {
	c := &shown{}
	if err := s.DB.WithContext(ctx).Limit(1).Find(&c.Certificate, "id = ?", id).Error; err != nil {
		return nil, err
	}
	opened, err := certificates.Open(s.Box, &c.Certificate)
	if err != nil {
		slog.ErrorContext(ctx, "a certificate can't be used", "certificate", id, "error", err)
		return c, nil
	}
	c.opened = opened
	return c, nil
}

// choose gives each host the best certificate that it may show.
func (s *Service) choose(t *table, teams map[string]string, all []*shown) {
	now := time.Now()
	named := map[string][]*shown{} // by what stands in them
	for _, c := range all {
		if c.opened == nil || !c.Valid(now) {
			continue
		}
		for _, name := range c.Hosts {
			named[name] = append(named[name], c)
		}
	}
	t.certificates = make(map[string]*tls.Certificate, len(t.hosts))
	give := func(name, team string) bool {
		candidates := named[name]
		if _, parent, ok := strings.Cut(name, "."); ok {
			candidates = slices.Concat(candidates, named["*."+parent])
		}
		var best *shown
		for _, c := range candidates {
			if c.MayShow(name, team) && (best == nil || c.Better(&best.Certificate, name, now)) {
				best = c
			}
		}
		if best != nil {
			t.certificates[name] = best.opened
		}
		return best != nil
	}
	for name, h := range t.hosts {
		h.secure = give(name, teams[name])
	}
	if s.Portal != "" {
		give(s.Portal, "")
	}
}

var errNoCertificate = errors.New("there is no certificate for the host name")

// TLSConfig is how visitors come by TLS: with the certificate of the host name that they ask for.
func (s *Service) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1", certificates.ALPN},
		GetCertificate: s.certificate,
	}
}

func (s *Service) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := HostOf(hello.ServerName)
	if slices.Equal(hello.SupportedProtos, []string{certificates.ALPN}) {
		return certificates.ChallengeCertificate(hello.Context(), s.DB, s.Box, name)
	}
	if name == "" {
		name = s.Portal
	}
	if t := s.table.Load(); t != nil && t.certificates[name] != nil {
		return t.certificates[name], nil
	}
	return nil, errNoCertificate
}

// misdirected tells whether the request came over a connection that was made with the certificate of another host.
func (s *Service) misdirected(name string, r *http.Request) bool {
	if r.TLS == nil || r.TLS.ServerName == "" {
		return false
	}
	asked := HostOf(r.TLS.ServerName)
	if asked == name {
		return false
	}
	t := s.table.Load()
	return t.certificates[asked] == nil || t.certificates[asked] != t.certificates[name]
}

// toHTTPS sends the visitor to the same address by https.
func (s *Service) toHTTPS(w http.ResponseWriter, r *http.Request, name string) {
	if s.TLSPort != "443" {
		name = net.JoinHostPort(name, s.TLSPort)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", "https://"+name+r.URL.RequestURI())
	w.WriteHeader(http.StatusPermanentRedirect)
}

// Challenge answers an authority that looks whether a host is ours, and tells whether the request was such a look.
func (s *Service) Challenge(w http.ResponseWriter, r *http.Request) bool {
	token, ok := strings.CutPrefix(r.URL.Path, certificates.ChallengePath)
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	answer, err := certificates.ChallengeAnswer(r.Context(), s.DB, HostOf(r.Host), token)
	if err != nil {
		slog.WarnContext(r.Context(), "a challenge could not be looked up", "error", err)
	}
	if answer == "" {
		return false // an app may answer challenges of its own
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := w.Write([]byte(answer)); err != nil {
		slog.DebugContext(r.Context(), "an authority left before the answer", "error", err)
	}
	return true
}
