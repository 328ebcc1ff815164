package idp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/op"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

const (
	algorithm = jose.ES256
	keyUse    = "oidc"
	// publishFor is how long a retired key stays known, far longer than any token that it signed.
	publishFor = 24 * time.Hour
	// keyLife is the age at which Rotate replaces a key.
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

// signingKey returns the newest key, and makes the first one.
func (p *Provider) signingKey(ctx context.Context) (key, error) {
	rows, err := currentKeys(p.DB.WithContext(ctx))
	if err != nil {
		return key{}, err
	}
	if len(rows) == 0 {
		if err := p.Rotate(ctx); err != nil {
			return key{}, err
		}
		if rows, err = currentKeys(p.DB.WithContext(ctx)); err != nil || len(rows) == 0 {
			return key{}, fmt.Errorf("the new signing key can't be read: %w", err)
		}
	}
	private, err := p.private(rows[0])
	return key{rows[0].ID, private}, err
}

// currentKeys returns the keys that are not retired, the newest first.
func currentKeys(tx *gorm.DB) ([]models.SigningKey, error) {
	var rows []models.SigningKey
	err := tx.Where("use = ? AND retired_at IS NULL", keyUse).Order("id DESC").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	return rows, nil
}

// publicKeys returns every key that a token still in use may be signed with.
func (p *Provider) publicKeys(ctx context.Context) ([]op.Key, error) {
	if _, err := p.signingKey(ctx); err != nil {
		return nil, err
	}
	var rows []models.SigningKey
	err := p.DB.WithContext(ctx).Where("use = ? AND (retired_at IS NULL OR retired_at > ?)", keyUse, p.DB.NowFunc().Add(-publishFor)).
		Order("id DESC").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	keys := make([]op.Key, len(rows))
	for i, row := range rows {
		private, err := p.private(row)
		if err != nil {
			return nil, err
		}
		keys[i] = key{row.ID, private.Public()}
	}
	return keys, nil
}

func (p *Provider) private(row models.SigningKey) (*ecdsa.PrivateKey, error) {
	der, err := p.Box.Open("signing_keys/"+row.ID, row.Private)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("reading the signing key %s: %w", row.ID, err)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the signing key %s is no ECDSA key", row.ID)
	}
	return private, nil
}

// RotateOld replaces the signing key once it is old. It is cheap to call often.
func (p *Provider) RotateOld(ctx context.Context) error {
	rows, err := currentKeys(p.DB.WithContext(ctx))
	if err != nil || len(rows) > 0 && p.DB.NowFunc().Sub(rows[0].CreatedAt) < keyLife {
		return err
	}
	return p.Rotate(ctx)
}

// Rotate makes a new signing key and retires the others, which stay known for a
// day, so that a token signed a moment ago is still good.
func (p *Provider) Rotate(ctx context.Context) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("making a signing key: %w", err)
	}
	id := models.NewID()
	ctx = models.WithPrincipal(ctx, models.System("idp"))
	return p.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		now := tx.NowFunc()
		if err := tx.Model(&models.SigningKey{}).Where("use = ? AND retired_at IS NULL", keyUse).UpdateColumn("retired_at", now).Error; err != nil {
			return fmt.Errorf("retiring signing keys: %w", err)
		}
		row := models.SigningKey{ID: id, Use: keyUse, Algorithm: string(algorithm), Private: p.Box.Seal("signing_keys/"+id, der), CreatedAt: now}
		if err := tx.Create(&row).Error; err != nil {
			return fmt.Errorf("storing the signing key: %w", err)
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "idp.rotate", Subject: "signing_key:" + id})
	})
}
