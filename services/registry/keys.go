package registry

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	keyUse       = "registry"
	keyAlgorithm = "EdDSA"

	// maxCredential is the longest life of anything that a key signs.
	maxCredential = 24 * time.Hour
	// verifyFor is how long a key that signs no more is believed: until all that
	// it signed has expired, also what another process signed with it before it noticed.
	verifyFor = maxCredential + 5*time.Minute
	// keyFresh is how long a process believes what it read of a key.
	keyFresh = 30 * time.Second
)

// keyring remembers for a moment the keys that sign the registry's tokens, so that most requests read none.
type keyring struct {
	mu     sync.Mutex
	byID   map[string]knownKey
	signer knownKey // the one to sign with
}

type knownKey struct {
	id   string
	key  ed25519.PrivateKey
	read time.Time // when it was last seen in the database
}

func (s *Service) fresh(k knownKey) bool {
	return k.key != nil && time.Since(k.read) < s.keyFresh()
}

func (s *Service) keyFresh() time.Duration {
	if s.KeyFresh > 0 {
		return s.KeyFresh
	}
	return keyFresh
}

// signingKey returns the key to sign with and its id: the newest, of which all
// processes agree. The first call of an installation makes it.
func (s *Service) signingKey(ctx context.Context) (string, ed25519.PrivateKey, error) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	if s.fresh(s.keys.signer) {
		return s.keys.signer.id, s.keys.signer.key, nil
	}
	row, err := newestKey(s.DB.WithContext(ctx))
	if errors.Is(err, gorm.ErrRecordNotFound) {
		row, err = s.makeKey(s.DB.WithContext(ctx))
	}
	if err != nil {
		return "", nil, fmt.Errorf("reading the registry's signing key: %w", err)
	}
	key, err := s.openKey(row)
	if err != nil {
		return "", nil, err
	}
	s.keys.signer = s.keys.remember(row.ID, key)
	return row.ID, key, nil
}

// newestKey is the key that signs: of those that were not retired the one made last.
func newestKey(db *gorm.DB) (row models.SigningKey, err error) {
	err = db.Where("use = ? AND retired_at IS NULL", keyUse).Order("created_at DESC, id DESC").Take(&row).Error
	return row, err
}

// verifyingKey returns the public key with the id, or nil where there is none.
func (s *Service) verifyingKey(ctx context.Context, id string) (ed25519.PublicKey, error) {
	if uuid.Validate(id) != nil {
		return nil, nil
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	if known := s.keys.byID[id]; s.fresh(known) {
		return known.key.Public().(ed25519.PublicKey), nil
	}
	delete(s.keys.byID, id)
	var rows []models.SigningKey
	err := s.DB.WithContext(ctx).Where("id = ? AND use = ?", id, keyUse).
		Where("retired_at IS NULL OR retired_at > ?", s.DB.NowFunc().Add(-verifyFor)).Find(&rows).Error
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

func (k *keyring) remember(id string, key ed25519.PrivateKey) knownKey {
	if k.byID == nil {
		k.byID = map[string]knownKey{}
	}
	k.byID[id] = knownKey{id, key, time.Now()}
	return k.byID[id]
}

// forget makes the next request read the keys anew.
func (k *keyring) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.byID, k.signer = nil, knownKey{}
}

// makeKey stores a new key. Where two processes do so at once, both keys are
// good: a token names the key that signed it.
func (s *Service) makeKey(tx *gorm.DB) (models.SigningKey, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return models.SigningKey{}, err
	}
	row := models.SigningKey{ID: models.NewID(), Use: keyUse, Algorithm: keyAlgorithm, CreatedAt: s.DB.NowFunc()}
	row.Private = s.Box.Seal(keyPlace(row.ID), key.Seed())
	return row, tx.Create(&row).Error
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
