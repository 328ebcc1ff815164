package registry

import (
	"context"
	"fmt"
	"time"

	"slipway.dev/models"
)

// KeyLife is the age at which the key that signs the registry's tokens is replaced.
const KeyLife = 30 * 24 * time.Hour

// Key is a key that signs the registry's tokens, or did.
type Key struct {
	ID        string
	CreatedAt time.Time
	RetiredAt *time.Time // when it stopped to sign; nil: it signs
	GoodUntil *time.Time // when what it signed is believed no more; nil: no end yet
}

// Keys lists the keys that are believed, the one that signs first; admins may.
func (s *Service) Keys(ctx context.Context) ([]Key, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	var rows []models.SigningKey
	err := s.DB.WithContext(ctx).Omit("private").Where("use = ?", keyUse).Order("created_at DESC, id DESC").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the registry's keys: %w", err)
	}
	out := make([]Key, 0, len(rows))
	for _, row := range rows {
		k := Key{ID: row.ID, CreatedAt: row.CreatedAt, RetiredAt: row.RetiredAt}
		if row.RetiredAt != nil {
			until := row.RetiredAt.Add(verifyFor)
			k.GoodUntil = &until
		}
		out = append(out, k)
	}
	return out, nil
}

// RotateKeys makes a new key and signs with it from now on; admins may. What the
// old keys signed stays good until it expires, unless dropOld says that they
// may have leaked: then they are deleted, and every login, build and deployment
// under way has to sign in anew. Other processes follow within half a minute.
func (s *Service) RotateKeys(ctx context.Context, dropOld bool) error {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return err
	}
	return s.ring().Replace(ctx, dropOld)
}

// RotateOldKeys replaces a key that has signed for KeyLife, and deletes those
// that are believed no more. It is cheap to call often, from any number of processes.
func (s *Service) RotateOldKeys(ctx context.Context) error { return s.ring().RotateOld(ctx) }
