package builds_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
)

func TestTheSweepClearsUpAfterTheDead(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		running, queued, ended := w.queueBuild(t, "main"), w.queueBuild(t, "main"), w.queueBuild(t, "main")
		long := db.NowFunc().Add(-time.Hour)
		set := func(b *models.Build, changes map[string]any) {
			t.Helper()
			if err := db.Model(&models.Build{}).Where("id = ?", b.ID).Updates(changes).Error; err != nil {
				t.Fatal(err)
			}
		}
		set(running, map[string]any{"state": models.BuildRunning, "attempt": 2})
		set(queued, map[string]any{"queued_at": long})
		set(ended, map[string]any{"state": models.BuildFailed, "finished_at": long})
		if err := db.Exec("DELETE FROM river_job").Error; err != nil {
			t.Fatal(err)
		}
		keep := []string{running.ID + ".2", "somebody's"}
		for _, dir := range append(keep, running.ID+".1", ended.ID+".1", models.NewID()+".1") {
			if err := os.MkdirAll(filepath.Join(w.builds.Dir, dir, "source"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.builds.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left []string
		entries, err := os.ReadDir(w.builds.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			left = append(left, e.Name())
		}
		if !slices.Equal(left, keep) {
			t.Errorf("the folders %v are left, not %v", left, keep)
		}
		if stream, err := w.builds.LogStream(w.as(t, w.Viewer), ended.ID); err != nil || !stream.Closed {
			t.Errorf("the log of the ended build is %+v, error %v", stream, err)
		}
		var jobs int64
		if err := db.Table("river_job").Where("kind = 'build'").Count(&jobs).Error; err != nil || jobs != 2 {
			t.Errorf("%d turns were added for two open builds, error %v", jobs, err)
		}
		if err := w.builds.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := db.Table("river_job").Where("kind = 'build'").Count(&jobs).Error; err != nil || jobs != 2 {
			t.Errorf("there are %d turns after another sweep, error %v", jobs, err)
		}
		start(t, w.builds.Jobs)
		w.wait(t, queued.ID, models.BuildSucceeded)
	})
}
