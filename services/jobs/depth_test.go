package jobs_test

import (
	"context"
	"slices"
	"testing"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/jobs"
)

func TestTheQueueTellsWhatWaits(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		q, err := jobs.New(db, jobs.Config{})
		if err != nil {
			t.Fatal(err)
		}
		jobs.Register(q, func(context.Context, waiting) error { return nil })
		for range 3 {
			err := db.Transaction(func(tx *gorm.DB) error { return q.Insert(t.Context(), tx, jobs.QueueBuilds, waiting{}) })
			if err != nil {
				t.Fatal(err)
			}
		}
		got, err := q.Depths(t.Context())
		if want := []jobs.Depth{{Queue: "builds", State: "available", Jobs: 3}}; err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

type waiting struct{}

// Kind names the job.
func (waiting) Kind() string { return "waiting" }
