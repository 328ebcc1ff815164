package auth

import (
	"context"
	"fmt"

	"slipway.dev/models"
)

// Standing returns the principal that work was queued for as it is now, or
// Unauthorized where it is nobody any more. A person who has signed out since
// still stands for the work; one who was disabled does not, nor does a token
// that was revoked or has expired.
func (s *Service) Standing(ctx context.Context, p *models.Principal) (*models.Principal, error) {
	if p.Kind != models.PrincipalSession {
		return s.Reload(ctx, p)
	}
	var users []models.User
	err := s.DB.WithContext(ctx).Where("id = ? AND disabled_at IS NULL", p.UserID).Limit(1).Find(&users).Error
	if err != nil {
		return nil, fmt.Errorf("reading who asked: %w", err)
	}
	if len(users) == 0 {
		return nil, errSignIn
	}
	now := &models.Principal{Kind: models.PrincipalSession, ID: p.ID, UserID: users[0].ID, Name: users[0].Name, Admin: users[0].Admin}
	now.Teams, err = s.roles(ctx, users[0].ID)
	return now, err
}
