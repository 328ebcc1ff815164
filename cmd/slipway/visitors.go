package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/services/certificates"
	"slipway.dev/services/proxy"
	"slipway.dev/services/visitors"
)

// openVisitors puts together what says how visitors reach apps.
func (p *process) openVisitors() error {
	u, err := url.Parse(p.external)
	if err != nil {
		return err
	}
	portal := proxy.HostOf(u.Host)
	p.visitors = &visitors.Service{DB: p.db, Portal: portal, Apps: strings.ToLower(p.settings.AppsDomain), Front: p.deploy.Front, Changed: p.deploy.DomainsChanged}
	p.certificates = &certificates.Service{DB: p.db, Box: p.box, Apps: p.settings.ACMEApps, Elsewhere: p.deploy.RoutedElsewhere()}
	p.certificates.Changed = func(ctx context.Context, tx *gorm.DB, teamID string) error {
		return p.deploy.DomainsChanged(ctx, tx, teamID, "", "")
	}
	p.deploy.Certificate = p.certificates.Given
	if u.Scheme == "https" {
		p.certificates.Portal = portal
	}
	if p.settings.ACMEDirectory != "" {
		p.certificates.Authority, err = p.authority()
	}
	return err
}

// authority is where certificates are ordered.
func (p *process) authority() (*certificates.Authority, error) {
	s := p.settings
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s.ACMEKey, "="))
	if err != nil {
		return nil, fmt.Errorf("acme-key: %w", err)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true}
	if s.ACMECA != "" {
		text, err := os.ReadFile(s.ACMECA)
		if err != nil {
			return nil, fmt.Errorf("acme-ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("acme-ca: there is no certificate in %s", s.ACMECA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	return &certificates.Authority{Directory: s.ACMEDirectory, Email: s.ACMEEmail, KeyID: s.ACMEKeyID, MACKey: key, Client: client}, nil
}

// openProxy makes the process one of the proxies in front of apps.
func (s *server) openProxy(page func(http.ResponseWriter, *http.Request, proxy.Problem)) error {
	u, err := url.Parse(s.external)
	if err != nil {
		return err
	}
	s.proxy = &proxy.Service{
		DB: s.db, Events: s.events, Box: s.box, Scheme: u.Scheme, Portal: proxy.HostOf(u.Host), TLSPort: s.tlsPort(), Trusted: s.settings.TrustedProxies,
		Dial: s.deploy.Dial, Cookies: s.auth.CookieNames(), Page: page,
	}
	return nil
}
