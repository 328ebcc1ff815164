// Package auth knows who is asking. It is the relying party that signs people
// in at OpenID Connect issuers, keeps their sessions, and makes and checks
// tokens; whom it finds becomes the models.Principal of the request.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"sync"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/idp"
	"slipway.dev/services/limits"
	"slipway.dev/services/secrets"
)

// How long a session lasts where the configuration does not say.
const (
	DefaultSessionLifetime = 14 * 24 * time.Hour
	DefaultSessionIdle     = 3 * 24 * time.Hour
)

// touchEvery is how often the last use of a session or token is written down.
const touchEvery = time.Minute

// Service signs people in and tells who a request acts for. It is safe for concurrent use.
type Service struct {
	DB          *gorm.DB
	Box         *secrets.Box
	ExternalURL string        // where browsers reach the portal, such as https://portal.example.com
	Issuers     []*Issuer     // in the order in which the sign-in page shows them
	Accounts    *idp.Provider // the embedded provider; nil where there is none

	// Workload returns the run of a CI system that a credential was made for, or
	// Unauthorized; Reload returns a workload as it is now. Both nil: there are none.
	Workload       func(ctx context.Context, credential string) (*models.Principal, error)
	ReloadWorkload func(ctx context.Context, p *models.Principal) (*models.Principal, error)

	SessionLifetime time.Duration // a session ends this long after the sign-in
	SessionIdle     time.Duration // and this long after its last use

	guesses guesses
}

// guesses slows down whoever guesses a set-up token.
type guesses struct {
	once  sync.Once
	setup *limits.Limiter
}

// Secure tells whether browsers reach the portal by https, so that cookies must not travel otherwise.
func (s *Service) Secure() bool {
	u, err := url.Parse(s.ExternalURL)
	return err == nil && u.Scheme == "https"
}

func (s *Service) lifetime() time.Duration {
	if s.SessionLifetime > 0 {
		return s.SessionLifetime
	}
	return DefaultSessionLifetime
}

func (s *Service) idle() time.Duration {
	if s.SessionIdle > 0 {
		return s.SessionIdle
	}
	return DefaultSessionIdle
}

// random returns a text of 256 random bits.
func random() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// digest is how secrets are stored: their SHA-256. They are random and long, so a slow hash would add nothing.
func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

var errSignIn = models.Errorf(models.Unauthorized, "Sign in first.")
