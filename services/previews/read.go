package previews

import (
	"context"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Filter narrows the list of previews.
type Filter struct {
	models.Page
	TeamID string
	AppID  string
	State  models.PreviewState
	Going  bool // not those that have ended
}

// List returns previews with app, team and newest deployment, newest first.
// Pull requests that never came to have one are left out once they are closed.
func (s *Service) List(ctx context.Context, f Filter) (models.List[models.Preview], error) {
	none := models.List[models.Preview]{}
	p := models.PrincipalFrom(ctx)
	switch {
	case p == nil:
		return none, models.Errorf(models.Unauthorized, "Sign in first.")
	case !p.HasScope(models.ScopeRead):
		return none, models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeRead)
	}
	q := with(s.DB.WithContext(ctx)).Where("previews.state <> ? OR previews.started_at IS NOT NULL", models.PreviewEnded)
	if ids, all := p.TeamIDs(); !all {
		q = q.Where("previews.team_id IN ?", append(ids, ""))
	}
	for column, value := range map[string]string{"team_id": f.TeamID, "app_id": f.AppID, "state": string(f.State)} {
		if value != "" {
			q = q.Where("previews."+column+" = ?", value)
		}
	}
	if f.Going {
		q = q.Where("previews.state <> ?", models.PreviewEnded)
	}
	return models.Newest(q, f.Page, "previews.id", func(p models.Preview) string { return p.ID })
}

// with reads previews with what a page says of them.
func with(q *gorm.DB) *gorm.DB {
	return q.Preload("App").Preload("Team").Preload("Environment").Preload("Environment.Target", func(tx *gorm.DB) *gorm.DB { return tx.Select("id", "name", "kind") }).
		Preload("Deployment", func(tx *gorm.DB) *gorm.DB { return tx.Omit("sealed_secrets") })
}

// Get returns a preview with app, team, environment and newest deployment; the team's viewers may ask.
func (s *Service) Get(ctx context.Context, id string) (*models.Preview, error) {
	return s.preview(ctx, "id = ?", id, models.RoleViewer)
}

// OfEnvironment returns the preview that the environment is of.
func (s *Service) OfEnvironment(ctx context.Context, environmentID string) (*models.Preview, error) {
	return s.preview(ctx, "environment_id = ?", environmentID, models.RoleViewer)
}

func (s *Service) preview(ctx context.Context, where, id string, role models.Role) (*models.Preview, error) {
	var p models.Preview
	if err := with(s.DB.WithContext(ctx)).Take(&p, where, id).Error; err != nil {
		return nil, models.FromDB(err, "preview")
	}
	return &p, models.Authorize(ctx, p.TeamID, role, "preview")
}
