package registry

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
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
	defer s.keys.forget()
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if dropOld {
			if err := tx.Where("use = ?", keyUse).Delete(&models.SigningKey{}).Error; err != nil {
				return fmt.Errorf("deleting the registry's keys: %w", err)
			}
		} else if _, err := retire(tx, tx.NowFunc()); err != nil {
			return err
		}
		return s.replaceKey(ctx, tx, dropOld)
	})
}

// RotateOldKeys replaces a key that has signed for KeyLife, and deletes those
// that are believed no more. It is cheap to call often, from any number of processes.
func (s *Service) RotateOldKeys(ctx context.Context) error {
	now := s.DB.NowFunc()
	defer s.keys.forget()
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		gone := tx.Where("use = ? AND retired_at < ?", keyUse, now.Add(-verifyFor)).Delete(&models.SigningKey{})
		if gone.Error != nil {
			return fmt.Errorf("deleting old keys of the registry: %w", gone.Error)
		}
		old, err := retire(tx, now.Add(-KeyLife))
		if err != nil || old == 0 {
			return err
		}
		return s.replaceKey(ctx, tx, false)
	})
}

// retire ends the signing of keys made at the moment or before, and returns how many it were. Of two processes one ends each.
func retire(tx *gorm.DB, made time.Time) (int64, error) {
	done := tx.Model(&models.SigningKey{}).Where("use = ? AND retired_at IS NULL AND created_at <= ?", keyUse, made).UpdateColumn("retired_at", tx.NowFunc())
	if done.Error != nil {
		return 0, fmt.Errorf("retiring keys of the registry: %w", done.Error)
	}
	return done.RowsAffected, nil
}

func (s *Service) replaceKey(ctx context.Context, tx *gorm.DB, dropped bool) error {
	row, err := s.makeKey(tx)
	if err != nil {
		return fmt.Errorf("making a key of the registry: %w", err)
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "registry.rotate", Subject: "signing_key:" + row.ID, Name: "key of the registry",
		Detail: map[string]string{"old_keys_deleted": fmt.Sprint(dropped)}})
}
