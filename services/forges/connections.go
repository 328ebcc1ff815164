package forges

import (
	"context"
	"maps"
	"slices"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/git"
)

// NewConnection is what makes a connection.
type NewConnection struct {
	Team       string                      `json:"team" form:"team" doc:"Slug of the team that it will belong to."`
	Kind       models.ForgeKind            `json:"kind" form:"kind" enum:"github,gitlab,gitea,generic" doc:"gitea is Forgejo's too."`
	Name       string                      `json:"name,omitempty" form:"name" doc:"The forge's host where empty."`
	BaseURL    string                      `json:"base_url,omitempty" form:"base_url" doc:"Of the forge; https://github.com and https://gitlab.com where empty. A generic one has none."`
	Credential models.ConnectionCredential `json:"credential,omitempty" form:"credential" enum:"none,token,github_app" doc:"How Slipway calls the forge; none where empty."`
	Settings   map[string]string           `json:"settings,omitempty" doc:"Of the credential: token, or app_id, installation_id and private_key."`
}

// UpdateConnection is what may change of a connection; what is absent stays as it is.
type UpdateConnection struct {
	Name       *string                      `json:"name,omitempty" form:"name"`
	BaseURL    *string                      `json:"base_url,omitempty" form:"base_url" doc:"Another host needs the credential's secrets given again."`
	Credential *models.ConnectionCredential `json:"credential,omitempty" form:"credential" enum:"none,token,github_app"`
	Settings   map[string]string            `json:"settings,omitempty" doc:"Of the credential; a setting that is absent or empty stays."`
}

// ConnectionFilter narrows the list of connections.
type ConnectionFilter struct {
	models.Page
	Team string `query:"team" doc:"Slug of a team."`
}

// List returns the connections of the teams that the principal is a maintainer of, with their teams, newest first.
func (s *Service) List(ctx context.Context, f ConnectionFilter) (models.List[models.Connection], error) {
	q, err := s.maintained(ctx, f.Team)
	if err != nil {
		return models.List[models.Connection]{}, err
	}
	return models.Newest(q.Preload("Team"), f.Page, "connections.id", func(c models.Connection) string { return c.ID })
}

// maintained narrows connections to one team, by slug, or to all that the principal is a maintainer of.
func (s *Service) maintained(ctx context.Context, slug string) (*gorm.DB, error) {
	q := s.DB.WithContext(ctx).Omit("secrets", "webhook_secret")
	if slug != "" {
		team, err := s.team(ctx, slug)
		if err != nil {
			return nil, err
		}
		return q.Where("connections.team_id = ?", team.ID), nil
	}
	p := models.PrincipalFrom(ctx)
	switch {
	case p == nil:
		return nil, models.Errorf(models.Unauthorized, "Sign in first.")
	case !p.HasScope(models.ScopeRead):
		return nil, models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeRead)
	case p.Admin:
		return q, nil
	}
	teams := maps.Clone(p.Teams)
	maps.DeleteFunc(teams, func(_ string, role models.Role) bool { return !role.AtLeast(models.RoleMaintainer) })
	return q.Where("connections.team_id IN ?", slices.Sorted(maps.Keys(teams))), nil
}

// team returns the team whose maintainer the principal is.
func (s *Service) team(ctx context.Context, slug string) (*models.Team, error) {
	var team models.Team
	if err := s.DB.WithContext(ctx).Where("slug = ?", slug).Take(&team).Error; err != nil {
		return nil, models.FromDB(err, "team")
	}
	if err := models.Authorize(ctx, team.ID, models.RoleMaintainer, "team"); err != nil {
		return nil, err
	}
	return &team, nil
}

// Get returns a connection with its team; the team's maintainers may.
func (s *Service) Get(ctx context.Context, id string) (*models.Connection, error) {
	c, err := s.connection(ctx, id)
	if err != nil {
		return nil, err
	}
	c.Secrets, c.WebhookSecret = nil, nil
	return c, nil
}

// connection returns the connection with its sealed secrets to a maintainer of its team.
func (s *Service) connection(ctx context.Context, id string) (*models.Connection, error) {
	var c models.Connection
	if err := s.DB.WithContext(ctx).Preload("Team").Where("id = ?", id).Take(&c).Error; err != nil {
		return nil, models.FromDB(err, "connection")
	}
	if err := models.Authorize(ctx, c.TeamID, models.RoleMaintainer, "connection"); err != nil {
		return nil, err
	}
	return &c, nil
}

