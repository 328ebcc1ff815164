// Package retention keeps the embedded registry small without losing anything.
//
// A policy is a list of rules that keep images. What no rule keeps, nothing uses
// and is old enough goes, at most once a day and by way of what can be restored
// for a while. One plan decides for the page that shows it and for the clean-up
// that follows it.
package retention

import (
	"context"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registry"
)

const (
	daily    = 24 * time.Hour
	lookDue  = 10 * time.Minute
	countOf  = 30 * time.Minute
	runsKept = 90 * daily
	daysKept = 400 * daily
)

// Service plans clean-ups, runs them, and counts what images take.
type Service struct {
	DB       *models.Database
	Registry *registry.Service
	Jobs     *jobs.Queue
}

// Register names the work that a process with this service can do.
func (s *Service) Register(q *jobs.Queue) {
	jobs.Register(q, s.Clean)
	q.Every(lookDue, "queueing clean-ups of images", s.RunDue)
	q.Every(countOf, "counting what images take", s.CountAll)
	q.Every(time.Hour, "forgetting old clean-ups", s.Prune)
}

// Prune gives up clean-ups that have not ended within a day, and forgets those and counts of long ago.
func (s *Service) Prune(ctx context.Context) error {
	now := s.DB.NowFunc()
	db := s.DB.WithContext(ctx)
	lost := map[string]any{"state": models.RetentionFailed, "finished_at": now,
		"error": "It did not come to its end within a day, and the server's log says why. What it deleted can be restored; the next one goes on."}
	unended := []models.RetentionState{models.RetentionQueued, models.RetentionRunning}
	if err := db.Model(&models.RetentionRun{}).Where("state IN ? AND created_at < ?", unended, now.Add(-daily)).Updates(lost).Error; err != nil {
		return err
	}
	if err := db.Where("created_at < ?", now.Add(-runsKept)).Delete(&models.RetentionRun{}).Error; err != nil {
		return err
	}
	return db.Where("day < ?", dayOf(now.Add(-daysKept))).Delete(&models.RegistryUsageDay{}).Error
}

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// repository finds the repository for the context's principal, who must have the role in its team.
func (s *Service) repository(ctx context.Context, name string, role models.Role) (row models.RegistryRepository, err error) {
	if err := s.DB.WithContext(ctx).Where("name = ?", name).Take(&row).Error; err != nil {
		return row, models.FromDB(err, "image repository")
	}
	return row, models.Authorize(ctx, row.TeamID, role, "image repository")
}

// team finds the team by its slug for the context's principal, who must have the role in it.
func (s *Service) team(ctx context.Context, slug string, role models.Role) (row models.Team, err error) {
	if err := s.DB.WithContext(ctx).Where("slug = ?", slug).Take(&row).Error; err != nil {
		return row, models.FromDB(err, "team")
	}
	return row, models.Authorize(ctx, row.ID, role, "team")
}

// actor is who acts, for people; nobody where Slipway itself does.
func actor(ctx context.Context) (id, name string) {
	p := models.PrincipalFrom(ctx)
	if p == nil || p.Kind == models.PrincipalSystem {
		return "", ""
	}
	if p.UserID != "" {
		return p.UserID, p.Name
	}
	return p.ID, p.Name
}

// lock holds the repository's row until tx ends: pushes, deployments and deletions wait.
func lock(tx *gorm.DB, name string) (row models.RegistryRepository, err error) {
	err = tx.Clauses(forUpdate).Where("name = ?", name).Take(&row).Error
	return row, models.FromDB(err, "image repository")
}
