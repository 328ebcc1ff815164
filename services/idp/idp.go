// Package idp is the OpenID Connect provider inside Slipway, for installations
// that have no issuer of their own. The portal is an ordinary client of it:
// nothing but the protocol leads from an account here to a session there.
package idp

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/limits"
	"slipway.dev/services/secrets"
	"slipway.dev/services/signing"
)

const (
	// Path is where the provider lives below the external URL.
	Path = "/idp"
	// ClientID is the portal's, the only client.
	ClientID = "slipway"

	tokenLife   = 5 * time.Minute  // of id and access tokens: they are read once, at the sign-in
	codeLife    = time.Minute      // of codes
	requestLife = 15 * time.Minute // of the sign-in page
	maxForm     = 64 << 10         // bytes of a form
)

// Provider serves the protocol and keeps the accounts. It is safe for concurrent use.
type Provider struct {
	DB          *gorm.DB
	Box         *secrets.Box
	ExternalURL string // where browsers reach the portal
	RedirectURI string // of the portal as a client
	// Page writes the sign-in page.
	Page func(w http.ResponseWriter, r *http.Request, page LoginPage) error

	once     sync.Once
	handler  http.Handler
	failed   error
	slow     slow
	keysOnce sync.Once
	keys     signing.Ring
}

// LoginPage is what the sign-in page shows.
type LoginPage struct {
	Status   int
	Action   string // where its form goes; empty where signing in can't go on from here
	Request  string // the form's hidden field "request"
	UserName string // as typed
	Error    string // what went wrong, for people
}

// slow holds back whoever guesses passwords or invites.
type slow struct {
	pair    limits.Limiter // one peer at one account
	peer    limits.Limiter // one peer at all accounts
	account limits.Limiter // all peers at one account
	invite  limits.Limiter // one peer at invites
}

// Issuer returns the exact issuer.
func (p *Provider) Issuer() string { return p.ExternalURL + Path }

// ClientSecret returns the portal's client secret: the same in every process that has the key file.
func (p *Provider) ClientSecret() string {
	return hex.EncodeToString(p.Box.Derive("idp client " + ClientID))
}

// Handler returns what serves everything below Path. It fails where the external URL can't be an issuer.
func (p *Provider) Handler() (http.Handler, error) {
	p.once.Do(func() { p.handler, p.failed = p.build() })
	return p.handler, p.failed
}

func (p *Provider) build() (http.Handler, error) {
	p.slow.pair = limits.Limiter{Every: 20 * time.Second, Burst: 6}
	p.slow.peer = limits.Limiter{Every: 2 * time.Second, Burst: 40}
	p.slow.account = limits.Limiter{Every: 30 * time.Second, Burst: 60}
	p.slow.invite = limits.Limiter{Every: 2 * time.Second, Burst: 20}
	conf := &op.Config{
		CryptoKey: sha256.Sum256(p.Box.Derive("idp access tokens")), CodeMethodS256: true,
		SupportedScopes: scopes,
	}
	options := []op.Option{op.WithCORSOptions(nil)}
	if u, err := url.Parse(p.ExternalURL); err == nil && u.Scheme == "http" {
		options = append(options, op.WithAllowInsecure())
	}
	protocol, err := op.NewProvider(conf, &storage{p}, op.StaticIssuer(p.Issuer()), options...)
	if err != nil {
		return nil, fmt.Errorf("%q can't be the external URL of an OpenID Connect issuer: %w", p.ExternalURL, err)
	}
	return p.routes(http.StripPrefix(Path, protocol)), nil
}

// routes lists everything that is served. The protocol's other endpoints, such
// as introspection and the device flow, have no use here and stay closed; so
// does its own callback, for the sign-in form ends the authorization itself.
func (p *Provider) routes(protocol http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path+"/.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET "+Path+"/authorize", func(w http.ResponseWriter, r *http.Request) { p.authorize(protocol, w, r) })
	mux.HandleFunc("GET "+Path+"/login", p.loginForm)
	mux.HandleFunc("POST "+Path+"/login", p.login)
	mux.Handle("POST "+Path+"/oauth/token", limitBody(protocol))
	mux.Handle("GET "+Path+"/userinfo", bearerOnly(protocol))
	mux.Handle("POST "+Path+"/userinfo", bearerOnly(protocol))
	mux.Handle("GET "+Path+"/keys", protocol)
	return mux
}

func limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" { // credentials don't belong into an address
			http.Error(w, "parameters belong into the body", http.StatusBadRequest)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		next.ServeHTTP(w, r)
	})
}

// bearerOnly lets access tokens in by the Authorization header alone (RFC 6750 §2.1).
func bearerOnly(next http.Handler) http.Handler {
	return limitBody(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "access token missing", http.StatusUnauthorized)
			return
		}
		r.Body = http.NoBody
		next.ServeHTTP(w, r)
	}))
}

// show writes the sign-in page, or why there is none.
func (p *Provider) show(w http.ResponseWriter, r *http.Request, page LoginPage) {
	w.Header().Set("Cache-Control", "no-store")
	if err := p.Page(w, r, page); err != nil {
		slog.ErrorContext(r.Context(), "writing the sign-in page", "error", err)
	}
}

// fault tells a person about an error: a typed one in its words, any other in none.
func (p *Provider) fault(w http.ResponseWriter, r *http.Request, page LoginPage, err error) {
	page.Status, page.Error = statusOf(err)
	if page.Status == http.StatusInternalServerError {
		slog.ErrorContext(r.Context(), "signing in", "error", err)
	}
	p.show(w, r, page)
}

func statusOf(err error) (int, string) {
	for code, status := range map[models.Code]int{
		models.Invalid: http.StatusBadRequest, models.Unauthorized: http.StatusUnauthorized,
		models.Denied: http.StatusForbidden, models.TooMany: http.StatusTooManyRequests,
	} {
		if models.IsCode(err, code) {
			return status, message(err)
		}
	}
	return http.StatusInternalServerError, "Something went wrong on our side. Try again in a moment."
}
