package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const (
	// tokenLife is how long a token is good: it is exchanged at once.
	tokenLife = 10 * time.Minute
	// tokenEarly is how long before its making a token is good already, for clocks that are behind.
	tokenEarly = time.Minute

	maxAudience = 500
)

// claims are what a token says.
type claims struct {
	jwt.Claims
	Target      string `json:"target"`
	Team        string `json:"team,omitempty"`
	Environment string `json:"environment,omitempty"`
	App         string `json:"app,omitempty"`
}

// For returns what makes the tokens of the target of the name. It is deploy.Service.Identity.
func (s *Service) For(target string) deploy.Identity {
	return func(ctx context.Context, audience string, of deploy.Subject) (string, error) {
		return s.Token(ctx, target, audience, of)
	}
}

// Token returns a JWT (RFC 7519) of the issuer by which a cloud knows the target
// of the name, and whom the call is for. It is good for ten minutes and for the
// audience alone. It is a credential: it must not be logged.
func (s *Service) Token(ctx context.Context, target, audience string, of deploy.Subject) (string, error) {
	if audience == "" || len(audience) > maxAudience {
		return "", fmt.Errorf("a token of the target %s has no audience, or a very long one", target)
	}
	subject, err := subjectOf(target, of)
	if err != nil {
		return "", err
	}
	s.open()
	key, err := s.ring.Signer(ctx)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key.Private, KeyID: key.ID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("signing a token of the target %s: %w", target, err)
	}
	now := time.Now()
	return jwt.Signed(signer).Claims(claims{
		Claims: jwt.Claims{
			ID: models.NewID(), Issuer: s.Issuer(), Subject: subject, Audience: jwt.Audience{audience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-tokenEarly)), Expiry: jwt.NewNumericDate(now.Add(tokenLife)),
		},
		Target: target, Team: of.Team, Environment: of.Environment, App: of.App,
	}).Serialize()
}

// subjectOf is the subject of a token. Its parts are names without colons, so
// that no two of them read alike; anything else is an error.
func subjectOf(target string, of deploy.Subject) (string, error) {
	names := []string{target}
	if of != (deploy.Subject{}) {
		names = append(names, of.Team, of.Environment, of.App)
	}
	for _, name := range names {
		if !models.ValidName(name) {
			return "", fmt.Errorf("%q can't be a part of a token's subject", name)
		}
	}
	if len(names) == 1 {
		return "target:" + target, nil
	}
	return fmt.Sprintf("target:%s:team:%s:environment:%s:app:%s", target, of.Team, of.Environment, of.App), nil
}
