package jobs_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/jobs"
)

type greet struct {
	Name string `json:"name"`
}

func (greet) Kind() string { return "greet" }

func queue(t *testing.T, db *models.Database, work func(context.Context, greet) error) *jobs.Queue {
	t.Helper()
	return patientQueue(t, db, 1200*time.Millisecond, work)
}

// patientQueue takes a worker for dead after so long.
func patientQueue(t *testing.T, db *models.Database, deadAfter time.Duration, work func(context.Context, greet) error) *jobs.Queue {
	t.Helper()
	q, err := jobs.New(db, jobs.Config{Others: 2, DeadAfter: deadAfter})
	if err != nil {
		t.Fatal(err)
	}
	jobs.Register(q, work)
	return q
}

func start(t *testing.T, q *jobs.Queue) {
	t.Helper()
	if err := q.Start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := q.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
}

func insert(t *testing.T, db *models.Database, q *jobs.Queue, name string, fail error) {
	t.Helper()
	err := db.Transaction(func(tx *gorm.DB) error {
		if err := q.Insert(t.Context(), tx, jobs.QueueDefault, greet{name}); err != nil {
			return err
		}
		return fail
	})
	if !errors.Is(err, fail) {
		t.Fatal(err)
	}
}

func TestAJobRunsIfAndOnlyIfItsTransactionCommits(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		got := make(chan string, 10)
		q := queue(t, db, func(_ context.Context, g greet) error { got <- g.Name; return nil })
		start(t, q)
		insert(t, db, q, "rolled back", errors.New("no"))
		insert(t, db, q, "committed", nil)
		select {
		case name := <-got:
			if name != "committed" {
				t.Fatalf("the job %q ran", name)
			}
		case <-time.After(time.Minute):
			t.Fatal("no job ran")
		}
	})
}

func TestTheJobOfADeadWorkerIsTakenOverByAnother(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		got := make(chan string, 10)
		q := queue(t, db, func(_ context.Context, g greet) error { got <- g.Name; return nil })
		insert(t, db, q, "orphan", nil)
		dead := models.NewID()
		attemptedBy := `["` + dead + `"]`
		if db.Pool != nil {
			attemptedBy = `{` + dead + `}`
		}
		err := db.Exec("UPDATE river_job SET state = 'running', attempt = 1, attempted_at = ?, attempted_by = ?", db.NowFunc(), attemptedBy).Error
		if err != nil {
			t.Fatal(err)
		}
		start(t, q)
		select {
		case <-got:
		case <-time.After(time.Minute):
			t.Fatal("nobody took the job over")
		}
	})
}

func TestARowIsHeldByOneWorkerUntilThatWorkerDies(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		nothing := func(context.Context, greet) error { return nil }
		a, b := queue(t, db, nothing), queue(t, db, nothing)
		alive := models.Worker{ID: a.WorkerID(), Host: "a", StartedAt: db.NowFunc(), SeenAt: db.NowFunc().Add(time.Hour)}
		if err := db.Create(&alive).Error; err != nil {
			t.Fatal(err)
		}
		build := seedBuild(t, db)
		claim := func(q *jobs.Queue) bool {
			ok, err := q.Claim(t.Context(), db.DB, &models.Build{}, build)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		if !claim(a) || claim(b) {
			t.Fatal("the first to come must hold the row alone")
		}
		if err := db.Delete(&alive).Error; err != nil {
			t.Fatal(err)
		}
		if !claim(b) {
			t.Fatal("the row of a dead worker could not be taken")
		}
	})
}

func TestWorkEndsWhenAnotherWorkerHasTakenItsRow(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	q := patientQueue(t, db, time.Minute, func(context.Context, greet) error { return nil }) // or it is lost on a machine that is short of time
	start(t, q)
	build := seedBuild(t, db)
	if ok, err := q.Claim(t.Context(), db.DB, &models.Build{}, build); !ok || err != nil {
		t.Fatal(ok, err)
	}
	work, done := q.Watch(t.Context(), &models.Build{}, build)
	defer done()
	if err := db.Model(&models.Build{}).Where("id = ?", build).Update("worker", models.NewID()).Error; err != nil {
		t.Fatal(err)
	}
	select {
	case <-work.Done():
		if cause := context.Cause(work); !errors.Is(cause, jobs.ErrTaken) {
			t.Fatalf("the work ended with %v", cause)
		}
	case <-time.After(time.Minute):
		t.Fatal("the worker went on")
	}
}

func TestWorkEndsWhenAPersonCancelsItsRow(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	q := patientQueue(t, db, time.Minute, func(context.Context, greet) error { return nil })
	start(t, q)
	build := seedBuild(t, db)
	if ok, err := q.Claim(t.Context(), db.DB, &models.Build{}, build); !ok || err != nil {
		t.Fatal(ok, err)
	}
	work, done := q.Watch(t.Context(), &models.Build{}, build)
	defer done()
	if err := db.Model(&models.Build{}).Where("id = ?", build).Update("cancel_requested_at", db.NowFunc()).Error; err != nil {
		t.Fatal(err)
	}
	select {
	case <-work.Done():
		if !errors.Is(context.Cause(work), jobs.ErrCanceled) {
			t.Fatalf("the work ended with %v", context.Cause(work))
		}
	case <-time.After(time.Minute):
		t.Fatal("the work was not told")
	}
}

