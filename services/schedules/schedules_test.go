package schedules_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/jobs"
	"slipway.dev/services/outbound"
	"slipway.dev/services/schedules"
)

// world is two workers on one database and a real git server, with a clock that the test turns.
type world struct {
	*modelstest.World
	t       *testing.T
	db      *models.Database
	repo    *gittest.Repo
	workers [2]*schedules.Service

	mu   sync.Mutex
	time time.Time
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	w := &world{World: modelstest.Seed(t, db), t: t, db: db, time: time.Date(2025, 6, 2, 12, 0, 0, 0, time.UTC)}
	w.must(db.Delete(&models.Build{}, "id = ?", w.Build.ID).Error)
	w.repo = gittest.New(t).Repository(t, "shop.git", gittest.Files{"Dockerfile": "FROM scratch\n"})
	w.must(db.Model(w.Repository).Update("clone_url", w.repo.URL).Error)
	for i := range w.workers {
		w.workers[i] = w.worker()
	}
	return w
}

// worker is the schedules of one process, which has mirrors of its own.
func (w *world) worker() *schedules.Service {
	w.t.Helper()
	q, err := jobs.New(w.db, jobs.Config{})
	w.must(err)
	guard := &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	proxy := &outbound.Proxy{Guard: guard}
	w.must(proxy.Listen())
	w.t.Cleanup(func() { _ = proxy.Close() })
	b := &builds.Service{
		DB: w.db, Jobs: q, Git: &git.Service{Dir: filepath.Join(w.t.TempDir(), "git"), Guard: guard, Proxy: proxy},
		Remote: func(_ context.Context, r *models.Repository) (git.Remote, error) {
			return git.Remote{URL: r.CloneURL}, nil
		},
	}
	b.Register(q)
	s := &schedules.Service{DB: w.db, Builds: b, Now: w.now}
	s.Register(q)
	return s
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.time
}

// turn lets both workers look at the same time.
func (w *world) turn(at string) {
	w.t.Helper()
	to, err := time.Parse(time.RFC3339, at)
	w.must(err)
	w.mu.Lock()
	w.time = to
	w.mu.Unlock()
	var both sync.WaitGroup
	for _, s := range w.workers {
		both.Go(func() {
			if err := s.RunDue(w.t.Context()); err != nil {
				w.t.Error(err)
			}
		})
	}
	both.Wait()
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) as(u *models.User) context.Context { return modelstest.As(w.t, w.db, u) }

func (w *world) create(in schedules.New) *schedules.Listed {
	w.t.Helper()
	row, err := w.workers[0].Create(w.as(w.Developer), w.App.ID, in)
	w.must(err)
	return row
}

func (w *world) get(id string) *schedules.Listed {
	w.t.Helper()
	row, err := w.workers[1].Get(w.as(w.Viewer), id)
	w.must(err)
	return row
}

func (w *world) builds() []models.Build {
	w.t.Helper()
	var all []models.Build
	w.must(w.db.Order("id").Find(&all).Error)
	return all
}

func (w *world) count(n int) {
	w.t.Helper()
	if got := w.builds(); len(got) != n {
		w.t.Fatalf("%d builds, want %d", len(got), n)
	}
}

func TestATurnQueuesOneBuildHoweverManyWorkersThereAre(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		row := w.create(schedules.New{Cron: "0  2 * * *", TimeZone: "Europe/Berlin", NoCache: true})
		if row.Cron != "0 2 * * *" || len(row.Coming) != 3 || row.Coming[0].Format(time.RFC3339) != "2025-06-03T02:00:00+02:00" {
			t.Errorf("a new schedule: %+v", row)
		}
		w.turn("2025-06-02T23:59:59Z")
		w.count(0)
		w.turn("2025-06-03T00:00:02Z")
		w.count(1)
		w.turn("2025-06-03T00:00:05Z")
		w.count(1)
		b := w.builds()[0]
		if b.Trigger != models.TriggerSchedule || !b.NoCache || b.Ref != "main" || b.State != models.BuildQueued || b.CreatedByName != "schedule" {
			t.Errorf("the build: %+v", b)
		}
		row = w.get(row.ID)
		if row.LastOutcome != models.ScheduleQueued || row.LastBuildID != b.ID || row.NextAt.Format(time.RFC3339) != "2025-06-04T00:00:00Z" || row.Error != "" {
			t.Errorf("the schedule afterwards: %+v", row)
		}
	})
}

func TestManySchedulesOfTheSameMinuteAreAllTakenOnce(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		for range 12 {
			w.create(schedules.New{Cron: "0 2 * * *"})
		}
		w.turn("2025-06-03T02:00:00Z")
		w.turn("2025-06-03T02:00:03Z")
		w.count(12)
		var jobs int64
		w.must(db.Table("river_job").Where("kind = ?", builds.Args{}.Kind()).Count(&jobs).Error)
		if jobs != 12 {
			t.Errorf("%d jobs carry 12 builds", jobs)
		}
	})
}

func TestTurnsThatWereMissedAreMadeUpForOnce(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		row := w.create(schedules.New{Cron: "0 * * * *"})
		w.turn("2025-06-05T10:20:00Z") // three days later
		w.turn("2025-06-05T10:20:03Z")
		w.count(1)
		if next := w.get(row.ID).NextAt.Format(time.RFC3339); next != "2025-06-05T11:00:00Z" {
			t.Errorf("the next turn is at %s", next)
		}
	})
}

