package jobs_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/jobs"
)

func TestRowsThatLostTheirJobsGetOneAgain(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		ran := make(chan string, 10)
		q := patientQueue(t, db, time.Minute, func(_ context.Context, g greet) error { ran <- g.Name; return nil }) // one that is taken for dead runs a job twice
		rows := []string{models.NewID(), models.NewID(), models.NewID()}
		insert(t, db, q, rows[1], nil)
		for range 2 { // the second time each has one
			if err := q.Refill(t.Context(), jobs.QueueDefault, rows, func(id string) jobs.Args { return greet{id} }); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := q.Waiting(db.DB, "greet"); err != nil || n != 3 {
			t.Errorf("%d jobs wait, error %v", n, err)
		}
		start(t, q)
		for range rows {
			select {
			case id := <-ran:
				rows = slices.DeleteFunc(rows, func(one string) bool { return one == id })
			case <-time.After(time.Minute):
				t.Fatalf("no job runs for %v", rows)
			}
		}
		if len(rows) != 0 {
			t.Errorf("no job ran for %v", rows)
		}
	})
}
