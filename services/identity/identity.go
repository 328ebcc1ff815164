// Package identity makes the portal an OpenID Connect issuer for the clouds that
// it deploys to: their token services take its short-lived tokens for
// credentials, so that no key of theirs is stored. It is not the issuer that
// people sign in with: keys, audiences and addresses of the two have nothing in
// common. The package also tells how the trust is set up in each cloud, and
// looks whether it is.
package identity

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/outbound"
	"slipway.dev/services/secrets"
	"slipway.dev/services/signing"
)

const (
	// Path is where the issuer lives below the external URL.
	Path = "/identity"
	// KeysPath is where its public keys are, below the external URL.
	KeysPath = Path + "/keys"
	// DiscoveryPath is where it says what it is (OpenID Connect Discovery 1.0 §4), below the external URL.
	DiscoveryPath = Path + "/.well-known/openid-configuration"
	// CacheFor is how long what the issuer publishes may be cached.
	CacheFor = time.Hour

	algorithm = jose.RS256 // the one that every cloud takes
	keyUse    = "identity"

	// KeyLife is the age at which a key is followed by another one.
	KeyLife = 90 * 24 * time.Hour
	// KeyAhead is how long a key is published before it signs: longer than any
	// cache, and time enough for those who upload the keys by hand.
	KeyAhead = 14 * 24 * time.Hour
	// keyKeep is how long a key is published after it signed: tokens live for
	// minutes, and another process may sign with it for keyFresh.
	keyKeep  = 24 * time.Hour
	keyFresh = 30 * time.Second
)

// Service issues tokens and tells about the trust in them. It is safe for concurrent use.
type Service struct {
	DB          *models.Database
	Box         *secrets.Box
	ExternalURL string          // where clouds reach the portal
	Deploy      *deploy.Service // has the targets
	Guard       *outbound.Guard // the way to the clouds' token services
	Endpoints   Endpoints

	once   sync.Once
	ring   signing.Ring
	client *http.Client
}

// Endpoints are the addresses of the clouds' token services. Those that are empty are the public ones.
type Endpoints struct {
	AWS       string // of STS
	Google    string // of the Security Token Service
	GoogleIAM string // of the IAM Service Account Credentials API
	Azure     string // of Microsoft Entra ID
}

func (s *Service) open() {
	s.once.Do(func() {
		s.ring.DB, s.ring.Box, s.ring.Use, s.ring.Algorithm = s.DB.DB, s.Box, keyUse, algorithm
		s.ring.Action, s.ring.Title = "identity.rotate", "key of the issuer for clouds"
		s.ring.Life, s.ring.Ahead, s.ring.Keep, s.ring.Fresh = KeyLife, KeyAhead, keyKeep, keyFresh
		s.client = s.Guard.HTTPClient()
	})
}

// Issuer is the exact issuer of the tokens.
func (s *Service) Issuer() string { return s.ExternalURL + Path }

// Discovery is what the issuer says of itself (OpenID Connect Discovery 1.0 §3): what clouds read of it, and nothing
// else, for nobody signs in here.
type Discovery struct {
	Issuer        string   `json:"issuer"`
	Keys          string   `json:"jwks_uri"`
	Scopes        []string `json:"scopes_supported"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	Claims        []string `json:"claims_supported"`
}

// Discovery returns the discovery document. It is public.
func (s *Service) Discovery() Discovery {
	return Discovery{
		Issuer: s.Issuer(), Keys: s.ExternalURL + KeysPath, Scopes: []string{"openid"}, ResponseTypes: []string{"id_token"},
		SubjectTypes: []string{"public"}, Algorithms: []string{string(algorithm)},
		Claims: []string{"iss", "aud", "sub", "iat", "nbf", "exp", "jti", "target", "team", "environment", "app"},
	}
}

// Keys returns the public keys (RFC 7517) of all tokens that may be in use, and of those to come. It is public.
func (s *Service) Keys(ctx context.Context) (jose.JSONWebKeySet, error) {
	s.open()
	known, err := s.ring.Known(ctx)
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, len(known))}
	for i, k := range known {
		set.Keys[i] = jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: string(algorithm), Use: "sig"}
	}
	return set, nil
}

// RotateOld makes the next key once the newest is old, and ends those that have
// signed for long enough. It is cheap to call often.
func (s *Service) RotateOld(ctx context.Context) error {
	s.open()
	return s.ring.RotateOld(models.WithPrincipal(ctx, models.System("identity")))
}

// Rotate makes the next key now; admins may. Leaked deletes all others at once:
// clouds that have cached them believe what they signed for as long as they keep
// them, and refuse what the new one signs.
func (s *Service) Rotate(ctx context.Context, leaked bool) error {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return err
	}
	s.open()
	return s.ring.Replace(ctx, leaked)
}

// Key is a key of the issuer, for admins.
type Key struct {
	ID        string
	CreatedAt time.Time
	SignsFrom *time.Time // nil: it signs, or did
	RetiredAt *time.Time // nil: it signs, or will
}

// KeyList returns the published keys, the newest first; admins may read it.
func (s *Service) KeyList(ctx context.Context) ([]Key, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	s.open()
	known, err := s.ring.Known(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Key, len(known))
	for i, k := range known {
		out[i] = Key{ID: k.ID, CreatedAt: k.CreatedAt, RetiredAt: k.RetiredAt}
		if from := s.ring.SignsFrom(k, known); !from.IsZero() {
			out[i].SignsFrom = &from
		}
	}
	return out, nil
}
