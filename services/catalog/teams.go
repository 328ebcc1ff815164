package catalog

import (
	"context"
	"strings"
	"unicode"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// NewTeam is what makes a team.
type NewTeam struct {
	Slug string `json:"slug" form:"slug" doc:"Name in addresses and images: lower-case letters, digits and hyphens. It never changes."`
	Name string `json:"name,omitempty" form:"name" doc:"What people call the team; the slug where empty."`
}

// UpdateTeam is what may change of a team.
type UpdateTeam struct {
	Name string `json:"name" form:"name"`
}

// TeamFilter narrows the list of teams.
type TeamFilter struct {
	models.Page
}

// Teams lists the principal's teams by slug; an admin's are all.
func (s *Service) Teams(ctx context.Context, f TeamFilter) (models.List[models.Team], error) {
	q, err := visible(ctx, s.DB.WithContext(ctx), "id")
	if err != nil {
		return models.List[models.Team]{}, err
	}
	if f.Cursor != "" {
		q = q.Where("slug > ?", f.Cursor)
	}
	var teams []models.Team
	if err := q.Order("slug").Limit(f.Size() + 1).Find(&teams).Error; err != nil {
		return models.List[models.Team]{}, err
	}
	list := models.List[models.Team]{Items: teams}
	if len(teams) > f.Size() {
		list.Items = teams[:f.Size()]
		list.Next = list.Items[f.Size()-1].Slug
	}
	return list, nil
}

// Team returns a team of the principal's by its slug.
func (s *Service) Team(ctx context.Context, slug string) (*models.Team, error) {
	return s.team(ctx, slug, models.RoleViewer)
}

// TeamByID returns a team of the principal's by its id.
func (s *Service) TeamByID(ctx context.Context, id string) (*models.Team, error) {
	if err := models.Authorize(ctx, id, models.RoleViewer, "team"); err != nil {
		return nil, err
	}
	var team models.Team
	err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&team).Error
	return &team, models.FromDB(err, "team")
}

func (s *Service) team(ctx context.Context, slug string, role models.Role) (*models.Team, error) {
	var team models.Team
	if err := s.DB.WithContext(ctx).Where("slug = ?", slug).Take(&team).Error; err != nil {
		return nil, models.FromDB(err, "team")
	}
	if err := models.Authorize(ctx, team.ID, role, "team"); err != nil {
		return nil, err
	}
	return &team, nil
}

// CreateTeam makes a team; who makes it becomes its first maintainer. Everybody who is signed in may, and admins'
// tokens; the token of another team may not.
func (s *Service) CreateTeam(ctx context.Context, in NewTeam) (*models.Team, error) {
	p := models.PrincipalFrom(ctx)
	if err := mayMakeTeams(p); err != nil {
		return nil, err
	}
	team := &models.Team{ID: models.NewID(), Slug: strings.TrimSpace(in.Slug), Name: strings.TrimSpace(in.Name)}
	if team.Name == "" {
		team.Name = team.Slug
	}
	if err := checkTeam(team); err != nil {
		return nil, err
	}
	if team.Slug == models.CacheSlug {
		return nil, models.InvalidField("slug", "This name belongs to the cache of base images. Use another one.")
	}
	err := s.commit(ctx, teamChange(team, "team.create"), func(tx *gorm.DB) error {
		if err := tx.Create(team).Error; err != nil {
			return taken(err, "slug", "There is a team %q already.", team.Slug)
		}
		if p.UserID == "" {
			return nil
		}
		return tx.Create(&models.Member{TeamID: team.ID, UserID: p.UserID, Role: models.RoleMaintainer}).Error
	})
	if err != nil {
		return nil, err
	}
	return team, nil
}

func mayMakeTeams(p *models.Principal) error {
	switch {
	case p == nil:
		return models.Errorf(models.Unauthorized, "Sign in first.")
	case !p.HasScope(models.ScopeWrite):
		return models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeWrite)
	case p.UserID == "" && !p.Admin:
		return models.Errorf(models.Denied, "The token of a team can't make other teams.")
	}
	return nil
}

// UpdateTeam changes the team's name; its maintainers may.
func (s *Service) UpdateTeam(ctx context.Context, slug string, in UpdateTeam) (*models.Team, error) {
	team, err := s.team(ctx, slug, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	team.Name = strings.TrimSpace(in.Name)
	if err := checkTeam(team); err != nil {
		return nil, err
	}
	err = s.commit(ctx, teamChange(team, "team.update"), func(tx *gorm.DB) error {
		return tx.Model(team).Update("name", team.Name).Error
	})
	if err != nil {
		return nil, err
	}
	return team, nil
}

func checkTeam(team *models.Team) error {
	wrong := faults{}
	if !models.ValidName(team.Slug) {
		wrong.add("slug", models.NameHelp)
	}
	if team.Name == "" || len([]rune(team.Name)) > 80 || strings.ContainsFunc(team.Name, unicode.IsControl) {
		wrong.add("name", "Use 1 to 80 characters on one line.")
	}
	return wrong.err()
}

func teamChange(team *models.Team, action string) change {
	return change{team: team.ID, action: action, subject: "team:" + team.ID, name: team.Slug}
}
