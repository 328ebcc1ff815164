package auth

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// begin makes a new session of the user in tx and returns its cookie. Whatever
// session the browser had ends, so that no one can plant one before the sign-in.
func (s *Service) begin(ctx context.Context, tx *gorm.DB, user *models.User, b Browser) (*http.Cookie, error) {
	now := tx.NowFunc()
	if b.Session != "" {
		if err := tx.Where("id = ?", digest(b.Session)).Delete(&models.Session{}).Error; err != nil {
			return nil, fmt.Errorf("ending the former session: %w", err)
		}
	}
	value := random()
	row := models.Session{
		ID: digest(value), UserID: user.ID, Issuer: user.Issuer, UserAgent: printable(b.UserAgent, 200), IP: models.RequestFrom(ctx).IP,
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(s.lifetime()),
	}
	if err := tx.Create(&row).Error; err != nil {
		return nil, fmt.Errorf("making the session: %w", err)
	}
	return s.cookie(sessionCookie, value, s.lifetime()), nil
}

// Sessions returns the user's sessions that have not ended, the one used last
// first. People see their own, admins everyone's.
func (s *Service) Sessions(ctx context.Context, userID string) ([]models.Session, error) {
	if err := selfOrAdmin(ctx, userID); err != nil {
		return nil, err
	}
	now := s.DB.NowFunc()
	var rows []models.Session
	err := s.DB.WithContext(ctx).Where("user_id = ? AND expires_at > ? AND last_seen_at > ?", userID, now, now.Add(-s.idle())).
		Order("last_seen_at DESC, id").Limit(models.MaxLimit).Find(&rows).Error
	return rows, err
}

// End signs the context's principal out. It returns the id of the issuer that
// the person signed in with, for LogoutURL.
func (s *Service) End(ctx context.Context) (issuerID string, err error) {
	p := models.PrincipalFrom(ctx)
	if p == nil || p.Kind != models.PrincipalSession {
		return "", errSignIn
	}
	var session models.Session
	if err := s.DB.WithContext(ctx).Where("id = ?", p.ID).Take(&session).Error; err != nil {
		return "", models.FromDB(err, "session")
	}
	if err := s.EndSession(ctx, p.UserID, session.ID); err != nil {
		return "", err
	}
	if issuer := s.issuerAt(session.Issuer); issuer != nil {
		issuerID = issuer.ID
	}
	return issuerID, nil
}

// EndSession ends one session of the user. People end their own, admins anyone's.
func (s *Service) EndSession(ctx context.Context, userID, id string) error {
	return s.end(ctx, userID, "session.end", func(tx *gorm.DB) *gorm.DB { return tx.Where("id = ?", id) })
}

// EndAll signs the user out everywhere. People do it for themselves, admins for anyone. Tokens stay.
func (s *Service) EndAll(ctx context.Context, userID string) error {
	return s.end(ctx, userID, "session.end_all", func(tx *gorm.DB) *gorm.DB { return tx })
}

func (s *Service) end(ctx context.Context, userID, action string, which func(*gorm.DB) *gorm.DB) error {
	if err := selfOrAdmin(ctx, userID); err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var user models.User
		if err := tx.Where("id = ?", userID).Take(&user).Error; err != nil {
			return models.FromDB(err, "user")
		}
		done := which(tx).Where("user_id = ?", userID).Delete(&models.Session{})
		if done.Error != nil {
			return fmt.Errorf("ending sessions: %w", done.Error)
		}
		if done.RowsAffected == 0 && action == "session.end" {
			return models.Errorf(models.NotFound, "No such session.")
		}
		return recordUser(ctx, tx, &user, action, "session.ended", map[string]string{"sessions": fmt.Sprint(done.RowsAffected)})
	})
}

// Prune deletes sessions that have ended by themselves.
func (s *Service) Prune(ctx context.Context) error {
	now := s.DB.NowFunc()
	return s.DB.WithContext(ctx).Where("expires_at < ? OR last_seen_at < ?", now, now.Add(-s.idle())).Delete(&models.Session{}).Error
}

// selfOrAdmin lets people act on themselves, and admins on anyone; nobody else learns who exists.
func selfOrAdmin(ctx context.Context, userID string) error {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return errSignIn
	}
	if userID != "" && p.UserID == userID && p.HasScope(models.ScopeWrite) {
		return nil
	}
	if models.AuthorizeAdmin(ctx) == nil {
		return nil
	}
	return models.Errorf(models.NotFound, "No such user.")
}

// recordUser writes the audit entry and the event of a change to the user.
func recordUser(ctx context.Context, tx *gorm.DB, u *models.User, action, event string, detail map[string]string) error {
	entry := audit.Entry{Action: action, Subject: "user:" + u.ID, Name: u.Name, Detail: detail}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return err
	}
	return events.Publish(tx, models.Event{Kind: event, Topic: "user:" + u.ID})
}

// printable returns at most limit runes of s without control and invisible
// formatting characters: what others say about themselves must not disturb a page or a log.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	s = strings.TrimSpace(s)
	if utf8.RuneCountInString(s) > limit {
		s = string([]rune(s)[:limit])
	}
	return s
}
