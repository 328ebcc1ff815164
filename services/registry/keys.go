package registry

import (
	"context"
	"crypto/ed25519"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"slipway.dev/services/signing"
)

const (
	keyUse = "registry"

	// maxCredential is the longest life of anything that a key signs.
	maxCredential = 24 * time.Hour
	// verifyFor is how long a key that signs no more is believed: until all that
	// it signed has expired, also what another process signed with it before it noticed.
	verifyFor = maxCredential + 5*time.Minute
	// keyFresh is how long a process believes what it read of the keys.
	keyFresh = 30 * time.Second
)

// keyring is the keys that sign the registry's tokens.
type keyring struct {
	once sync.Once
	ring signing.Ring
}

func (s *Service) ring() *signing.Ring {
	s.keys.once.Do(func() {
		r := &s.keys.ring
		r.DB, r.Box, r.Use, r.Algorithm = s.DB.DB, s.Box, keyUse, jose.EdDSA
		r.Action, r.Title = "registry.rotate", "key of the registry"
		r.Life, r.Keep, r.Fresh = KeyLife, verifyFor, s.KeyFresh
		if r.Fresh == 0 {
			r.Fresh = keyFresh
		}
	})
	return &s.keys.ring
}

// signingKey returns the key to sign with and its id.
func (s *Service) signingKey(ctx context.Context) (string, ed25519.PrivateKey, error) {
	k, err := s.ring().Signer(ctx)
	if err != nil {
		return "", nil, err
	}
	return k.ID, k.Private.(ed25519.PrivateKey), nil
}

// verifyingKey returns the public key with the id, or nil where there is none.
func (s *Service) verifyingKey(ctx context.Context, id string) (ed25519.PublicKey, error) {
	if uuid.Validate(id) != nil {
		return nil, nil
	}
	k, ok, err := s.ring().Find(ctx, id)
	if err != nil || !ok {
		return nil, err
	}
	return k.Private.Public().(ed25519.PublicKey), nil
}
