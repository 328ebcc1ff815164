package builds_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
)

// worker makes a worker that lives and takes nothing, for it is only a row.
func (w *world) worker(t *testing.T, change models.Worker) *models.Worker {
	t.Helper()
	now := w.db.NowFunc()
	change.ID, change.Host, change.StartedAt = models.NewID(), "host-"+fmt.Sprint(change.Builds), now
	change.SeenAt = now.Add(time.Hour)
	change.Builds = max(change.Builds, 1)
	if err := w.db.Create(&change).Error; err != nil {
		t.Fatal(err)
	}
	return &change
}

// set changes a build's row.
func (w *world) set(t *testing.T, b *models.Build, changes map[string]any) {
	t.Helper()
	if err := w.db.Model(&models.Build{}).Where("id = ?", b.ID).Updates(changes).Error; err != nil {
		t.Fatal(err)
	}
}

// runs has the worker carry the build since a minute ago.
func (w *world) runs(t *testing.T, b *models.Build, on *models.Worker) {
	t.Helper()
	w.set(t, b, map[string]any{"state": models.BuildRunning, "worker": on.ID, "attempt": 1, "started_at": w.db.NowFunc().Add(-time.Minute)})
}

func (w *world) board(t *testing.T) *models.Board {
	t.Helper()
	board, err := w.builds.Board(w.as(t, w.Admin))
	if err != nil {
		t.Fatal(err)
	}
	return board
}

func TestTheQueueTakesPeopleBeforePushesBeforeSchedulesAndTeamsInTurn(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.worker(t, models.Worker{Builds: 2})
		a, b := w.team(t, "a", 0), w.team(t, "b", 0)
		night := w.queueFor(t, a, models.TriggerSchedule, 2)
		w.queueFor(t, a, models.TriggerPush, 1)
		w.queueFor(t, a, models.TriggerManual, 3)
		w.queueFor(t, b, models.TriggerManual, 2)
		w.queueFor(t, b, models.TriggerPullRequest, 1)
		names := func() string {
			var all []string
			for _, x := range w.board(t).Waiting {
				all = append(all, strings.ReplaceAll(x.Name, "-app #", ""))
			}
			return strings.Join(all, " ")
		}
		if got := names(); got != "a4 b1 a5 b2 a6 b3 a3 a1 a2" {
			t.Errorf("the order is %s", got)
		}
		w.set(t, night[1], map[string]any{"queued_at": db.NowFunc().Add(-16 * time.Minute)}) // it has been patient
		if got := names(); got != "a2 b1 a4 b2 a5 a6 b3 a3 a1" {
			t.Errorf("with a schedule that waited the order is %s", got)
		}
		if _, err := w.builds.MoveToFront(w.as(t, w.Admin), night[0].ID); err != nil {
			t.Fatal(err)
		}
		if got := names(); got != "a1 b1 a2 b2 a4 a5 a6 b3 a3" {
			t.Errorf("with one at the front the order is %s", got)
		}
		if _, err := w.builds.MoveToFront(w.as(t, w.Developer), night[1].ID); !models.IsCode(err, models.Denied) {
			t.Errorf("a developer moves builds to the front: %v", err)
		}
	})
}

