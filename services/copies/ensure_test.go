package copies_test

import (
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/copies"
)

func TestWhatIsThereOrUnderWayIsNotCopiedAgainForADeployment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	digest := w.push("", "payments/checkout", "main", imageWith(t, layer(t, 10)))
	in := copies.Input{Source: copies.Place{Repository: "payments/checkout"}, Reference: digest, Target: copies.Place{RegistryID: w.house.ID, Repository: "acme/shop"}}
	ensure := func() *models.Copy {
		c, err := w.Ensure(w.as(w.Developer), in)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := ensure()
	if again := ensure(); again.ID != first.ID {
		t.Errorf("while one is under way another began: %s and %s", first.ID, again.ID)
	}
	w.work().await(first.ID, models.CopySucceeded)
	if again := ensure(); again.ID != first.ID {
		t.Error("what is there was copied again")
	}
	if _, err := w.Ensure(w.as(w.Viewer), in); refused(t, err).Code != models.Denied {
		t.Errorf("a viewer: %v", err)
	}
}

func TestACopyWhoseJobIsLostGetsAnother(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.push("", "payments/checkout", "main", imageWith(t, layer(t, 10)))
		c := w.create(copies.Input{Source: copies.Place{Repository: "payments/checkout"}, Reference: "main", Target: copies.Place{Repository: "payments/other"}})
		if err := db.Exec("DELETE FROM river_job").Error; err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := w.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var jobs int64
		if err := db.Table("river_job").Where("kind = ?", copies.Job{}.Kind()).Count(&jobs).Error; err != nil || jobs != 1 {
			t.Errorf("the queue has %d jobs, %v", jobs, err)
		}
		w.work().await(c.ID, models.CopySucceeded)
	})
}
