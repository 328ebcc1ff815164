package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/events"
	"slipway.dev/services/git"
)

const (
	// CountEvery is how often CountCommits is meant to run.
	CountEvery = 5 * time.Second
	// CountOldEvery is how often CountOldCommits is meant to run.
	CountOldEvery = 10 * time.Minute

	countAtOnce = 50        // pairs of commits that one run reads from git
	countRecent = time.Hour // deployments that CountCommits looks at
	countOld    = 90 * 24 * time.Hour
	countAgain  = time.Hour // after it failed
	keptCommits = 100       // that a range lists
)

// span names a range of commits of a repository.
type span struct{ RepositoryID, Base, Head string }

// spanOf is the range from what base runs to what head runs, and false where Slipway does not know both commits, or they are one.
func spanOf(repositoryID string, base, head *models.Deployment) (span, bool) {
	if base == nil || head == nil || base.Build == nil || head.Build == nil || base.Build.Commit == head.Build.Commit {
		return span{}, false
	}
	return span{repositoryID, base.Build.Commit, head.Build.Commit}, true
}

// ranges reads the ranges that have been counted, with their lists of commits where wanted.
func ranges(db *gorm.DB, wanted map[span]bool, lists bool) (map[span]models.CommitRange, error) {
	known := map[span]models.CommitRange{}
	repositories, bases, heads := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for r := range wanted {
		repositories[r.RepositoryID], bases[r.Base], heads[r.Head] = true, true, true
	}
	if !lists {
		db = db.Omit("commits")
	}
	for chunk := range slices.Chunk(keys(repositories), idChunk) {
		var rows []models.CommitRange
		if err := db.Session(&gorm.Session{}).Where("repository_id IN ? AND base IN ? AND head IN ?", chunk, keys(bases), keys(heads)).Find(&rows).Error; err != nil {
			return nil, err
		}
		for _, r := range rows {
			if key := (span{r.RepositoryID, r.Base, r.Head}); wanted[key] {
				known[key] = r
			}
		}
	}
	return known, nil
}

// uncounted is a range that somebody will want to see, and where.
type uncounted struct {
	TeamID, EnvironmentID    string
	RepositoryID, Base, Head string
}

// CountCommits counts the commits between neighbours on boards and those that
// fresh deployments brought, where that was not done yet, and tells the pages.
// Every worker may run it: two that count the same write the same.
func (s *Service) CountCommits(ctx context.Context) error {
	apart, err := s.apart(ctx)
	if err != nil {
		return err
	}
	brought, err := s.brought(ctx, countRecent)
	if err != nil {
		return err
	}
	return s.countAll(ctx, append(apart, brought...))
}

// CountOldCommits counts the commits that deployments of the last months
// brought, some at a time, so that what was deployed before they were counted has them too.
func (s *Service) CountOldCommits(ctx context.Context) error {
	brought, err := s.brought(ctx, countOld)
	if err != nil {
		return err
	}
	return s.countAll(ctx, brought)
}

const uncountedJoin = `LEFT JOIN commit_ranges c ON c.repository_id = apps.repository_id AND c.base = bb."commit" AND c.head = hb."commit"
	WHERE bb."commit" <> hb."commit" AND (c.base IS NULL OR (c.note <> '' AND c.counted_at < ?))`

// apart are the ranges between neighbours that are not counted.
func (s *Service) apart(ctx context.Context) (list []uncounted, err error) {
	stages := pipeline(s.DB.DB).Select("id, LAG(id) OVER (PARTITION BY team_id ORDER BY " + leftToRight + ") AS left_id")
	err = s.DB.WithContext(ctx).Raw(`SELECT apps.team_id, d.environment_id, apps.repository_id, bb."commit" AS base, hb."commit" AS head
		FROM (?) stage
		JOIN deployments d ON d.environment_id = stage.id AND d.active
		JOIN deployments p ON p.environment_id = stage.left_id AND p.app_id = d.app_id AND p.active
		JOIN builds bb ON bb.id = d.build_id JOIN builds hb ON hb.id = p.build_id
		JOIN apps ON apps.id = d.app_id `+uncountedJoin+` LIMIT ?`, stages, s.now().Add(-countAgain), countAtOnce).Scan(&list).Error
	return list, err
}

// brought are the ranges of what deployments that began to serve not longer ago have changed, the newest first.
func (s *Service) brought(ctx context.Context, ago time.Duration) (list []uncounted, err error) {
	ms := s.now().Add(-ago).UnixMilli() // ids sort by time (RFC 9562 §5.7)
	first := fmt.Sprintf("%08x-%04x-7000-8000-000000000000", ms>>16, ms&0xffff)
	err = s.DB.WithContext(ctx).Raw(`SELECT apps.team_id, d.environment_id, apps.repository_id, bb."commit" AS base, hb."commit" AS head
		FROM deployments d
		JOIN deployments p ON p.id = d.previous_id
		JOIN builds bb ON bb.id = p.build_id JOIN builds hb ON hb.id = d.build_id
		JOIN apps ON apps.id = d.app_id `+uncountedJoin+` AND d.id > ? ORDER BY d.id DESC LIMIT ?`, s.now().Add(-countAgain), first, countAtOnce).Scan(&list).Error
	return list, err
}

// countAll counts the ranges, each once, and tells the environments about it.
func (s *Service) countAll(ctx context.Context, list []uncounted) error {
	done, fetched := map[span]bool{}, map[string]bool{}
	told := map[string]string{}
	var errs []error
	for _, u := range list {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r := (span{u.RepositoryID, u.Base, u.Head}); !done[r] {
			done[r] = true
			if err := s.countOne(ctx, r, fetched); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		told[u.EnvironmentID] = u.TeamID
	}
	for environment, team := range told {
		event := models.Event{TeamID: team, Kind: "environment.commits", Topic: "environment:" + environment, Parent: "team:" + team}
		errs = append(errs, events.Publish(s.DB.WithContext(ctx), event))
	}
	return errors.Join(errs...)
}

// countOne reads a range from git and stores it. A mirror that lacks a commit
// is fetched, each repository once a run; what can't be read then is noted and tried again later.
func (s *Service) countOne(ctx context.Context, r span, fetched map[string]bool) error {
	between, err := s.Git.Between(ctx, r.RepositoryID, r.Base, r.Head, keptCommits)
	if err != nil && s.Refresh != nil && !fetched[r.RepositoryID] {
		fetched[r.RepositoryID] = true
		if s.Refresh(ctx, r.RepositoryID) == nil {
			between, err = s.Git.Between(ctx, r.RepositoryID, r.Base, r.Head, keptCommits)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	row := models.CommitRange{RepositoryID: r.RepositoryID, Base: r.Base, Head: r.Head, CountedAt: s.now()}
	if err != nil {
		row.Note = "The commits can't be counted: the repository does not have both any more, or can't be read."
	} else {
		row.Ahead, row.Behind, row.Commits = between.Ahead, between.Behind, changesOf(between.Commits)
	}
	if told := new(models.Error); errors.As(err, &told) {
		err = nil // the note is all that there is to say
	}
	onlyNotes := clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "commit_ranges.note <> ''"}}} // what was counted stays
	return errors.Join(err, s.DB.WithContext(ctx).Clauses(clause.OnConflict{UpdateAll: true, Where: onlyNotes}).Create(&row).Error)
}

func changesOf(list []git.Commit) []models.ChangeCommit {
	out := make([]models.ChangeCommit, len(list))
	for i, c := range list {
		out[i] = models.ChangeCommit{ID: c.ID, Subject: c.Subject, Author: c.Author, Email: c.Email, Time: c.Time}
	}
	return out
}
