package registry

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"slipway.dev/models"
)

const (
	issuer             = "slipway-registry"
	audienceAccess     = "access"     // a token for /v2/
	audienceCredential = "credential" // a password for the token endpoint
	accessTTL          = 5 * time.Minute
	maxScopes          = 64
	maxTokenForm       = 64 << 10
	credentialUser     = "slipway"
)

// token is what the registry signs: who holds it and what it is good for.
type token struct {
	jwt.Claims
	Kind    models.PrincipalKind `json:"kind"`
	User    string               `json:"user,omitempty"`
	Name    string               `json:"name,omitempty"`
	Access  []access             `json:"access"`
	Limited bool                 `json:"limited,omitempty"` // by a credential, to the repositories in Access
	Bases   bool                 `json:"bases,omitempty"`   // of a limited credential: it pulls from the cache of base images too
}

func (t *token) principal() *models.Principal {
	return &models.Principal{Kind: t.Kind, ID: t.Subject, UserID: t.User, Name: t.Name, Admin: t.Kind == models.PrincipalSystem}
}

// Workload returns the run that the text was made for by Credential, as it is
// now, or Unauthorized for anything else: the credentials of people and of
// builds stay good for the registry alone.
func (s *Service) Workload(ctx context.Context, text string) (*models.Principal, error) {
	t, err := s.openToken(ctx, text, audienceCredential)
	if err != nil {
		return nil, err
	}
	if t == nil || t.Kind != models.PrincipalWorkload || s.Reload == nil {
		return nil, models.Errorf(models.Unauthorized, "The credential is not valid or has expired.")
	}
	return s.Reload(ctx, t.principal())
}

// Credential returns a user name and a password with which docker and BuildKit
// may do the actions on the repository until ttl is over. It acts for the
// context's principal, who must be allowed them; the repository may be given
// with the registry's host or without. What models.SystemFor a build, a
// deployment or a release is given ends with that, however long ttl is; ttl is at most 24 hours.
func (s *Service) Credential(ctx context.Context, repository string, actions []string, ttl time.Duration) (username, password string, err error) {
	return s.credential(ctx, ttl, access{"repository", s.localName(repository), actions})
}

// Mount is Credential to push to the one repository, and to pull from the other, so that its blobs can be mounted.
func (s *Service) Mount(ctx context.Context, repository, from string, ttl time.Duration) (username, password string, err error) {
	return s.credential(ctx, ttl, access{"repository", s.localName(repository), []string{Pull, Push}}, access{"repository", s.localName(from), []string{Pull}})
}

// Bases is a user name and a password with which an engine may pull from the cache of base images, for Slipway's own builds.
func (s *Service) Bases(ctx context.Context, ttl time.Duration) (username, password string, err error) {
	p := models.PrincipalFrom(ctx)
	if p == nil || p.Kind != models.PrincipalSystem {
		return "", "", models.Errorf(models.Denied, "Only a build's worker gets this login.")
	}
	t := newToken(p, audienceCredential, ttl)
	t.Limited, t.Bases = true, true
	password, err = s.sign(ctx, t)
	return credentialUser, password, err
}

func (s *Service) credential(ctx context.Context, ttl time.Duration, all ...access) (username, password string, err error) {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return "", "", models.Errorf(models.Unauthorized, "Sign in first.")
	}
	if ttl > maxCredential {
		return "", "", fmt.Errorf("a credential for %s is good for %s at most", ttl, maxCredential)
	}
	var names []string
	for _, a := range all {
		names = append(names, a.Name)
	}
	allowed, err := s.allowed(ctx, p, names)
	if err != nil {
		return "", "", err
	}
	for _, want := range all {
		for _, a := range want.Actions {
			if !slices.Contains(allowed[want.Name], a) {
				return "", "", models.Errorf(models.Denied, "You may not %s images of %s.", a, want.Name)
			}
		}
	}
	t := newToken(p, audienceCredential, ttl)
	t.Access, t.Limited = all, true
	// Base images are everybody's to read: who may push a build may pull what it begins with.
	t.Bases = p.Kind == models.PrincipalSystem && slices.ContainsFunc(all, func(a access) bool { return slices.Contains(a.Actions, Push) })
	password, err = s.sign(ctx, t)
	return credentialUser, password, err
}

func newToken(p *models.Principal, audience string, ttl time.Duration) *token {
	now := time.Now()
	return &token{
		Claims: jwt.Claims{
			ID: models.NewID(), Issuer: issuer, Subject: p.ID, Audience: jwt.Audience{audience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(ttl)),
		},
		Kind: p.Kind, User: p.UserID, Name: p.Name,
	}
}

func (s *Service) sign(ctx context.Context, t *token) (string, error) {
	id, key, err := s.signingKey(ctx)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: key, KeyID: id}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("signing a registry token: %w", err)
	}
	return jwt.Signed(signer).Claims(t).Serialize()
}

// openToken returns the token where it is ours, for the audience, and good at this moment, and nil where not.
func (s *Service) openToken(ctx context.Context, raw, audience string) (*token, error) {
	t, err := s.verified.find(ctx, raw, s)
	if err == nil && t == nil {
		t, err = s.verify(ctx, raw)
	}
	if err != nil || t == nil {
		return nil, err
	}
	expected := jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{audience}, Time: time.Now()}
	if t.Expiry == nil || t.ValidateWithLeeway(expected, 10*time.Second) != nil {
		return nil, nil
	}
	return t, nil
}

