package signing

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

// RotateOld makes the next key once the newest has reached Life, ends the
// signing of those that it follows once it was known for Ahead, and deletes what
// is known no more. It is cheap to call often, from any number of processes.
func (r *Ring) RotateOld(ctx context.Context) error {
	rows, err := r.rows(r.DB.WithContext(ctx))
	if err != nil || len(rows) == 0 {
		return err
	}
	var next *models.SigningKey
	if r.due(rows) { // made before the transaction: it takes a while
		if next, err = r.generate(); err != nil {
			return err
		}
	}
	defer r.Forget()
	return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		rows, err := r.lock(tx)
		if err != nil {
			return err
		}
		if next != nil && r.due(rows) {
			if err := r.store(ctx, tx, next, false); err != nil {
				return err
			}
		}
		return r.tidy(tx)
	})
}

// Replace makes the next key now. Drop deletes all others, so that nothing that
// they signed is believed any more, and the new one signs at once.
func (r *Ring) Replace(ctx context.Context, drop bool) error {
	next, err := r.generate()
	if err != nil {
		return err
	}
	defer r.Forget()
	return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if _, err := r.lock(tx); err != nil {
			return err
		}
		if drop {
			if err := tx.Where("use = ?", r.Use).Delete(&models.SigningKey{}).Error; err != nil {
				return fmt.Errorf("deleting the signing keys for %s: %w", r.Use, err)
			}
		}
		if err := r.store(ctx, tx, next, drop); err != nil {
			return err
		}
		return r.tidy(tx)
	})
}

// first makes the key of a new installation, unless another process was faster.
func (r *Ring) first(ctx context.Context) error {
	next, err := r.generate()
	if err != nil {
		return err
	}
	return r.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		rows, err := r.lock(tx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.RetiredAt == nil {
				return nil
			}
		}
		return tx.Create(next).Error
	})
}

// lock keeps other processes from changing the keys until the transaction ends,
// and returns them. What is locked is a row of its own, for there may be no key yet.
func (r *Ring) lock(tx *gorm.DB) ([]models.SigningKey, error) {
	mark := models.Setting{Key: "signing_keys." + r.Use, UpdatedAt: r.DB.NowFunc()}
	if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&mark).Error; err != nil {
		return nil, fmt.Errorf("locking the signing keys for %s: %w", r.Use, err)
	}
	return r.rows(tx)
}

// due tells whether the newest of the keys has to be followed by another one.
func (r *Ring) due(rows []models.SigningKey) bool {
	for _, row := range rows {
		if row.RetiredAt == nil {
			return r.DB.NowFunc().Sub(row.CreatedAt) >= r.Life
		}
	}
	return true
}

func (r *Ring) store(ctx context.Context, tx *gorm.DB, key *models.SigningKey, dropped bool) error {
	key.CreatedAt = r.DB.NowFunc()
	if err := tx.Create(key).Error; err != nil {
		return fmt.Errorf("storing a signing key for %s: %w", r.Use, err)
	}
	return audit.Record(ctx, tx, audit.Entry{Action: r.Action, Subject: "signing_key:" + key.ID, Name: r.Title,
		Detail: map[string]string{"old_keys_deleted": fmt.Sprint(dropped)}})
}

// tidy ends the signing of all keys that are older than the one that signs, and deletes what is known no more.
func (r *Ring) tidy(tx *gorm.DB) error {
	rows, err := r.rows(tx)
	if err != nil {
		return err
	}
	keys := make([]Key, len(rows))
	for i, row := range rows {
		keys[i] = Key{ID: row.ID, CreatedAt: row.CreatedAt, RetiredAt: row.RetiredAt}
	}
	signer, now := r.signer(keys), r.DB.NowFunc()
	for i, row := range rows {
		switch {
		case r.over(row, now):
			err = tx.Delete(&models.SigningKey{}, "id = ?", row.ID).Error
		case i > signer && row.RetiredAt == nil:
			err = tx.Model(&models.SigningKey{}).Where("id = ?", row.ID).UpdateColumn("retired_at", now).Error
		}
		if err != nil {
			return fmt.Errorf("retiring the signing key %s: %w", row.ID, err)
		}
	}
	return nil
}

// SignsFrom returns when the key, one of Known, begins to sign; the zero time where it does, or did.
func (r *Ring) SignsFrom(k Key, known []Key) time.Time {
	signer := r.signer(known)
	if signer < 0 || !serves(k) || !k.CreatedAt.After(known[signer].CreatedAt) {
		return time.Time{}
	}
	return k.CreatedAt.Add(r.Ahead)
}
