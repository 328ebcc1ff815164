package idp

import (
	"context"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/op"
	"slipway.dev/models"
	"slipway.dev/services/signing"
)

const (
	algorithm = jose.ES256
	keyUse    = "oidc"
	// publishFor is how long a retired key stays known, far longer than any token that it signed.
	publishFor = 24 * time.Hour
	// keyLife is the age at which RotateOld replaces a key.
	keyLife = 90 * 24 * time.Hour
)

// key is a key pair as the protocol wants to see it, private or public.
type key struct {
	id    string
	value any
}

func (k key) ID() string                                  { return k.id }
func (k key) Key() any                                    { return k.value }
func (k key) Use() string                                 { return "sig" }
func (k key) Algorithm() jose.SignatureAlgorithm          { return algorithm }
func (k key) SignatureAlgorithm() jose.SignatureAlgorithm { return algorithm }

// ring is the provider's keys.
func (p *Provider) ring() *signing.Ring {
	p.keysOnce.Do(func() {
		p.keys.DB, p.keys.Box, p.keys.Use, p.keys.Algorithm = p.DB, p.Box, keyUse, algorithm
		p.keys.Action, p.keys.Life, p.keys.Keep = "idp.rotate", keyLife, publishFor
	})
	return &p.keys
}

// signingKey returns the newest key, and makes the first one.
func (p *Provider) signingKey(ctx context.Context) (key, error) {
	k, err := p.ring().Signer(ctx)
	return key{k.ID, k.Private}, err
}

// publicKeys returns every key that a token still in use may be signed with.
func (p *Provider) publicKeys(ctx context.Context) ([]op.Key, error) {
	known, err := p.ring().Known(ctx)
	if err != nil {
		return nil, err
	}
	keys := make([]op.Key, len(known))
	for i, k := range known {
		keys[i] = key{k.ID, k.Private.Public()}
	}
	return keys, nil
}

// RotateOld replaces the signing key once it is old. It is cheap to call often.
func (p *Provider) RotateOld(ctx context.Context) error {
	return p.ring().RotateOld(models.WithPrincipal(ctx, models.System("idp")))
}

// Rotate makes a new signing key and retires the others, which stay known for a
// day, so that a token signed a moment ago is still good.
func (p *Provider) Rotate(ctx context.Context) error {
	return p.ring().Replace(models.WithPrincipal(ctx, models.System("idp")), false)
}