func TestAWaitingBuildSaysWhyAndBehindWhat(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		make func(t *testing.T, w *world) *models.Build
		want string
	}{
		{"no worker runs", func(t *testing.T, w *world) *models.Build {
			return w.queueBuild(t, "main")
		}, "No worker is running, so nothing takes this build: start one with slipway worker, or slipway serve without --workers=false."},
		{"all workers drain", func(t *testing.T, w *world) *models.Build {
			w.worker(t, models.Worker{Draining: true})
			return w.queueBuild(t, "main")
		}, "Every worker drains, so nothing takes this build until an admin resumes one or starts another."},
		{"no worker has the label", func(t *testing.T, w *world) *models.Build {
			w.worker(t, models.Worker{})
			w.asks(t, "gpu")
			return w.queueBuild(t, "main")
		}, "No running worker has the label gpu that the app asks for: start one with SLIPWAY_WORKER_LABELS=gpu, or change the app's settings."},
		{"no worker has the labels", func(t *testing.T, w *world) *models.Build {
			w.worker(t, models.Worker{Labels: models.Labels{"gpu"}})
			w.asks(t, "arm64", "gpu")
			return w.queueBuild(t, "main")
		}, "No running worker has the labels arm64 and gpu that the app asks for: start one with SLIPWAY_WORKER_LABELS=arm64,gpu, or change the app's settings."},
		{"those with the label drain", func(t *testing.T, w *world) *models.Build {
			w.worker(t, models.Worker{})
			w.worker(t, models.Worker{Labels: models.Labels{"gpu"}, Draining: true})
			w.asks(t, "gpu")
			return w.queueBuild(t, "main")
		}, "Every worker with the label gpu drains, so nothing takes this build until an admin resumes one or starts another."},
		{"the team is at its limit", func(t *testing.T, w *world) *models.Build {
			on := w.worker(t, models.Worker{Builds: 4})
			w.limit(t, 2)
			w.runs(t, w.queueBuild(t, "main"), on)
			w.runs(t, w.queueBuild(t, "main"), on)
			return w.queueBuild(t, "main")
		}, "The team runs 2 of at most 2 builds at once, checkout #2 and checkout #3; this build waits until one of them ends."},
		{"others go first", func(t *testing.T, w *world) *models.Build {
			w.runs(t, w.queueBuild(t, "main"), w.worker(t, models.Worker{}))
			w.queueBuild(t, "main")
			w.queueBuild(t, "main")
			return w.queueBuild(t, "main")
		}, "2 builds go before this one: checkout #3 and checkout #4; the workers are busy with 1 build, and the first of them ends within 29 minutes."},
		{"many go first", func(t *testing.T, w *world) *models.Build {
			w.worker(t, models.Worker{})
			for range 5 {
				w.queueBuild(t, "main")
			}
			return w.queueBuild(t, "main")
		}, "5 builds go before this one: checkout #4, checkout #5, checkout #6 and 2 more; workers take them in a moment."},
		{"another team's goes first", func(t *testing.T, w *world) *models.Build {
			w.worker(t, models.Worker{})
			w.queueFor(t, w.team(t, "secret", 0), models.TriggerManual, 1)
			return w.queueBuild(t, "main")
		}, "1 build goes before this one; workers take them in a moment."},
		{"people go first", func(t *testing.T, w *world) *models.Build {
			w.runs(t, w.queueBuild(t, "main"), w.worker(t, models.Worker{}))
			night := w.queueFor(t, w.App, models.TriggerSchedule, 1)[0]
			w.queueBuild(t, "main")
			return night
		}, "1 build goes before this one: checkout #4, because people's builds go before scheduled ones for the first 15 minutes; the workers are busy with 1 build, and the first of them ends within 29 minutes."},
		{"people go before pushes", func(t *testing.T, w *world) *models.Build {
			w.worker(t, models.Worker{})
			pushed := w.queueFor(t, w.App, models.TriggerPush, 1)[0]
			w.queueBuild(t, "main")
			return pushed
		}, "1 build goes before this one: checkout #3, because people's builds go before those of pushes for the first 15 minutes; workers take them in a moment."},
		{"the workers are busy", func(t *testing.T, w *world) *models.Build {
			w.runs(t, w.queueBuild(t, "main"), w.worker(t, models.Worker{}))
			return w.queueBuild(t, "main")
		}, "The workers are busy with 1 build; this build is next, and the first of them ends within 29 minutes."},
		{"the time of the one that runs is over", func(t *testing.T, w *world) *models.Build {
			b := w.queueBuild(t, "main")
			w.runs(t, b, w.worker(t, models.Worker{}))
			w.set(t, b, map[string]any{"timeout_seconds": 30})
			return w.queueBuild(t, "main")
		}, "The workers are busy with 1 build; this build is next, and one of them ends in a moment."},
		{"in a moment", func(t *testing.T, w *world) *models.Build {
			w.worker(t, models.Worker{})
			return w.queueBuild(t, "main")
		}, "A worker takes this build in a moment."},
		{"it runs", func(t *testing.T, w *world) *models.Build {
			b := w.queueBuild(t, "main")
			w.runs(t, b, w.worker(t, models.Worker{}))
			return b
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, modelstest.DB(t))
			b := test.make(t, w)
			ctx := w.as(t, w.Viewer)
			b, err := w.builds.Get(ctx, b.ID)
			if err != nil {
				t.Fatal(err)
			}
			why, err := w.builds.WhyWaiting(ctx, b)
			if err != nil || why.String() != test.want {
				t.Errorf("it says %q, error %v\nnot       %q", why, err, test.want)
			}
			for _, named := range why.Builds() {
				if _, err := w.builds.Get(ctx, named.BuildID); err != nil {
					t.Errorf("%s is named to somebody who may not see it: %v", named.Text, err)
				}
			}
		})
	}
}

