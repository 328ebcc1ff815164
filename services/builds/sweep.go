package builds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/logs"
)

// Sweep clears up what processes that died left: folders of checkouts, builds
// that no job carries any more, logs of ended builds that were never closed.
// Every worker runs it regularly.
func (s *Service) Sweep(ctx context.Context) error {
	return errors.Join(s.sweepFolders(ctx), s.requeueLost(ctx), s.closeLogs(ctx))
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

// requeueLost queues the builds again that nobody carries and no job will.
func (s *Service) requeueLost(ctx context.Context) error {
	var open []models.Build
	db := s.DB.WithContext(ctx)
	err := db.Select("id", "builder").Where("state IN ? AND queued_at < ?",
		[]models.BuildState{models.BuildQueued, models.BuildRunning}, s.DB.NowFunc().Add(-time.Minute)).Find(&open).Error
	if err != nil || len(open) == 0 {
		return err
	}
	carried := map[string]bool{}
	pending, err := s.Jobs.Pending(ctx, Args{}.Kind())
	if err != nil {
		return err
	}
	for _, raw := range pending {
		var args Args
		if err := json.Unmarshal([]byte(raw), &args); err != nil {
			return fmt.Errorf("reading the jobs of builds: %w", err)
		}
		carried[args.BuildID] = true
	}
	for _, b := range open {
		if carried[b.ID] {
			continue
		}
		if err := db.Transaction(func(tx *gorm.DB) error { return s.Jobs.Insert(ctx, tx, s.queueOf(&b), Args{b.ID}) }); err != nil {
			return err
		}
	}
	return nil
}

// closeLogs ends the logs of builds whose worker died between the end of the build and the end of its log.
func (s *Service) closeLogs(ctx context.Context) error {
	db := s.DB.WithContext(ctx)
	ended := db.Model(&models.Build{}).Select("id").Where("finished_at < ?", s.DB.NowFunc().Add(-time.Minute))
	var ids []string
	err := db.Model(&models.LogStream{}).Where("kind = ? AND NOT closed AND id IN (?)", logs.KindBuild, ended).Limit(100).Pluck("id", &ids).Error
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