// verify returns the token where one of our keys signed it, and nil where not.
func (s *Service) verify(ctx context.Context, raw string) (*token, error) {
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || len(parsed.Headers) != 1 {
		return nil, nil
	}
	id := parsed.Headers[0].KeyID
	key, err := s.verifyingKey(ctx, id)
	if err != nil || key == nil {
		return nil, err
	}
	t := &token{}
	if err := parsed.Claims(key, t); err != nil {
		return nil, nil
	}
	s.verified.remember(raw, id, t)
	return t, nil
}

// Token answers the token endpoint, by GET with Basic authentication and by
// POST with the OAuth 2 password grant. The password is a Slipway token or
// what Credential made.
func (s *Service) Token(w http.ResponseWriter, r *http.Request) {
	r = r.WithContext(withPeer(r))
	w.Header().Set("Cache-Control", "no-store")
	if err := s.answerToken(w, r); err != nil {
		fail(w, r, err)
	}
}

func (s *Service) answerToken(w http.ResponseWriter, r *http.Request) error {
	user, password, scopes, err := login(w, r)
	if err != nil {
		return err
	}
	h, err := s.signIn(r.Context(), user, password)
	if err != nil {
		return err
	}
	t, err := s.accessToken(r.Context(), h, scopes)
	if err != nil {
		return err
	}
	if t.Kind == models.PrincipalAnonymous && len(t.Access) == 0 {
		return models.Errorf(models.Unauthorized, "Sign in first: docker login %s. The password is a token of yours.", s.Host())
	}
	raw, err := s.sign(r.Context(), t)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{
		"token": raw, "access_token": raw, "scope": strings.Join(scopes, " "),
		"expires_in": int(time.Until(t.Expiry.Time()).Seconds()), "issued_at": t.IssuedAt.Time().UTC().Format(time.RFC3339),
	})
}

// login reads the credential and the scopes from the request. A credential in the URL is never read.
func login(w http.ResponseWriter, r *http.Request) (user, password string, scopes []string, err error) {
	switch r.Method {
	case http.MethodGet:
		user, password, _ = r.BasicAuth()
		scopes = r.URL.Query()["scope"]
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxTokenForm)
		if err := r.ParseForm(); err != nil {
			return "", "", nil, &problem{http.StatusBadRequest, "UNSUPPORTED", "The form can't be read."}
		}
		if r.PostForm.Get("grant_type") != "password" {
			return "", "", nil, &problem{http.StatusBadRequest, "UNSUPPORTED", "This endpoint knows the password grant alone."}
		}
		user, password, scopes = r.PostForm.Get("username"), r.PostForm.Get("password"), r.PostForm["scope"]
	default:
		return "", "", nil, errUnsupported
	}
	scopes = strings.Fields(strings.Join(scopes, " "))
	if len(scopes) > maxScopes {
		return "", "", nil, &problem{http.StatusBadRequest, "UNSUPPORTED", fmt.Sprintf("Ask for at most %d scopes at once.", maxScopes)}
	}
	return user, password, scopes, nil
}

// holder is who signed in at the token endpoint.
type holder struct {
	principal  *models.Principal
	credential *token // what they signed in with, where Credential made it
}

// signIn finds out whom the password stands for; without one it is a stranger.
func (s *Service) signIn(ctx context.Context, user, password string) (holder, error) {
	if password == "" {
		return holder{principal: anonymous(ctx)}, s.admitStranger(ctx)
	}
	credential, err := s.openToken(ctx, password, audienceCredential)
	if err != nil {
		return holder{}, err
	}
	if credential != nil {
		p, err := s.reload(ctx, credential.principal())
		return holder{p, credential}, err
	}
	p, err := s.Authenticate(ctx, user, password)
	if models.IsCode(err, models.Unauthorized) {
		return holder{}, s.logins.refuse(ctx)
	}
	return holder{principal: p}, err
}

// accessToken makes the token for those of the scopes that the holder may have.
func (s *Service) accessToken(ctx context.Context, h holder, scopes []string) (*token, error) {
	t := newToken(h.principal, audienceAccess, accessTTL)
	asked := parseScopes(scopes)
	var names []string
	for _, a := range asked {
		names = append(names, a.Name)
	}
	allowed, err := s.allowed(ctx, h.principal, names)
	if err != nil {
		return nil, err
	}
	if h.credential != nil {
		t.Limited = true
		*t.Expiry = min(*t.Expiry, *h.credential.Expiry)
		allowed = narrow(allowed, h.credential)
	}
	t.Access = []access{}
	for _, a := range asked {
		a.Actions = slices.DeleteFunc(a.Actions, func(x string) bool { return !slices.Contains(allowed[a.Name], x) })
		if len(a.Actions) > 0 {
			t.Access = append(t.Access, a)
		}
	}
	return t, nil
}

// narrow keeps of allowed what the credential was made for.
func narrow(allowed map[string][]string, credential *token) map[string][]string {
	out := map[string][]string{}
	for _, l := range credential.Access {
		for _, a := range l.Actions {
			if slices.Contains(allowed[l.Name], a) {
				out[l.Name] = append(out[l.Name], a)
			}
		}
	}
	for name, actions := range allowed {
		if credential.Bases && models.Cached(name) && slices.Contains(actions, Pull) {
			out[name] = []string{Pull}
		}
	}
	return out
}

// parseScopes reads scopes of the form repository:NAME:ACTION,ACTION and leaves out all others.
func parseScopes(scopes []string) []access {
	var out []access
	for _, s := range scopes {
		kind, rest, ok := strings.Cut(s, ":")
		i := strings.LastIndex(rest, ":")
		if !ok || i < 0 || kind != "repository" {
			continue
		}
		actions := strings.Split(rest[i+1:], ",")
		if slices.Contains(actions, "*") {
			actions = []string{Pull, Push, Delete}
		}
		out = append(out, access{kind, rest[:i], actions})
	}
	return out
}