// asks has the world's app ask for labels.
func (w *world) asks(t *testing.T, labels ...string) {
	t.Helper()
	if err := w.db.Model(w.App).UpdateColumn("worker_labels", models.Labels(labels)).Error; err != nil {
		t.Fatal(err)
	}
}

// limit has the world's team run at most n builds at once.
func (w *world) limit(t *testing.T, n int) {
	t.Helper()
	if _, err := w.builds.SetTeamLimit(w.as(t, w.Admin), w.Team.Slug, n); err != nil {
		t.Fatal(err)
	}
}

func TestAnAppThatAsksForALabelIsBuiltByTheWorkerThatHasIt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.asks(t, "gpu")
		able := w.queueLabelled(t, "arm64", "gpu")
		w.service(t, able)
		all := w.queueFor(t, w.App, models.TriggerManual, 4)
		w.runs(t, all[0], &models.Worker{ID: models.NewID()}) // which is dead
		start(t, w.builds.Jobs)
		w.until(t, time.Minute, "the turns were refused", func() bool {
			var jobs int64
			return db.Table("river_job").Where("kind = 'build' AND state IN ('available', 'scheduled')").Count(&jobs).Error == nil && jobs == 4
		})
		start(t, able)
		for _, b := range all {
			if done := w.wait(t, b.ID, models.BuildSucceeded); done.Worker != able.WorkerID() {
				t.Errorf("build %d was made by the worker without the label", b.Number)
			}
		}
	})
}

