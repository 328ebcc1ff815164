package auth

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"slipway.dev/models"
)

const (
	discoverTimeout = 10 * time.Second
	discoverAgain   = time.Hour
	maxAnswer       = 1 << 20 // bytes of any answer of an issuer
)

// Issuer is an OpenID Connect provider that people may sign in with.
type Issuer struct {
	ID           string // in URLs, such as /login/google: a DNS label
	Name         string // on the sign-in page
	URL          string // the exact issuer
	ClientID     string
	ClientSecret string
	Scopes       []string     // beside openid; nil for profile and email
	Domains      []string     // where set, only people with a verified e-mail address in one of them may sign in
	Client       *http.Client // reaches the issuer

	mu    sync.Mutex
	found *discovered
}

// discovered is what the issuer says of itself.
type discovered struct {
	provider *oidc.Provider
	meta     metadata
	at       time.Time
}

type metadata struct {
	EndSession string `json:"end_session_endpoint"`
	SendsIss   bool   `json:"authorization_response_iss_parameter_supported"`
	Userinfo   string `json:"userinfo_endpoint"`
}

// Embedded tells whether the issuer is Slipway's own provider.
func (s *Service) Embedded(i *Issuer) bool { return s.Accounts != nil && s.Accounts.Issuer() == i.URL }

// Issuer returns the issuer of the id, or NotFound.
func (s *Service) Issuer(id string) (*Issuer, error) {
	for _, i := range s.Issuers {
		if i.ID == id {
			return i, nil
		}
	}
	return nil, models.Errorf(models.NotFound, "No such issuer.")
}

// discover asks the issuer for its endpoints and keys. What it said is kept for
// an hour; a failure is not kept at all, so that the next sign-in asks again.
func (i *Issuer) discover(ctx context.Context) (*discovered, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.found != nil && time.Since(i.found.at) < discoverAgain {
		return i.found, nil
	}
	fresh, err := i.ask(ctx)
	switch {
	case err == nil:
		i.found = fresh
	case i.found == nil:
		return nil, &models.Error{Code: models.Unavailable, Err: err,
			Message: fmt.Sprintf("%s does not answer as an OpenID Connect issuer should. Try again in a moment; if it lasts, tell who runs this portal.", i.Name)}
	}
	return i.found, nil
}

func (i *Issuer) ask(ctx context.Context) (*discovered, error) {
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	p, err := oidc.NewProvider(i.context(ctx), i.URL)
	if err != nil {
		return nil, fmt.Errorf("discovering %s: %w", i.URL, err)
	}
	d := &discovered{provider: p, at: time.Now()}
	if err := p.Claims(&d.meta); err != nil {
		return nil, fmt.Errorf("discovering %s: %w", i.URL, err)
	}
	return d, nil
}

// context returns ctx with the client that reaches the issuer and reads no more of its answers than is sensible.
func (i *Issuer) context(ctx context.Context) context.Context {
	client := *http.DefaultClient
	if i.Client != nil {
		client = *i.Client
	}
	client.Transport = limitedTransport{next: client.Transport}
	if client.Timeout == 0 || client.Timeout > discoverTimeout {
		client.Timeout = discoverTimeout
	}
	return oidc.ClientContext(ctx, &client)
}

func (i *Issuer) oauth(d *discovered, redirect string) *oauth2.Config {
	scopes := i.Scopes
	if scopes == nil {
		scopes = []string{"profile", "email"}
	}
	scopes = append([]string{oidc.ScopeOpenID}, slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return s == oidc.ScopeOpenID })...)
	return &oauth2.Config{ClientID: i.ClientID, ClientSecret: i.ClientSecret, Endpoint: d.provider.Endpoint(), RedirectURL: redirect, Scopes: scopes}
}

// mayEnter tells whether the issuer's people with these claims may sign in here.
func (i *Issuer) mayEnter(c claims) bool {
	if len(i.Domains) == 0 {
		return true
	}
	local, domain, ok := strings.Cut(c.Email, "@")
	if !ok || local == "" || strings.Contains(domain, "@") || !bool(c.verified()) {
		return false
	}
	return slices.ContainsFunc(i.Domains, func(d string) bool { return strings.EqualFold(d, domain) })
}

// IssuerName returns what people call the issuer at the URL; the URL itself where it is no longer configured.
func (s *Service) IssuerName(at string) string {
	if i := s.issuerAt(at); i != nil {
		return i.Name
	}
	return at
}

func (s *Service) issuerAt(at string) *Issuer {
	for _, i := range s.Issuers {
		if i.URL == at {
			return i
		}
	}
	return nil
}

// LogoutURL returns where the issuer ends its own session (OpenID Connect
// RP-Initiated Logout 1.0), or empty where it offers none or was not asked yet.
func (s *Service) LogoutURL(issuerID string) string {
	i, err := s.Issuer(issuerID)
	if err != nil {
		return ""
	}
	return i.endSession(s.ExternalURL + "/login?out=1")
}

func (i *Issuer) endSession(back string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.found == nil {
		return ""
	}
	u, err := url.Parse(i.found.meta.EndSession)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	q := u.Query()
	q.Set("client_id", i.ClientID)
	q.Set("post_logout_redirect_uri", back)
	u.RawQuery = q.Encode()
	return u.String()
}

// limitedTransport cuts answers that are too long.
type limitedTransport struct{ next http.RoundTripper }

func (t limitedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	next := t.next
	if next == nil {
		next = http.DefaultTransport
	}
	res, err := next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswer), res.Body}
	return res, nil
}
