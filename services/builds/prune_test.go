package builds_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
)

// diskless is an engine that only remembers how it was asked.
type diskless struct {
	usage  builds.EngineUsage
	fail   error
	asked  chan builds.CacheLimits
	inUse  []string
	pruned builds.Pruned
}

func (d *diskless) Usage(context.Context, builds.CacheLimits) (builds.EngineUsage, error) {
	return d.usage, nil
}

func (d *diskless) Prune(_ context.Context, limits builds.CacheLimits, inUse []string) (builds.Pruned, error) {
	d.inUse = inUse
	d.asked <- limits
	return d.pruned, d.fail
}

func TestPruningIsAskedForDoneAndWrittenDown(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		s := w.builds
		engine := &diskless{usage: builds.EngineUsage{Cache: 900, Prunable: 300}, asked: make(chan builds.CacheLimits, 10), pruned: builds.Pruned{Bytes: 300, Images: 2}}
		s.Engine, s.CacheLimits = engine, builds.CacheLimits{Size: 600, Age: time.Hour}
		self := models.Worker{ID: s.Jobs.WorkerID(), Host: "here", Builds: 1, StartedAt: db.NowFunc(), SeenAt: db.NowFunc().Add(time.Hour)}
		if err := db.Create(&self).Error; err != nil {
			t.Fatal(err)
		}
		running := w.queueBuild(t, "main")
		w.runs(t, running, &self)
		serving := models.Deployment{ID: models.NewID(), TeamID: w.Team.ID, AppID: w.App.ID, EnvironmentID: w.Environment.ID, Number: 1, State: models.DeploymentSucceeded, Active: true,
			Stopped: true, ImageRepository: "r", ImageDigest: "sha256:serving", Action: models.ActionDeploy, CreatedAt: db.NowFunc()}
		if err := db.Create(&serving).Error; err != nil {
			t.Fatal(err)
		}
		work := models.WithPrincipal(t.Context(), models.System("worker"))
		if err := s.Measure(work); err != nil || len(engine.asked) != 0 {
			t.Fatalf("it was pruned without being asked for: %d, error %v", len(engine.asked), err)
		}
		if _, err := s.AskPrune(w.as(t, w.Maintainer), self.ID); !models.IsCode(err, models.Denied) {
			t.Errorf("a maintainer asked for pruning: %v", err)
		}
		asked, err := s.AskPrune(w.as(t, w.Admin), self.ID)
		if err != nil || asked.PruneAskedAt == nil || asked.CacheSize != 900 || asked.CachePrunable != 300 {
			t.Fatalf("the worker is %+v, error %v", asked, err)
		}
		if err := s.Measure(work); err != nil || <-engine.asked != s.CacheLimits {
			t.Errorf("the pruning ended with %v", err)
		}
		if !slices.Contains(engine.inUse, "sha256:serving") || !slices.Contains(engine.inUse, w.registry+"/payments/checkout:build-2") {
			t.Errorf("in use are %v", engine.inUse)
		}
		now, err := s.Worker(w.as(t, w.Admin), self.ID)
		if err != nil || now.PruneAskedAt != nil || now.PrunedAt == nil || now.PrunedBytes != 300 || now.PruneError != "" {
			t.Errorf("the worker is %+v, error %v", now, err)
		}
		var entry models.AuditEntry
		if err := db.Where("action = 'cache.prune'").Take(&entry).Error; err != nil || entry.Detail["freed"] != "300" || entry.Detail["images"] != "2" {
			t.Errorf("the audit log says %+v, error %v", entry, err)
		}
		engine.fail = errors.New("no")
		if err := s.Prune(work); err == nil {
			t.Error("a pruning that failed was not noticed")
		}
		if now, err = s.Worker(w.as(t, w.Admin), self.ID); err != nil || now.PruneError == "" {
			t.Errorf("the worker is %+v, error %v", now, err)
		}
	})
}

func TestADiskThatFillsUpTakesFromTheCacheBeforeBuildsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	s := w.builds
	engine := &diskless{usage: builds.EngineUsage{Root: t.TempDir(), Cache: 1 << 62}, asked: make(chan builds.CacheLimits, 10)}
	s.Engine, s.CacheLimits, s.DiskFloor = engine, builds.CacheLimits{Size: 1 << 62}, 1<<60
	self := models.Worker{ID: s.Jobs.WorkerID(), Host: "here", Builds: 1, StartedAt: w.db.NowFunc(), SeenAt: w.db.NowFunc()}
	if err := w.db.Create(&self).Error; err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Measure(models.WithPrincipal(t.Context(), models.System("worker"))); err != nil {
			t.Fatal(err)
		}
	}
	if len(engine.asked) != 1 {
		t.Fatalf("it was pruned %d times, not once in five minutes", len(engine.asked))
	}
	if limits := <-engine.asked; limits.Size >= 1<<62-1<<60 || limits.Size <= 0 {
		t.Errorf("the cache was pruned to %d bytes", limits.Size)
	}
}
