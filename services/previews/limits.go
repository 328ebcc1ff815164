package previews

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// maxTeamLimit is the largest limit that makes sense.
const maxTeamLimit = 1000

// taking are the states of previews that take a place: also one that is being removed still runs.
var taking = []models.PreviewState{models.PreviewLive, models.PreviewEnding}

// count counts the previews of the team, or of the app where it is given, that take a place, and that wait for one.
func count(tx *gorm.DB, column, id string) (live, queued int, err error) {
	var rows []struct {
		State models.PreviewState
		N     int
	}
	err = tx.Model(&models.Preview{}).Select("state, COUNT(*) AS n").Where(column+" = ? AND state IN ?", id, append([]models.PreviewState{models.PreviewQueued}, taking...)).Group("state").Scan(&rows).Error
	for _, r := range rows {
		if r.State == models.PreviewQueued {
			queued += r.N
		} else {
			live += r.N
		}
	}
	return live, queued, err
}

func (s *Service) usage(tx *gorm.DB, team models.Team) (u models.PreviewUsage, err error) {
	u.Team, u.Limit = team, cmp.Or(team.PreviewLimit, s.TeamLimit)
	u.Live, u.Queued, err = count(tx, "team_id", team.ID)
	return u, err
}

// Usage returns how many previews the team has and may have; its viewers may ask.
func (s *Service) Usage(ctx context.Context, teamID string) (u models.PreviewUsage, err error) {
	if err := models.Authorize(ctx, teamID, models.RoleViewer, "team"); err != nil {
		return u, err
	}
	var team models.Team
	if err := s.DB.WithContext(ctx).Take(&team, "id = ?", teamID).Error; err != nil {
		return u, models.FromDB(err, "team")
	}
	return s.usage(s.DB.WithContext(ctx), team)
}

// Limits lists the limits of all teams by slug, for admins.
func (s *Service) Limits(ctx context.Context) ([]models.PreviewUsage, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	return s.usages(s.DB.WithContext(ctx))
}

// Usages lists how many previews each of the principal's teams has and may have, by slug; at most a hundred teams.
func (s *Service) Usages(ctx context.Context) ([]models.PreviewUsage, error) {
	p := models.PrincipalFrom(ctx)
	switch {
	case p == nil:
		return nil, models.Errorf(models.Unauthorized, "Sign in first.")
	case !p.HasScope(models.ScopeRead):
		return nil, models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeRead)
	}
	q := s.DB.WithContext(ctx).Limit(models.MaxLimit)
	if ids, all := p.TeamIDs(); !all {
		q = q.Where("id IN ?", append(ids, ""))
	}
	return s.usages(q)
}

// usages reckons the usage of the teams of the query.
func (s *Service) usages(q *gorm.DB) ([]models.PreviewUsage, error) {
	var teams []models.Team
	if err := q.Order("slug").Find(&teams).Error; err != nil {
		return nil, err
	}
	var rows []struct {
		TeamID string
		State  models.PreviewState
		N      int
	}
	err := q.Session(&gorm.Session{NewDB: true}).Model(&models.Preview{}).Select("team_id, state, COUNT(*) AS n").
		Where("state IN ?", append([]models.PreviewState{models.PreviewQueued}, taking...)).Group("team_id, state").Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	all := make([]models.PreviewUsage, len(teams))
	at := map[string]*models.PreviewUsage{}
	for i, t := range teams {
		all[i] = models.PreviewUsage{Team: t, Limit: cmp.Or(t.PreviewLimit, s.TeamLimit)}
		at[t.ID] = &all[i]
	}
	for _, r := range rows {
		if u := at[r.TeamID]; u != nil && r.State == models.PreviewQueued {
			u.Queued += r.N
		} else if u != nil {
			u.Live += r.N
		}
	}
	return all, nil
}

// SetLimit sets how many previews the team has at once; admins may. 0 leaves it
// to the settings. Where it becomes smaller, those that there are stay until they end.
func (s *Service) SetLimit(ctx context.Context, slug string, limit int) (u models.PreviewUsage, err error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return u, err
	}
	if limit < 0 || limit > maxTeamLimit {
		return u, models.InvalidField("previews", "A team has 1 to %d previews at once; 0 leaves it to the settings.", maxTeamLimit)
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var team models.Team
		if err := tx.Take(&team, "slug = ?", slug).Error; err != nil {
			return models.FromDB(err, "team")
		}
		team.PreviewLimit = limit
		if err := tx.Model(&team).UpdateColumn("preview_limit", limit).Error; err != nil {
			return fmt.Errorf("setting a team's limit of previews: %w", err)
		}
		if err := audit.Record(ctx, tx, audit.Entry{TeamID: team.ID, Action: "team.limit", Subject: "team:" + team.ID, Name: team.Slug, Detail: map[string]string{"previews": strconv.Itoa(limit)}}); err != nil {
			return err
		}
		if err := events.Publish(tx, models.Event{TeamID: team.ID, Kind: "team.limit", Topic: "team:" + team.ID, Parent: "previews"}); err != nil {
			return err
		}
		u, err = s.usage(tx, team)
		return err
	})
	return u, err
}