func TestAWorkerWithoutTimeGoesOnWhileTheRowIsItsOwnAndOneWithoutADatabaseDoesNot(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	var quiet, away atomic.Bool
	silence := db.Callback().Update().Before("gorm:update").Register("silence", func(tx *gorm.DB) {
		if _, ok := tx.Statement.Model.(*models.Worker); ok && quiet.Load() {
			tx.AddError(errors.New("no time"))
		}
	})
	absence := db.Callback().Query().Before("gorm:query").Register("absence", func(tx *gorm.DB) {
		if _, ok := tx.Statement.Model.(*models.Build); ok && away.Load() {
			tx.AddError(errors.New("no database"))
		}
	})
	if err := errors.Join(silence, absence); err != nil {
		t.Fatal(err)
	}
	q := patientQueue(t, db, 6*time.Second, func(context.Context, greet) error { return nil }) // a look at the row may take a third of it
	start(t, q)
	build := seedBuild(t, db)
	if ok, err := q.Claim(t.Context(), db.DB, &models.Build{}, build); !ok || err != nil {
		t.Fatal(ok, err)
	}
	work, done := q.Watch(t.Context(), &models.Build{}, build)
	defer done()
	quiet.Store(true)
	for end := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		if n, err := q.Alive(t.Context()); err == nil && n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the worker still says that it lives")
		}
	}
	select {
	case <-work.Done():
		t.Fatalf("the work ended with %v", context.Cause(work))
	case <-time.After(time.Second):
	}
	away.Store(true)
	select {
	case <-work.Done():
		if cause := context.Cause(work); !errors.Is(cause, jobs.ErrLost) {
			t.Fatalf("the work ended with %v", cause)
		}
	case <-time.After(time.Minute):
		t.Fatal("the worker goes on without its database")
	}
}

func TestOnePieceOfWorkOnARowGoesOnAtATimeInAProcess(t *testing.T) {
	t.Parallel()
	q := queue(t, modelstest.DB(t), func(context.Context, greet) error { return nil })
	done, ok := q.Alone("a")
	if _, twice := q.Alone("a"); !ok || twice {
		t.Fatalf("it goes on once %v, twice %v", ok, twice)
	}
	if _, other := q.Alone("b"); !other {
		t.Error("another row has to wait")
	}
	done()
	if _, again := q.Alone("a"); !again {
		t.Error("after its end it can't be done again")
	}
}

func seedBuild(t *testing.T, db *models.Database) string {
	t.Helper()
	w := modelstest.Seed(t, db)
	return w.Build.ID
}

func TestAJobThatWasPutOffRunsAtOnceWhenItIsWoken(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		ran := make(chan struct{}, 10)
		q := queue(t, db, func(context.Context, greet) error { ran <- struct{}{}; return jobs.Later(time.Hour) })
		start(t, q)
		insert(t, db, q, "sleepy", nil)
		<-ran
		again := func() bool {
			select {
			case <-ran:
				return true
			case <-time.After(100 * time.Millisecond):
				return false
			}
		}
		for late := time.Now().Add(time.Minute); !again(); {
			if time.Now().After(late) {
				t.Fatal("the job sleeps on")
			}
			if err := q.Wake(t.Context(), db.DB, "greet", 5); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.Wake(t.Context(), db.DB, "other", 5); err != nil {
			t.Fatal(err)
		}
		if n, err := q.Waiting(db.DB, "other"); err != nil || n != 0 {
			t.Errorf("%d jobs of another kind wait, error %v", n, err)
		}
	})
}

func TestAWorkerDrainsResumesAndTakesAsManyBuildsAsAnAdminSays(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		running, end := make(chan string, 10), make(chan struct{})
		q := queue(t, db, func(ctx context.Context, g greet) error {
			running <- g.Name
			if g.Name == "probe" {
				return nil
			}
			select {
			case <-end:
			case <-ctx.Done():
			}
			return nil
		})
		start(t, q)
		says := func(changes map[string]any) {
			t.Helper()
			if err := db.Model(&models.Worker{}).Where("id = ?", q.WorkerID()).Updates(changes).Error; err != nil {
				t.Fatal(err)
			}
		}
		add := func(to, name string) {
			t.Helper()
			err := db.Transaction(func(tx *gorm.DB) error { return q.Insert(t.Context(), tx, to, greet{name}) })
			if err != nil {
				t.Fatal(err)
			}
		}
		runs := func(within time.Duration) bool {
			select {
			case <-running:
				return true
			case <-time.After(within):
				return false
			}
		}
		add(jobs.QueueDefault, "first")
		if !runs(time.Minute) {
			t.Fatal("nothing runs")
		}
		says(map[string]any{"draining": true})
		for n := 0; ; n++ { // until it has heard of it
			add(jobs.QueueDefault, "probe")
			if !runs(time.Second) {
				break
			}
			if n == 100 {
				t.Fatal("a draining worker takes jobs")
			}
		}
		says(map[string]any{"draining": false, "builds": 3})
		for range 3 {
			add(jobs.QueueBuilds, "more")
		}
		for n := range 4 { // with the last probe
			if !runs(time.Minute) {
				t.Fatalf("with three places only %d jobs run", n)
			}
		}
		close(end)
	})
}
