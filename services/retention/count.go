package retention

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// held are the blobs that each repository has or could get back by a restoration.
const held = `SELECT r.team_id, l.repository, l.digest FROM registry_links l JOIN registry_repositories r ON r.name = l.repository
	WHERE l.released_at IS NULL OR EXISTS (SELECT 1 FROM registry_references x WHERE x.repository = l.repository AND x.child = l.digest)
	UNION SELECT d.team_id, d.repository, x.child FROM registry_deleted_references x JOIN registry_deletions d ON d.id = x.deletion_id
		JOIN registry_blobs y ON y.digest = x.child`

// deleted are the blobs that only deleted images of the repository hold.
const deleted = `SELECT DISTINCT d.team_id, d.repository, x.child AS digest FROM registry_deleted_references x JOIN registry_deletions d ON d.id = x.deletion_id
	WHERE NOT EXISTS (SELECT 1 FROM registry_references l WHERE l.repository = d.repository AND l.child = x.child)`

// sum is a number of a repository, or of a team where the repository is empty.
type sum struct {
	TeamID     string
	Repository string
	Sum        int64
}

// CountAll counts what every repository and every team takes, unless another
// process has just done it, and keeps one count for each day.
func (s *Service) CountAll(ctx context.Context) error {
	var newest models.RegistryUsage
	db := s.DB.WithContext(ctx)
	if err := db.Order("counted_at DESC").Limit(1).Find(&newest).Error; err != nil {
		return fmt.Errorf("looking for the last count of images: %w", err)
	}
	if s.DB.NowFunc().Sub(newest.CountedAt) < countOf/2 {
		return nil
	}
	return s.Count(ctx)
}

// Count counts what every repository and every team takes, with a few queries for all of them.
func (s *Service) Count(ctx context.Context) error {
	rows, err := s.measure(s.DB.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("counting what images take: %w", err)
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Where("counted_at < ?", s.DB.NowFunc().Add(-daily)).Delete(&models.RegistryUsage{}).Error; err != nil {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
		columns := clause.AssignmentColumns([]string{"bytes", "tags", "images", "deleted_bytes", "counted_at"})
		if err := tx.Clauses(clause.OnConflict{Columns: usageKey, DoUpdates: columns}).CreateInBatches(rows, 500).Error; err != nil {
			return err
		}
		days := make([]models.RegistryUsageDay, 0, len(rows))
		for _, r := range rows {
			days = append(days, models.RegistryUsageDay{TeamID: r.TeamID, Repository: r.Repository, Day: dayOf(r.CountedAt), Bytes: r.Bytes})
		}
		return tx.Clauses(clause.OnConflict{UpdateAll: true}).CreateInBatches(days, 500).Error
	})
	if err != nil {
		return fmt.Errorf("writing down what images take: %w", err)
	}
	return s.countAllFrees(ctx)
}

var usageKey = []clause.Column{{Name: "team_id"}, {Name: "repository"}}