func TestAWorkerThatDrainsFinishesWhatItHasAndTakesNothingNew(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		q := w.queue(t)
		w.builds = w.service(t, q)
		start(t, q)
		begun, over := make(chan builds.Request, 3), make(chan struct{})
		w.direct(holdUntil(begun, over))
		first := w.queueBuild(t, "main")
		<-begun
		yes, no, three := true, false, 3
		admin := w.as(t, w.Admin)
		worker, err := w.builds.UpdateWorker(admin, q.WorkerID(), builds.WorkerChange{Draining: &yes})
		if err != nil || worker.State != models.WorkerDraining || worker.Running != 1 {
			t.Fatalf("the worker is %+v, error %v", worker, err)
		}
		second := w.queueBuild(t, "main")
		close(over)
		w.wait(t, first.ID, models.BuildSucceeded)
		if b, err := w.builds.Get(admin, second.ID); err != nil || b.State != models.BuildQueued {
			t.Errorf("the draining worker took a build: %v, error %v", b.State, err)
		}
		if _, err := w.builds.UpdateWorker(admin, q.WorkerID(), builds.WorkerChange{Draining: &no, Builds: &three}); err != nil {
			t.Fatal(err)
		}
		w.wait(t, second.ID, models.BuildSucceeded)

		over = make(chan struct{})
		w.direct(holdUntil(begun, over))
		for range 3 {
			w.queueBuild(t, "main")
		}
		w.until(t, time.Minute, "three builds run at once", func() bool { return len(w.board(t).Running) == 3 })
		close(over)
		w.idle(t, time.Minute)
		for _, change := range []builds.WorkerChange{{Builds: new(int)}, {Labels: &[]string{"No Label"}}} {
			_, err := w.builds.UpdateWorker(admin, q.WorkerID(), change)
			wantCode(t, err, models.Invalid)
		}
		_, err = w.builds.UpdateWorker(w.as(t, w.Maintainer), q.WorkerID(), builds.WorkerChange{Draining: &yes})
		wantCode(t, err, models.Denied)
		var entries []string
		if err := db.Model(&models.AuditEntry{}).Where("subject = ?", "worker:"+q.WorkerID()).Order("id").Pluck("action", &entries).Error; err != nil || !slices.Equal(entries, []string{"worker.update", "worker.update"}) {
			t.Errorf("the audit log says %v, error %v", entries, err)
		}
	})
}

func TestABuildThatWaitedTooLongFailsWithAReason(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.builds.QueueLimit = time.Hour
		old, fresh := w.queueBuild(t, "main"), w.queueBuild(t, "main")
		w.set(t, old, map[string]any{"queued_at": db.NowFunc().Add(-61 * time.Minute)})
		if err := w.builds.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		b := w.wait(t, old.ID, models.BuildFailed)
		if b.Error.Class != builds.ClassTimeout || !strings.HasPrefix(b.Error.Message, "The build waited for 1 hour, the limit of the queue,") || b.FinishedAt == nil {
			t.Errorf("the error is %+v", b.Error)
		}
		w.ended(t, old.ID)
		w.wait(t, fresh.ID, models.BuildQueued)
		w.builds.QueueLimit = 0
		start(t, w.builds.Jobs)
		w.wait(t, fresh.ID, models.BuildSucceeded)
	})
}

func TestABuildIsRefusedWhereTheDiskIsNearlyFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.builds.DiskFloor = 1 << 60
	start(t, w.builds.Jobs)
	b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildFailed)
	if b.Error.Class != builds.ClassInfrastructure || !strings.HasPrefix(b.Error.Message, "The build was refused: ") || !strings.Contains(b.Error.Message, "and the floor is 1152922 TB") {
		t.Errorf("the error is %+v", b.Error)
	}
	var row models.Worker
	w.until(t, time.Minute, "the worker's disk is known", func() bool {
		return w.db.Where("id = ?", w.builds.Jobs.WorkerID()).Take(&row).Error == nil && row.DiskTotal > 0
	})
	if !row.Low() || row.DiskFree > row.DiskTotal {
		t.Errorf("the worker is %+v", row)
	}
}

func TestAWorkerWithAFullDiskLeavesBuildsToTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	full, roomy := w.queue(t), w.queue(t)
	w.service(t, full).DiskFloor = 1 << 60
	w.service(t, roomy)
	start(t, full)
	w.until(t, time.Minute, "the full disk is known", func() bool {
		var row models.Worker
		return w.db.Where("id = ?", full.WorkerID()).Take(&row).Error == nil && row.Low()
	})
	start(t, roomy)
	w.until(t, time.Minute, "the other worker lives", func() bool {
		var n int64
		return w.db.Model(&models.Worker{}).Count(&n).Error == nil && n == 2
	})
	for _, b := range w.queueFor(t, w.App, models.TriggerManual, 6) {
		if done := w.wait(t, b.ID, models.BuildSucceeded); done.Worker != roomy.WorkerID() {
			t.Error("the worker with the full disk took a build")
		}
	}
}
