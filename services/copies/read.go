package copies

import (
	"context"
	"fmt"

	"slipway.dev/models"
)

// Filter narrows a list of copies.
type Filter struct {
	models.Page
	TeamID string
	State  models.CopyState
}

// List returns copies of the principal's teams, newest first.
func (s *Service) List(ctx context.Context, f Filter) (models.List[models.Copy], error) {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return models.List[models.Copy]{}, models.Errorf(models.Unauthorized, "Sign in first.")
	}
	if !p.HasScope(models.ScopeRead) {
		return models.List[models.Copy]{}, models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeRead)
	}
	q := s.DB.WithContext(ctx).Preload("Team").Omit("uploads")
	if ids, all := p.TeamIDs(); !all {
		q = q.Where("team_id IN ?", ids)
	}
	if f.TeamID != "" {
		q = q.Where("team_id = ?", f.TeamID)
	}
	if f.State != "" {
		q = q.Where("state = ?", f.State)
	}
	list, err := models.Newest(q, f.Page, "id", func(c models.Copy) string { return c.ID })
	if err != nil {
		return list, fmt.Errorf("listing copies: %w", err)
	}
	return list, nil
}

// Get returns a copy; the team's viewers may.
func (s *Service) Get(ctx context.Context, id string) (*models.Copy, error) {
	return s.copy(ctx, id, models.RoleViewer)
}

func (s *Service) copy(ctx context.Context, id string, role models.Role) (*models.Copy, error) {
	var c models.Copy
	if err := s.DB.WithContext(ctx).Preload("Team").Where("id = ?", id).Take(&c).Error; err != nil {
		return nil, models.FromDB(err, "copy")
	}
	if err := models.Authorize(ctx, c.TeamID, role, "copy"); err != nil {
		return nil, err
	}
	return &c, nil
}
