package builds

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

const (
	shownWaiting = 100 // builds on the board
	maxTeamLimit = 1000
)

// Board returns the queue to admins.
func (s *Service) Board(ctx context.Context) (*models.Board, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	db := s.DB.WithContext(ctx)
	l, err := s.line(db, allPlaces)
	if err != nil {
		return nil, err
	}
	var teams []models.Team
	if err := db.Order("slug").Find(&teams).Error; err != nil {
		return nil, fmt.Errorf("reading the teams: %w", err)
	}
	return l.board(teams, models.PrincipalFrom(ctx)), nil
}

func (l *line) board(teams []models.Team, p *models.Principal) *models.Board {
	b := &models.Board{Total: l.total}
	order := l.order()
	for at, w := range order[:min(len(order), shownWaiting)] {
		b.Waiting = append(b.Waiting, models.WaitingBuild{
			ID: w.ID, Name: w.name(), Team: w.Team, Trigger: w.Trigger, QueuedAt: w.QueuedAt, Front: w.FrontAt != nil, Reason: l.why(order, at, p),
		})
	}
	slugs, running := map[string]string{}, l.byTeam()
	for _, t := range teams {
		slugs[t.ID] = t.Slug
		b.Limits = append(b.Limits, models.TeamLimit{Team: t, Limit: l.limits[t.ID], Running: running[t.ID]})
	}
	for _, r := range l.running {
		build := models.RunningBuild{ID: r.ID, Name: fmt.Sprintf("%s #%d", r.App, r.Number), Team: slugs[r.TeamID], WorkerID: r.Worker, StartedAt: r.StartedAt}
		if w := l.worker(r.Worker); w != nil {
			build.Host = w.Host
		}
		b.Running = append(b.Running, build)
	}
	slices.SortStableFunc(b.Running, func(x, y models.RunningBuild) int {
		if x.StartedAt == nil || y.StartedAt == nil {
			return 0
		}
		return cmp.Or(x.StartedAt.Compare(*y.StartedAt), cmp.Compare(x.ID, y.ID))
	})
	return b
}

// MoveToFront has a queued build go before all others; admins may. Limits hold for it too.
func (s *Service) MoveToFront(ctx context.Context, id string) (*models.Build, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	b, err := s.build(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	now := s.DB.NowFunc()
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		r := tx.Model(&models.Build{}).Where("id = ? AND state = ?", id, models.BuildQueued).Update("front_at", now)
		if r.Error != nil {
			return fmt.Errorf("moving a build to the front: %w", r.Error)
		}
		if r.RowsAffected == 0 {
			return models.Errorf(models.Conflict, "Build %s does not wait in the queue any more.", b.Title())
		}
		b.FrontAt = &now
		if err := s.wake(ctx, tx, 1); err != nil {
			return err
		}
		return s.record(ctx, tx, b, b.App, "build.front")
	})
	return b, err
}

// SetTeamLimit sets how many builds of the team run at once; admins may. 0 leaves it to the settings.
func (s *Service) SetTeamLimit(ctx context.Context, slug string, limit int) (*models.TeamLimit, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	if limit < 0 || limit > maxTeamLimit {
		return nil, models.InvalidField("builds", "A team runs 1 to %d builds at once; 0 leaves it to the settings.", maxTeamLimit)
	}
	var team models.Team
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Where("slug = ?", slug).Take(&team).Error; err != nil {
			return models.FromDB(err, "team")
		}
		team.BuildLimit = limit
		if err := tx.Model(&team).UpdateColumn("build_limit", limit).Error; err != nil {
			return fmt.Errorf("setting a team's limit: %w", err)
		}
		entry := audit.Entry{TeamID: team.ID, Action: "team.limit", Subject: "team:" + team.ID, Name: team.Slug, Detail: map[string]string{"builds": strconv.Itoa(limit)}}
		if err := audit.Record(ctx, tx, entry); err != nil {
			return err
		}
		if err := s.wake(ctx, tx, maxWorkerBuilds); err != nil {
			return err
		}
		return events.Publish(tx, models.Event{Kind: "team.limit", Topic: "team:" + team.ID, Parent: "queue", Data: map[string]string{}})
	})
	if err != nil {
		return nil, err
	}
	var running int64
	if err := s.DB.WithContext(ctx).Model(&models.Build{}).Where("team_id = ? AND state = ?", team.ID, models.BuildRunning).Count(&running).Error; err != nil {
		return nil, fmt.Errorf("counting the team's builds: %w", err)
	}
	return &models.TeamLimit{Team: team, Limit: cmp.Or(limit, s.TeamBuilds), Running: int(running)}, nil
}
