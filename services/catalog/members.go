package catalog

import (
	"context"
	"errors"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// maxUsers is how many people a search for new members shows.
const maxUsers = 20

// SetMember is the role that a user is to have in a team.
type SetMember struct {
	Role models.Role `json:"role" form:"role" enum:"viewer,developer,maintainer"`
}

// Members lists the team's members with their users, those who joined first at the top.
func (s *Service) Members(ctx context.Context, slug string) ([]models.Member, error) {
	team, err := s.team(ctx, slug, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	var members []models.Member
	err = s.DB.WithContext(ctx).Preload("User").Where("team_id = ?", team.ID).Order("created_at, user_id").Find(&members).Error
	return members, err
}

// FindUsers searches the people who have signed in by the beginning of their name or e-mail address, for a maintainer
// who adds a member. People are told apart by their issuer; an e-mail address proves nothing.
func (s *Service) FindUsers(ctx context.Context, slug, text string) ([]models.User, error) {
	if _, err := s.team(ctx, slug, models.RoleMaintainer); err != nil {
		return nil, err
	}
	pattern := likePrefix(text)
	var users []models.User
	err := s.DB.WithContext(ctx).Where("disabled_at IS NULL").
		Where(`LOWER(name) LIKE ? ESCAPE '!' OR LOWER(email) LIKE ? ESCAPE '!'`, pattern, pattern).
		Order("name, id").Limit(maxUsers).Find(&users).Error
	return users, err
}

func likePrefix(text string) string {
	text = strings.ToLower(strings.TrimSpace(text))
	return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(text) + "%"
}

// SetMember gives a user, by id, a role in the team, adding the user where needed. Maintainers may; the last
// maintainer can't be made anything less.
func (s *Service) SetMember(ctx context.Context, slug, userID string, in SetMember) (*models.Member, error) {
	team, err := s.team(ctx, slug, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	if !in.Role.Valid() {
		return nil, models.InvalidField("role", "Choose viewer, developer or maintainer.")
	}
	user, err := s.user(ctx, userID)
	if err != nil {
		return nil, err
	}
	member := &models.Member{TeamID: team.ID, UserID: user.ID, Role: in.Role}
	err = s.commit(ctx, memberChange(team, user, "member.set", in.Role), func(tx *gorm.DB) error {
		if err := keepMaintainer(tx, team, user.ID, in.Role); err != nil {
			return err
		}
		return tx.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "team_id"}, {Name: "user_id"}}, DoUpdates: clause.AssignmentColumns([]string{"role"}),
		}).Create(member).Error
	})
	if err != nil {
		return nil, err
	}
	member.User = user
	return member, nil
}

// RemoveMember takes a user out of the team. Maintainers may, and members themselves; the last maintainer stays.
func (s *Service) RemoveMember(ctx context.Context, slug, userID string) error {
	role := models.RoleMaintainer
	if p := models.PrincipalFrom(ctx); p != nil && p.UserID == userID && p.Kind == models.PrincipalSession {
		role = models.RoleViewer
	}
	team, err := s.team(ctx, slug, role)
	if err != nil {
		return err
	}
	user, err := s.user(ctx, userID)
	if err != nil {
		return err
	}
	return s.commit(ctx, memberChange(team, user, "member.remove", ""), func(tx *gorm.DB) error {
		if err := keepMaintainer(tx, team, user.ID, ""); err != nil {
			return err
		}
		gone := tx.Where("team_id = ? AND user_id = ?", team.ID, user.ID).Delete(&models.Member{})
		if gone.Error == nil && gone.RowsAffected == 0 {
			return models.Errorf(models.NotFound, "No such member.")
		}
		return gone.Error
	})
}

func (s *Service) user(ctx context.Context, id string) (*models.User, error) {
	var user models.User
	err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&user).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, models.Errorf(models.NotFound, "No such user. People appear here once they have signed in.")
	}
	return &user, err
}

// keepMaintainer refuses a change that would leave the team without a maintainer. It locks the team's row, so that two
// such changes can't pass each other.
func keepMaintainer(tx *gorm.DB, team *models.Team, userID string, role models.Role) error {
	if role == models.RoleMaintainer {
		return nil
	}
	if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", team.ID).Take(&models.Team{}).Error; err != nil {
		return models.FromDB(err, "team")
	}
	var maintainers []models.Member
	if err := tx.Where("team_id = ? AND role = ?", team.ID, models.RoleMaintainer).Limit(2).Find(&maintainers).Error; err != nil {
		return err
	}
	if len(maintainers) == 1 && maintainers[0].UserID == userID {
		return models.Errorf(models.Conflict, "This is the last maintainer of %s. Make somebody else a maintainer first.", team.Name)
	}
	return nil
}

func memberChange(team *models.Team, user *models.User, action string, role models.Role) change {
	detail := map[string]string{"user": user.ID, "issuer": user.Issuer}
	if role != "" {
		detail["role"] = string(role)
	}
	name := user.Name
	if name == "" {
		name = user.Email
	}
	return change{team: team.ID, action: action, subject: "team:" + team.ID, name: name, detail: detail}
}
