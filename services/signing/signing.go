// Package signing keeps the key pairs that Slipway signs with: sealed in the
// database, replaced as they grow old, and known for as long as something that
// they signed may be in use. Any number of processes share them.
package signing

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/secrets"
)

// Ring is the key pairs of one use. Its fields are set before it is used, and
// then it is safe for concurrent use.
type Ring struct {
	DB        *gorm.DB
	Box       *secrets.Box
	Use       string                  // models.SigningKey.Use, such as oidc
	Algorithm jose.SignatureAlgorithm // ES256, RS256 or EdDSA
	Action    string                  // of the audit entry about a new key, such as idp.rotate
	Title     string                  // of a key in that entry, for people
	Life      time.Duration           // the age at which a key is followed by another one
	Ahead     time.Duration           // how long a key is known before it signs; the first key signs at once
	Keep      time.Duration           // how long a key that signs no more is known
	Fresh     time.Duration           // how long a process believes what it read of the keys; 0: not at all

	mu   sync.Mutex
	all  []Key
	read time.Time // when all was read
}

// Key is a key pair.
type Key struct {
	ID        string // the key id (kid) of what it signs
	Private   crypto.Signer
	CreatedAt time.Time
	RetiredAt *time.Time // when it stopped to sign; nil: it signs, or will
}

// Signer returns the key to sign with: of those that were known for Ahead the
// newest, of which all processes agree. The first call of an installation makes it.
func (r *Ring) Signer(ctx context.Context) (Key, error) {
	keys, err := r.Known(ctx)
	if err != nil {
		return Key{}, err
	}
	return keys[r.signer(keys)], nil
}

// Known returns every key that something still in use may be signed with, and
// those that will sign, the newest first. The first call of an installation makes one.
func (r *Ring) Known(ctx context.Context) ([]Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fresh() {
		return r.all, nil
	}
	if err := r.readAll(ctx); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(r.all, serves) {
		return r.all, nil
	}
	if err := r.first(ctx); err != nil {
		return nil, err
	}
	if err := r.readAll(ctx); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(r.all, serves) {
		return nil, fmt.Errorf("the new signing key for %s is not there", r.Use)
	}
	return r.all, nil
}

// Find returns the known key of the id, or false. A key that another process
// made a moment ago is found too.
func (r *Ring) Find(ctx context.Context, id string) (Key, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.find(id); ok && r.fresh() {
		return k, true, nil
	}
	if err := r.readAll(ctx); err != nil {
		return Key{}, false, err
	}
	k, ok := r.find(id)
	return k, ok, nil
}

// Forget makes the next call read the keys anew.
func (r *Ring) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all, r.read = nil, time.Time{}
}

func (r *Ring) find(id string) (Key, bool) {
	i := slices.IndexFunc(r.all, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return Key{}, false
	}
	return r.all[i], true
}

func (r *Ring) fresh() bool { return len(r.all) > 0 && time.Since(r.read) < r.Fresh }

// readAll reads and opens the known keys. The lock is held.
func (r *Ring) readAll(ctx context.Context) error {
	rows, err := r.rows(r.DB.WithContext(ctx))
	if err != nil {
		return err
	}
	now, all := r.DB.NowFunc(), make([]Key, 0, len(rows))
	for _, row := range rows {
		if r.over(row, now) {
			continue
		}
		private, err := r.open(row)
		if err != nil {
			return err
		}
		all = append(all, Key{row.ID, private, row.CreatedAt, row.RetiredAt})
	}
	r.all, r.read = all, time.Now()
	return nil
}

// rows returns all keys of the use, the newest first.
func (r *Ring) rows(tx *gorm.DB) ([]models.SigningKey, error) {
	var rows []models.SigningKey
	if err := tx.Where("use = ?", r.Use).Order("created_at DESC, id DESC").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading the signing keys for %s: %w", r.Use, err)
	}
	return rows, nil
}

// over tells whether nothing that the key signed is believed any more.
func (r *Ring) over(row models.SigningKey, now time.Time) bool {
	return row.RetiredAt != nil && !row.RetiredAt.After(now.Add(-r.Keep))
}

func serves(k Key) bool { return k.RetiredAt == nil }

// signer returns which of the keys, the newest first, is the one to sign with:
// the newest that was known for long enough, or else the oldest of all that serve.
func (r *Ring) signer(keys []Key) int {
	ripe, chosen := r.DB.NowFunc().Add(-r.Ahead), -1
	for i, k := range keys {
		if !serves(k) {
			continue
		}
		chosen = i
		if r.Ahead == 0 || !k.CreatedAt.After(ripe) {
			break
		}
	}
	return chosen
}
