package registry

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	keyUse       = "registry"
	keyAlgorithm = "EdDSA"
)

// keyring remembers the keys that sign the registry's tokens, so that most requests read none.
type keyring struct {
	mu     sync.Mutex
	byID   map[string]ed25519.PrivateKey
	signer string
}

// signingKey returns the key to sign with and its id; the first call of an installation makes it.
func (s *Service) signingKey(ctx context.Context) (string, ed25519.PrivateKey, error) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	if s.keys.signer != "" {
		return s.keys.signer, s.keys.byID[s.keys.signer], nil
	}
	var row models.SigningKey
	err := s.DB.WithContext(ctx).Where("use = ? AND retired_at IS NULL", keyUse).Order("created_at, id").Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		row, err = s.makeKey(ctx)
	}
	if err != nil {
		return "", nil, fmt.Errorf("reading the registry's signing key: %w", err)
	}
	key, err := s.openKey(row)
	if err != nil {
		return "", nil, err
	}
	s.keys.remember(row.ID, key)
	s.keys.signer = row.ID
	return row.ID, key, nil
}

// verifyingKey returns the public key with the id, or nil where there is none.
func (s *Service) verifyingKey(ctx context.Context, id string) (ed25519.PublicKey, error) {
	if uuid.Validate(id) != nil {
		return nil, nil
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	if key, ok := s.keys.byID[id]; ok {
		return key.Public().(ed25519.PublicKey), nil
	}
	var rows []models.SigningKey
	err := s.DB.WithContext(ctx).Where("id = ? AND use = ? AND retired_at IS NULL", id, keyUse).Find(&rows).Error
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	key, err := s.openKey(rows[0])
	if err != nil {
		return nil, err
	}
	s.keys.remember(id, key)
	return key.Public().(ed25519.PublicKey), nil
}

func (k *keyring) remember(id string, key ed25519.PrivateKey) {
	if k.byID == nil {
		k.byID = map[string]ed25519.PrivateKey{}
	}
	k.byID[id] = key
}

// makeKey stores a new key. Where two processes do so at once, both keys are
// good: a token names the key that signed it.
func (s *Service) makeKey(ctx context.Context) (models.SigningKey, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return models.SigningKey{}, err
	}
	row := models.SigningKey{ID: models.NewID(), Use: keyUse, Algorithm: keyAlgorithm, CreatedAt: s.DB.NowFunc()}
	row.Private = s.Box.Seal(keyPlace(row.ID), key.Seed())
	return row, s.DB.WithContext(ctx).Create(&row).Error
}

func (s *Service) openKey(row models.SigningKey) (ed25519.PrivateKey, error) {
	seed, err := s.Box.Open(keyPlace(row.ID), row.Private)
	if err != nil {
		return nil, err
	}
	if row.Algorithm != keyAlgorithm || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("the signing key %s is not an %s key", row.ID, keyAlgorithm)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

func keyPlace(id string) string { return "signing_keys/" + id }