// measure runs one query for each number, for repositories and for teams.
func (s *Service) measure(db *gorm.DB) ([]models.RegistryUsage, error) {
	now := s.DB.NowFunc()
	usage := map[[2]string]*models.RegistryUsage{}
	at := func(team, repository string) *models.RegistryUsage {
		key := [2]string{team, repository}
		if usage[key] == nil {
			usage[key] = &models.RegistryUsage{TeamID: team, Repository: repository, CountedAt: now}
		}
		return usage[key]
	}
	const size = "CAST(SUM(b.size) AS BIGINT) AS sum"
	for _, q := range []struct {
		sql string
		add func(u *models.RegistryUsage, n int64)
	}{
		{"SELECT u.team_id, u.repository, " + size + " FROM (" + held + ") u JOIN registry_blobs b ON b.digest = u.digest GROUP BY u.team_id, u.repository",
			func(u *models.RegistryUsage, n int64) { u.Bytes += n }},
		{"SELECT u.team_id, '' AS repository, " + size + " FROM (SELECT DISTINCT team_id, digest FROM (" + held + ") h) u JOIN registry_blobs b ON b.digest = u.digest GROUP BY u.team_id",
			func(u *models.RegistryUsage, n int64) { u.Bytes += n }},
		{"SELECT u.team_id, u.repository, " + size + " FROM (" + deleted + ") u JOIN registry_blobs b ON b.digest = u.digest GROUP BY u.team_id, u.repository",
			func(u *models.RegistryUsage, n int64) { u.DeletedBytes += n }},
		{"SELECT r.team_id, t.repository, COUNT(*) AS sum FROM registry_tags t JOIN registry_repositories r ON r.name = t.repository GROUP BY r.team_id, t.repository",
			func(u *models.RegistryUsage, n int64) { u.Tags += n }},
		{`SELECT r.team_id, m.repository, COUNT(*) AS sum FROM registry_manifests m JOIN registry_repositories r ON r.name = m.repository
			WHERE m.subject = '' AND NOT EXISTS (SELECT 1 FROM registry_references x WHERE x.repository = m.repository AND x.child = m.digest) GROUP BY r.team_id, m.repository`,
			func(u *models.RegistryUsage, n int64) { u.Images += n }},
	} {
		var sums []sum
		if err := db.Raw(q.sql).Scan(&sums).Error; err != nil {
			return nil, err
		}
		for _, n := range sums {
			q.add(at(n.TeamID, n.Repository), n.Sum)
		}
	}
	return totals(usage, at), nil
}

// totals adds what counts of teams is the sum of their repositories.
func totals(usage map[[2]string]*models.RegistryUsage, at func(team, repository string) *models.RegistryUsage) []models.RegistryUsage {
	var repositories []*models.RegistryUsage
	for _, u := range usage {
		if u.Repository != "" {
			repositories = append(repositories, u)
		}
	}
	for _, u := range repositories {
		team := at(u.TeamID, "")
		team.Tags += u.Tags
		team.Images += u.Images
		team.DeletedBytes += u.DeletedBytes
	}
	rows := make([]models.RegistryUsage, 0, len(usage))
	for _, u := range usage {
		rows = append(rows, *u)
	}
	return rows
}

// countAllFrees plans every repository whose policy is on, to tell what its next clean-up would free.
func (s *Service) countAllFrees(ctx context.Context) error {
	var due []models.RegistryRepository
	err := s.DB.WithContext(ctx).Raw(`SELECT r.* FROM registry_repositories r WHERE r.push_id <> ''
		AND EXISTS (SELECT 1 FROM retention_policies p WHERE p.team_id = r.team_id AND p.enabled AND p.repository IN (r.name, ''))`).Scan(&due).Error
	if err != nil {
		return fmt.Errorf("looking for repositories with a policy: %w", err)
	}
	for _, r := range due {
		if err := s.countFrees(ctx, r.TeamID, r.Name); err != nil {
			return err
		}
	}
	return nil
}

// countFrees plans the repository and writes down what its next clean-up would free, of it and of its team.
func (s *Service) countFrees(ctx context.Context, teamID, name string) error {
	db := s.DB.WithContext(ctx)
	policy, err := effective(db, teamID, name)
	if err != nil {
		return err
	}
	var bytes int64
	if policy.Enabled {
		p, err := s.plan(db, models.RegistryRepository{Name: name, TeamID: teamID}, policy.RetentionPolicy)
		if err != nil {
			return err
		}
		bytes = p.Bytes
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		mine := tx.Model(&models.RegistryUsage{}).Where("team_id = ? AND repository = ?", teamID, name)
		if err := mine.UpdateColumn("frees_bytes", bytes).Error; err != nil {
			return err
		}
		all := tx.Session(&gorm.Session{NewDB: true}).Model(&models.RegistryUsage{}).Select("COALESCE(SUM(frees_bytes), 0)").Where("team_id = ? AND repository <> ''", teamID)
		return tx.Model(&models.RegistryUsage{}).Where("team_id = ? AND repository = ''", teamID).UpdateColumn("frees_bytes", all).Error
	})
}

// monthAgo is the day that growth is counted from.
func monthAgo(now time.Time) string { return dayOf(now.AddDate(0, 0, -30)) }
