package jobs_test

import (
	"context"
	"errors"
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
	q, err := jobs.New(db, jobs.Config{Others: 2, DeadAfter: 1200 * time.Millisecond})
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
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
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
		case <-time.After(20 * time.Second):
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
		case <-time.After(20 * time.Second):
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
	q := queue(t, db, func(context.Context, greet) error { return nil })
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
	case <-time.After(20 * time.Second):
		t.Fatal("the worker went on")
	}
}

func TestWorkEndsWhenAPersonCancelsItsRow(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	q := queue(t, db, func(context.Context, greet) error { return nil })
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
	case <-time.After(2 * time.Second):
		t.Fatal("the work was not told")
	}
}

func seedBuild(t *testing.T, db *models.Database) string {
	t.Helper()
	w := modelstest.Seed(t, db)
	return w.Build.ID
}
