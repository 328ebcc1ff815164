package builds

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

const (
	shownWaiting = 100 // builds on the board
	maxTeamLimit = 1000
)

// Board is the queue as admins see it.
type Board struct {
	Waiting []WaitingBuild // in the order they will be taken in, as far as it can be known; at most 100
	Total   int64          // of all that wait
	Running []RunningBuild // the oldest first
	Limits  []TeamLimit    // of all teams, by slug
}

// WaitingBuild is a build that waits, and why.
type WaitingBuild struct {
	ID       string
	Name     string // such as checkout #12
	Team     string // slug
	Trigger  models.BuildTrigger
	QueuedAt time.Time
	Front    bool // an admin moved it to the front
	Reason   models.Wait
}

// RunningBuild is a build that a worker carries.
type RunningBuild struct {
	ID        string
	Name      string
	Team      string
	WorkerID  string
	Host      string // of the worker; empty where it is dead
	StartedAt *time.Time
}

// TeamLimit is how many builds of a team run at once, and how many may.
type TeamLimit struct {
	Team    models.Team
	Limit   int // 0: any number
	Running int
}

// Board returns the queue to admins.
func (s *Service) Board(ctx context.Context) (*Board, error) {
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

func (l *line) board(teams []models.Team, p *models.Principal) *Board {
	b := &Board{Total: l.total}
	order := l.order()
	for at, w := range order[:min(len(order), shownWaiting)] {
		b.Waiting = append(b.Waiting, WaitingBuild{w.ID, w.name(), w.Team, w.Trigger, w.QueuedAt, w.FrontAt != nil, l.why(order, at, p)})
	}
	slugs, running := map[string]string{}, l.byTeam()
	for _, t := range teams {
		slugs[t.ID] = t.Slug
		b.Limits = append(b.Limits, TeamLimit{t, l.limits[t.ID], running[t.ID]})
	}
	for _, r := range l.running {
		build := RunningBuild{ID: r.ID, Name: fmt.Sprintf("%s #%d", r.App, r.Number), Team: slugs[r.TeamID], WorkerID: r.Worker, StartedAt: r.StartedAt}
		if w := l.worker(r.Worker); w != nil {
			build.Host = w.Host
		}
		b.Running = append(b.Running, build)
	}
	slices.SortStableFunc(b.Running, func(x, y RunningBuild) int {
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
	b, err := s.build(ctx, id, models.RoleDeveloper)
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
		return record(ctx, tx, b, b.App, "build.front")
	})
	return b, err
}

// SetTeamLimit sets how many builds of the team run at once; admins may. 0 leaves it to the settings.
func (s *Service) SetTeamLimit(ctx context.Context, slug string, limit int) (*TeamLimit, error) {
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
		return s.wake(ctx, tx, maxWorkerBuilds)
	})
	if err != nil {
		return nil, err
	}
	var running int64
	if err := s.DB.WithContext(ctx).Model(&models.Build{}).Where("team_id = ? AND state = ?", team.ID, models.BuildRunning).Count(&running).Error; err != nil {
		return nil, fmt.Errorf("counting the team's builds: %w", err)
	}
	return &TeamLimit{team, cmp.Or(limit, s.TeamBuilds), int(running)}, nil
}
