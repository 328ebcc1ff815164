package builds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
)

const maxNewTurns = 1000 // of one sweep

// Sweep clears up what processes that died left: folders of checkouts, missing
// turns, logs of ended builds that were never closed. It also ends the builds
// that waited too long. Every worker runs it regularly.
func (s *Service) Sweep(ctx context.Context) error {
	return errors.Join(s.sweepFolders(ctx), s.failOld(ctx), s.requeueLost(ctx), s.refollow(ctx), s.closeLogs(ctx))
}

// sweepFolders removes the folders of attempts that are over. A folder is
// named by its build and attempt, so several workers may share the place.
func (s *Service) sweepFolders(ctx context.Context) error {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for left-over checkouts: %w", err)
	}
	for _, e := range entries {
		id, attempt, ok := strings.Cut(e.Name(), ".")
		n, err := strconv.Atoi(attempt)
		if !ok || err != nil {
			continue
		}
		var b models.Build
		err = s.DB.WithContext(ctx).Where("id = ?", id).Take(&b).Error
		if err == nil && b.State == models.BuildRunning && b.Attempt == n {
			continue
		}
		if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
			return fmt.Errorf("looking for left-over checkouts: %w", err)
		}
		if err := os.RemoveAll(filepath.Join(s.Dir, e.Name())); err != nil {
			return fmt.Errorf("removing a left-over checkout: %w", err)
		}
	}
	return nil
}

// requeueLost adds the turns that are missing: every build that nobody carries
// needs one. A job that failed for good, or whose end could not be written
// while the database was away, took its turn with it.
func (s *Service) requeueLost(ctx context.Context) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		l, err := s.line(tx, 1)
		if err != nil {
			return err
		}
		open := l.total + int64(len(l.lost))
		if open == 0 {
			return nil
		}
		turns, err := s.Jobs.Waiting(tx, Args{}.Kind())
		if err != nil {
			return err
		}
		for range min(open-turns, maxNewTurns) {
			if err := s.Jobs.Insert(ctx, tx, jobs.QueueBuilds, Args{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// failOld ends the builds that waited for longer than they may.
func (s *Service) failOld(ctx context.Context) error {
	if s.QueueLimit == 0 {
		return nil
	}
	var old []models.Build
	err := s.DB.WithContext(ctx).Where("state = ? AND queued_at < ?", models.BuildQueued, s.DB.NowFunc().Add(-s.QueueLimit)).Limit(100).Find(&old).Error
	if err != nil {
		return fmt.Errorf("looking for builds that waited too long: %w", err)
	}
	for i := range old {
		if err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return s.failWaiting(ctx, tx, &old[i]) }); err != nil {
			return fmt.Errorf("ending a build that waited too long: %w", err)
		}
	}
	return nil
}

func (s *Service) failWaiting(ctx context.Context, tx *gorm.DB, b *models.Build) error {
	now := s.DB.NowFunc()
	if err := b.Move(models.BuildFailed); err != nil {
		return err
	}
	b.FinishedAt = &now
	b.Error = &models.BuildError{Class: ClassTimeout, Message: fmt.Sprintf(
		"The build waited for %s, the limit of the queue, and no worker took it. Look at what workers there are, then retry it.", duration(s.QueueLimit))}
	r := tx.Model(&models.Build{}).Where("id = ? AND state = ?", b.ID, models.BuildQueued).Select("State", "FinishedAt", "Error").Updates(b)
	if r.Error != nil || r.RowsAffected == 0 {
		return r.Error // a worker took it in this moment
	}
	if err := logs.End(tx, b.ID); err != nil {
		return err
	}
	if err := s.stopElsewhere(ctx, tx, b); err != nil {
		return err
	}
	return s.publish(tx, b, "build.failed")
}

// closeLogs ends the logs of builds whose worker died between the end of the build and the end of its log.
func (s *Service) closeLogs(ctx context.Context) error {
	db := s.DB.WithContext(ctx)
	ended := db.Model(&models.Build{}).Select("1").Where("builds.id = log_streams.id AND finished_at < ?", s.DB.NowFunc().Add(-time.Minute))
	var ids []string
	err := db.Model(&models.LogStream{}).Where("kind = ? AND NOT closed AND EXISTS (?)", logs.KindBuild, ended).Limit(100).Pluck("id", &ids).Error
	if err != nil {
		return fmt.Errorf("looking for open logs: %w", err)
	}
	for _, id := range ids {
		if err := logs.End(db, id); err != nil {
			return err
		}
	}
	return nil
}
