package middleware

import (
	"net/http"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/auth"
	"slipway.dev/services/limits"
)

// Principals finds out who requests act for.
type Principals struct {
	Auth    *auth.Service
	Guesses *limits.Limiter // of invalid tokens, for each peer
	Fail    Fail
}

// Middleware puts the principal into the context. On the token paths a bearer
// token counts, and a wrong one is refused whatever cookie comes with it;
// everywhere else only the session's cookie does. A request without a
// credential stays a stranger's: the router decides where those may go.
func (p *Principals) Middleware(tokenPaths ...string) Func {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who, err := p.of(r, hasPrefix(r.URL.Path, tokenPaths))
			if err != nil {
				p.Fail(w, r, err)
				return
			}
			if who != nil {
				r = r.WithContext(models.WithPrincipal(r.Context(), who))
			}
			next.ServeHTTP(w, r)
		})
	}
}

// of returns nobody and no error for strangers, and for browsers whose session has ended.
func (p *Principals) of(r *http.Request, tokens bool) (*models.Principal, error) {
	if header := r.Header.Get("Authorization"); tokens && header != "" {
		return p.byToken(r, header)
	}
	cookie := p.Auth.SessionCookie(r)
	if cookie == "" {
		return nil, nil
	}
	who, err := p.Auth.Authenticate(r.Context(), cookie)
	if models.IsCode(err, models.Unauthorized) {
		return nil, nil
	}
	return who, err
}

func (p *Principals) byToken(r *http.Request, header string) (*models.Principal, error) {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, models.Errorf(models.Unauthorized, "Send a token as Authorization: Bearer TOKEN; other schemes are not taken here.")
	}
	who, err := p.Auth.AuthenticateToken(r.Context(), strings.TrimSpace(token))
	if models.IsCode(err, models.Unauthorized) && !p.Guesses.Allow(limits.Peer(models.RequestFrom(r.Context()).IP)) {
		return nil, models.Errorf(models.TooMany, "Too many invalid tokens came from this address. Wait a minute.")
	}
	return who, err
}
