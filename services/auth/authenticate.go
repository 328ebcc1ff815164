package auth

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// touchTimeout bounds how long a request waits to write down that its credential was used.
const touchTimeout = 250 * time.Millisecond

// Authenticate returns whom the session cookie's value stands for, with the
// roles of this moment. It fails with Unauthorized where the session is
// unknown, has ended, or its user is disabled.
func (s *Service) Authenticate(ctx context.Context, cookie string) (*models.Principal, error) {
	if cookie == "" {
		return nil, errSignIn
	}
	return s.bySession(ctx, digest(cookie))
}

// AuthenticateToken returns whom a bearer token stands for, with the roles of
// this moment and the token's scopes. It fails with Unauthorized where the
// token is unknown, expired or revoked, or its user is disabled. The credential of a run
// of a CI system counts too: it stands for a workload.
func (s *Service) AuthenticateToken(ctx context.Context, token string) (*models.Principal, error) {
	if !wellFormed(token) {
		if s.Workload != nil && strings.Count(token, ".") == 2 {
			return s.Workload(ctx, token)
		}
		return nil, errToken
	}
	return s.byToken(ctx, "tokens.hash = ?", digest(token))
}

// Reload reads a principal anew, so that long answers such as event streams
// notice that the session ended, the token was revoked or a role changed.
func (s *Service) Reload(ctx context.Context, p *models.Principal) (*models.Principal, error) {
	switch p.Kind {
	case models.PrincipalSession:
		return s.bySession(ctx, p.ID)
	case models.PrincipalToken:
		return s.byToken(ctx, "tokens.id = ?", p.ID)
	case models.PrincipalWorkload:
		if s.ReloadWorkload == nil {
			return nil, errToken
		}
		return s.ReloadWorkload(ctx, p)
	}
	return p, nil
}

type sessionRow struct {
	ID, UserID, Name string
	Admin            bool
	LastSeenAt       time.Time
}

func (s *Service) bySession(ctx context.Context, id string) (*models.Principal, error) {
	now := s.DB.NowFunc()
	var rows []sessionRow
	err := s.DB.WithContext(ctx).Table("sessions").
		Select("sessions.id, sessions.user_id, sessions.last_seen_at, users.name, users.admin").
		Joins("JOIN users ON users.id = sessions.user_id").
		Where("sessions.id = ? AND sessions.expires_at > ? AND sessions.last_seen_at > ?", id, now, now.Add(-s.idle())).
		Where("users.disabled_at IS NULL").Limit(1).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the session: %w", err)
	}
	if len(rows) == 0 {
		return nil, errSignIn
	}
	row := rows[0]
	p := &models.Principal{Kind: models.PrincipalSession, ID: row.ID, UserID: row.UserID, Name: row.Name, Admin: row.Admin}
	if p.Teams, err = s.roles(ctx, row.UserID); err != nil {
		return nil, err
	}
	if now.Sub(row.LastSeenAt) >= touchEvery {
		s.touch(ctx, s.DB.Model(&models.Session{}), "last_seen_at", row.ID, now)
	}
	return p, nil
}

// tokenRow is a token with one of the roles of its person: a person with several has several rows.
type tokenRow struct {
	models.Token
	UserName   string
	UserAdmin  bool
	TeamSlug   string
	MemberTeam string // empty where the person is in no team
	MemberRole models.Role
}

func (s *Service) byToken(ctx context.Context, where string, value string) (*models.Principal, error) {
	now := s.DB.NowFunc()
	var rows []tokenRow
	err := s.DB.WithContext(ctx).Table("tokens").
		Select("tokens.*, users.name AS user_name, users.admin AS user_admin, teams.slug AS team_slug, "+
			"members.team_id AS member_team, members.role AS member_role").
		Joins("LEFT JOIN users ON users.id = tokens.user_id").
		Joins("LEFT JOIN teams ON teams.id = tokens.team_id").
		Joins("LEFT JOIN members ON members.user_id = tokens.user_id").
		Where(where, value).
		Where("tokens.revoked_at IS NULL AND (tokens.expires_at IS NULL OR tokens.expires_at > ?)", now).
		Where("users.disabled_at IS NULL").Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	if len(rows) == 0 {
		return nil, errToken
	}
	p, err := tokenPrincipal(rows)
	if err != nil {
		return nil, err
	}
	if last := rows[0].LastUsedAt; last == nil || now.Sub(*last) >= touchEvery {
		s.touch(ctx, s.DB.Model(&models.Token{}), "last_used_at", p.ID, now)
	}
	return p, nil
}

func tokenPrincipal(rows []tokenRow) (*models.Principal, error) {
	row := rows[0]
	p := &models.Principal{Kind: models.PrincipalToken, ID: row.ID, Scopes: row.Scopes}
	if p.Scopes == nil {
		p.Scopes = []models.Scope{} // nil would mean all
	}
	switch {
	case row.Kind == models.TokenPersonal && row.UserID != nil:
		p.UserID, p.Name = *row.UserID, row.UserName
		p.Admin = row.UserAdmin && p.HasScope(models.ScopeAdmin) // an admin's lesser token is no admin
		p.Teams = make(map[string]models.Role, len(rows))
		for _, r := range rows {
			if r.MemberTeam != "" {
				p.Teams[r.MemberTeam] = r.MemberRole
			}
		}
		return p, nil
	case row.Kind == models.TokenTeam && row.TeamID != nil:
		p.Name = fmt.Sprintf("token %s of team %s", row.Name, row.TeamSlug)
		p.Teams = map[string]models.Role{*row.TeamID: row.Role}
		return p, nil
	case row.Kind == models.TokenBootstrap:
		p.Name, p.Admin = row.Name, true
		return p, nil
	}
	return nil, errToken
}

// roles returns the user's role in each team.
func (s *Service) roles(ctx context.Context, userID string) (map[string]models.Role, error) {
	var members []models.Member
	if err := s.DB.WithContext(ctx).Select("team_id", "role").Where("user_id = ?", userID).Find(&members).Error; err != nil {
		return nil, fmt.Errorf("reading the roles: %w", err)
	}
	roles := make(map[string]models.Role, len(members))
	for _, m := range members {
		roles[m.TeamID] = m.Role
	}
	return roles, nil
}

// touch writes down that the row was used just now. A busy database costs the request no more than a moment: the next one tries again.
func (s *Service) touch(ctx context.Context, rows *gorm.DB, column, id string, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	if err := rows.WithContext(ctx).Where("id = ?", id).UpdateColumn(column, now).Error; err != nil {
		slog.DebugContext(ctx, "writing down a credential's use", "error", err)
	}
}
