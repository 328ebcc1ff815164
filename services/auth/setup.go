package auth

import (
	"context"
	"crypto/subtle"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/idp"
	"slipway.dev/services/limits"
)

const setupSetting = "setup"

var errSetup = models.Errorf(models.NotFound, "This set-up link is used or replaced. The newest one is in the server's output; restart the server for another.")

// SetupToken returns a new one-time token for the page that creates the first
// admin, and makes earlier ones worthless. It returns empty once there is an admin.
func (s *Service) SetupToken(ctx context.Context) (string, error) {
	token := random()
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var admins int64
		if err := tx.Model(&models.User{}).Where("admin").Count(&admins).Error; err != nil {
			return fmt.Errorf("counting admins: %w", err)
		}
		if admins > 0 {
			token = ""
			return tx.Where("key = ?", setupSetting).Delete(&models.Setting{}).Error
		}
		row := models.Setting{Key: setupSetting, Value: digest(token), UpdatedAt: tx.NowFunc()}
		return tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "key"}}, DoUpdates: clause.AssignmentColumns([]string{"value", "updated_at"})}).Create(&row).Error
	})
	if err != nil {
		return "", fmt.Errorf("making the set-up token: %w", err)
	}
	return token, nil
}

// NeedsSetup tells whether the portal waits for its first admin.
func (s *Service) NeedsSetup(ctx context.Context) (bool, error) {
	var n int64
	if err := s.DB.WithContext(ctx).Model(&models.Setting{}).Where("key = ?", setupSetting).Count(&n).Error; err != nil {
		return false, fmt.Errorf("reading the set-up token: %w", err)
	}
	return n > 0, nil
}

// CheckSetup tells whether the set-up token is good, and uses nothing up. It
// fails with NotFound where it is not and TooMany where the peer guesses.
func (s *Service) CheckSetup(ctx context.Context, token string) error {
	if !s.setupGuesses().Allow(limits.Peer(models.RequestFrom(ctx).IP)) {
		return models.Errorf(models.TooMany, "Too many attempts. Wait a minute.")
	}
	var row models.Setting
	if err := s.DB.WithContext(ctx).Where("key = ?", setupSetting).Limit(1).Find(&row).Error; err != nil {
		return fmt.Errorf("reading the set-up token: %w", err)
	}
	if row.Value == "" || subtle.ConstantTimeCompare([]byte(row.Value), []byte(digest(token))) != 1 {
		return errSetup
	}
	return nil
}

func (s *Service) setupGuesses() *limits.Limiter {
	s.guesses.once.Do(func() { s.guesses.setup = &limits.Limiter{Every: 2 * time.Second, Burst: 20} })
	return s.guesses.setup
}

// Setup creates the first admin with an account at the embedded provider. The
// token, the account and the user are one transaction, so that a token makes
// one admin whoever clicks twice.
func (s *Service) Setup(ctx context.Context, token string, in idp.NewAccount) error {
	if err := s.CheckSetup(ctx, token); err != nil {
		return err
	}
	if s.Accounts == nil {
		return models.Errorf(models.Conflict, "This portal has no accounts of its own. Become its admin by signing in.")
	}
	account, err := s.Accounts.Prepare(in)
	if err != nil {
		return err
	}
	ctx = models.WithPrincipal(ctx, models.System("set-up"))
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := s.Accounts.Create(ctx, tx, account); err != nil {
			return err
		}
		user := models.User{ID: models.NewID(), Issuer: s.Accounts.Issuer(), Subject: account.ID, Email: account.Email, Name: account.Name, CreatedAt: tx.NowFunc()}
		if err := tx.Create(&user).Error; err != nil {
			return fmt.Errorf("making the admin: %w", err)
		}
		return s.claimSetup(ctx, tx, &user, digest(token))
	})
}

// BeginSetup starts a sign-in at the issuer that makes whoever signs in the
// first admin. The claim is bound to this browser; the token is used up only when the person comes back.
func (s *Service) BeginSetup(ctx context.Context, token, issuerID string, b Browser) (Redirect, error) {
	if err := s.CheckSetup(ctx, token); err != nil {
		return Redirect{}, err
	}
	return s.start(ctx, issuerID, attempt{Next: "/", Setup: digest(token)}, b)
}

// claimSetup uses the set-up token up and makes the user an admin. Without a token it does nothing.
func (s *Service) claimSetup(ctx context.Context, tx *gorm.DB, user *models.User, hash string) error {
	if hash == "" {
		return nil
	}
	used := tx.Where("key = ? AND value = ?", setupSetting, hash).Delete(&models.Setting{})
	if used.Error != nil {
		return fmt.Errorf("using the set-up token: %w", used.Error)
	}
	if used.RowsAffected == 0 {
		return errSetup
	}
	user.Admin = true
	if err := tx.Model(user).UpdateColumn("admin", true).Error; err != nil {
		return fmt.Errorf("making the admin: %w", err)
	}
	return recordUser(ctx, tx, user, "setup.finish", "user.updated", nil)
}