// Create makes a connection of a team, whose maintainers may, and returns it with the secret of its webhooks, which is
// shown this once. The team's repositories on the forge's host that have no connection get this one.
func (s *Service) Create(ctx context.Context, in NewConnection) (*models.Connection, string, error) {
	team, err := s.team(ctx, in.Team)
	if err != nil {
		return nil, "", err
	}
	c := &models.Connection{ID: models.NewID(), TeamID: team.ID, Kind: in.Kind, Credential: models.ConnectionNone}
	if p := models.PrincipalFrom(ctx); p != nil {
		c.CreatedBy = p.UserID
	}
	change := UpdateConnection{Name: &in.Name, BaseURL: &in.BaseURL, Settings: in.Settings}
	if in.Credential != "" {
		change.Credential = &in.Credential
	}
	if err := s.edit(c, change); err != nil {
		return nil, "", err
	}
	secret := s.newHookSecret(c)
	err = s.commit(ctx, c, "connection.create", func(tx *gorm.DB) error {
		if err := tx.Create(c).Error; err != nil {
			return named(err, c.Name)
		}
		return adopt(tx, c)
	})
	if err != nil {
		return nil, "", err
	}
	c.Team = team
	return c, secret, nil
}

// adopt gives the connection to the team's repositories on its host that have none.
func adopt(tx *gorm.DB, c *models.Connection) error {
	var found []models.Repository
	if err := tx.Select("id", "clone_url").Where("team_id = ? AND connection_id IS NULL", c.TeamID).Find(&found).Error; err != nil {
		return err
	}
	var ids []string
	for _, r := range found {
		if at, err := git.ParseAddress(r.CloneURL); err == nil && c.Serves(at.Host) {
			ids = append(ids, r.ID)
		}
	}
	for some := range slices.Chunk(ids, 500) {
		if err := tx.Model(&models.Repository{}).Where("id IN ?", some).Update("connection_id", c.ID).Error; err != nil {
			return err
		}
	}
	return nil
}

// Update changes a connection; the team's maintainers may. An address on another host needs the credential's secrets
// given anew, for whoever may edit the address must not learn them.
func (s *Service) Update(ctx context.Context, id string, in UpdateConnection) (*models.Connection, error) {
	c, err := s.connection(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := s.edit(c, in); err != nil {
		return nil, err
	}
	err = s.commit(ctx, c, "connection.update", func(tx *gorm.DB) error {
		if err := tx.Select("name", "base_url", "credential", "settings", "secrets", "updated_at").Updates(c).Error; err != nil {
			return named(err, c.Name)
		}
		return s.retry(tx, c.ID)
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, id)
}

// RotateSecret gives the connection's webhooks a new secret and returns it, this once; the team's maintainers may. What
// is signed with the old one is refused from then on.
func (s *Service) RotateSecret(ctx context.Context, id string) (*models.Connection, string, error) {
	c, err := s.connection(ctx, id)
	if err != nil {
		return nil, "", err
	}
	secret := s.newHookSecret(c)
	err = s.commit(ctx, c, "connection.rotate", func(tx *gorm.DB) error {
		return tx.Select("webhook_secret", "updated_at").Updates(c).Error
	})
	if err != nil {
		return nil, "", err
	}
	c.Secrets, c.WebhookSecret = nil, nil
	return c, secret, nil
}

// Delete deletes a connection; the team's maintainers may. Its repositories stay, without a connection.
func (s *Service) Delete(ctx context.Context, id string) error {
	c, err := s.connection(ctx, id)
	if err != nil {
		return err
	}
	return s.commit(ctx, c, "connection.delete", func(tx *gorm.DB) error {
		err := tx.Model(&models.Repository{}).Where("connection_id = ?", id).Updates(map[string]any{"connection_id": nil, "external_id": ""}).Error
		if err != nil {
			return err
		}
		return tx.Delete(&models.Connection{}, "id = ?", id).Error
	})
}

// Repositories returns the repositories that use the connection, by name; the team's maintainers may ask. At most a
// hundred are named.
func (s *Service) Repositories(ctx context.Context, id string) ([]models.Repository, error) {
	if _, err := s.connection(ctx, id); err != nil {
		return nil, err
	}
	var list []models.Repository
	err := s.DB.WithContext(ctx).Omit("credential_secret").Where("connection_id = ?", id).Order("name").Limit(models.MaxLimit).Find(&list).Error
	return list, err
}