func TestAScheduleForWhatIsNewSkipsACommitThatWasBuilt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		row := w.create(schedules.New{Cron: "0 2 * * *", OnlyNew: true})
		w.turn("2025-06-03T02:00:00Z")
		w.count(1)
		w.turn("2025-06-04T02:00:00Z")
		w.count(1)
		if row = w.get(row.ID); row.LastOutcome != models.ScheduleNothingNew || row.LastBuildID != w.builds()[0].ID || row.Error != "" {
			t.Errorf("nothing was new: %+v", row)
		}
		w.repo.Commit(t, "main", "more", gittest.Files{"main.go": "package main\n"})
		w.turn("2025-06-05T02:00:00Z")
		w.count(2)
		w.must(db.Model(&models.Build{}).Where("number = (SELECT MAX(number) FROM builds)").Update("state", models.BuildCanceled).Error)
		w.turn("2025-06-06T02:00:00Z")
		w.count(3)
	})
}

func TestAScheduleWhoseBranchIsGoneSaysSoAndGoesOn(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		row := w.create(schedules.New{Cron: "0 2 * * *", Ref: "release"})
		w.turn("2025-06-03T02:00:00Z")
		w.count(0)
		row = w.get(row.ID)
		if row.LastOutcome != models.ScheduleFailed || !strings.Contains(row.Error, "release") || row.NextAt.Format(time.RFC3339) != "2025-06-04T02:00:00Z" {
			t.Fatalf("the branch is gone: %+v", row)
		}
		w.repo.Branch(t, "release", w.repo.Git(t, "rev-parse", "main"))
		w.turn("2025-06-04T02:00:00Z")
		w.count(1)
		if row = w.get(row.ID); row.Error != "" || row.LastOutcome != models.ScheduleQueued {
			t.Errorf("the branch is back: %+v", row)
		}
	})
}

func TestAWorkerThatDiedInATurnLosesIt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		row := w.create(schedules.New{Cron: "0 2 * * *"})
		w.must(db.Model(&models.Schedule{}).Where("id = ?", row.ID).Update("leased_until", time.Date(2025, 6, 3, 2, 0, 40, 0, time.UTC)).Error)
		w.turn("2025-06-03T02:00:10Z")
		w.count(0)
		w.turn("2025-06-03T02:00:41Z")
		w.count(1)
	})
}

func TestAScheduleThatIsOffHasNoTurns(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		row := w.create(schedules.New{Cron: "0 2 * * *"})
		off, on := false, true
		_, err := w.workers[0].Update(w.as(w.Developer), row.ID, schedules.Change{Enabled: &off})
		w.must(err)
		w.turn("2025-06-04T02:00:00Z")
		w.count(0)
		back, err := w.workers[0].Update(w.as(w.Developer), row.ID, schedules.Change{Enabled: &on})
		w.must(err)
		if back.NextAt.Format(time.RFC3339) != "2025-06-05T02:00:00Z" {
			t.Errorf("switched on again, the next turn is at %s", back.NextAt)
		}
		w.turn("2025-06-05T02:00:00Z")
		w.count(1)
		w.must(w.workers[0].Delete(w.as(w.Developer), row.ID))
		w.turn("2025-06-06T02:00:00Z")
		w.count(1)
	})
}

func TestOnlyPeopleOfTheTeamTouchItsSchedules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	row := w.create(schedules.New{Cron: "0 2 * * *"})
	s := w.workers[0]
	for who, want := range map[*models.User]models.Code{w.Stranger: models.NotFound, w.Viewer: models.Denied} {
		_, create := s.Create(w.as(who), w.App.ID, schedules.New{Cron: "0 2 * * *"})
		_, update := s.Update(w.as(who), row.ID, schedules.Change{})
		for _, err := range []error{create, update, s.Delete(w.as(who), row.ID)} {
			if !models.IsCode(err, want) {
				t.Errorf("%s: %v", who.Name, err)
			}
		}
	}
	if _, err := s.List(w.as(w.Stranger), w.App.ID, models.Page{}); !models.IsCode(err, models.NotFound) {
		t.Errorf("a stranger lists schedules: %v", err)
	}
}

func TestWhatIsWrongWithAScheduleNamesItsField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	for field, in := range map[string]schedules.New{
		"cron":      {Cron: "every day"},
		"time_zone": {Cron: "0 2 * * *", TimeZone: "Atlantis"},
		"ref":       {Cron: "0 2 * * *", Ref: "--upload-pack=touch"},
	} {
		_, err := w.workers[0].Create(w.as(w.Developer), w.App.ID, in)
		told, ok := err.(*models.Error)
		if !ok || told.Fields[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	for range 50 {
		w.create(schedules.New{Cron: "0 2 * * *"})
	}
	if _, err := w.workers[0].Create(w.as(w.Developer), w.App.ID, schedules.New{Cron: "0 2 * * *"}); !models.IsCode(err, models.Conflict) {
		t.Errorf("the 51st schedule: %v", err)
	}
}
