package registry_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registry"
)

func (f *fixture) runs(t testing.TB) []models.RegistryCollection {
	t.Helper()
	list, err := f.registry.Collections(modelstest.As(t, f.db, f.Admin), models.Page{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// collecting runs the collectors again and again until the test calls the function that it returns.
func collecting(t testing.TB, all ...*registry.Service) (stop func()) {
	t.Helper()
	var done atomic.Bool
	var running sync.WaitGroup
	for _, s := range all {
		running.Go(func() {
			for !done.Load() {
				if err := s.Collect(t.Context()); err != nil {
					t.Errorf("collecting: %v", err)
					return
				}
			}
		})
	}
	return func() { done.Store(true); running.Wait() }
}

func TestWhatWasPushedToABucketWhileTheCollectorsRunIsWhole(t *testing.T) {
	t.Parallel()
	place := s3Place(s3Address(t))
	short := func(s *registry.Service) { s.Grace = 200 * time.Millisecond }
	f := serve(t, modelstest.Postgres(t), inBucket(t, place), short)
	other := f.process(t, inBucket(t, place), short)
	login := f.writer(t, f.Maintainer)
	stop := collecting(t, f.registry, other)
	var pushers sync.WaitGroup
	images := make([]v1.Image, 4)
	for i := range images {
		pushers.Go(func() {
			ref := f.ref(t, fmt.Sprintf("payments/checkout:n%d", i))
			img, err := random.Image(2000, 3)
			if err != nil {
				t.Error(err)
				return
			}
			for range 5 {
				if err := remote.Write(ref, img, login); err != nil {
					continue // a push that fails is fine; one that succeeds and is broken is not
				}
				if got, err := remote.Image(ref, login); err != nil || whole(got) != nil {
					t.Errorf("an image that was pushed is not whole: %v", err)
				}
				if err := remote.Delete(ref.Context().Digest(digestOf(t, img)), login); err != nil {
					t.Errorf("deleting: %v", err)
				}
			}
			images[i] = img
		})
	}
	pushers.Wait()
	stop()
	for i, img := range images {
		if err := remote.Write(f.ref(t, fmt.Sprintf("payments/checkout:n%d", i)), img, login); err != nil {
			t.Errorf("the last push: %v", err)
		}
	}
	f.registry.Grace, other.Grace = time.Hour, time.Hour
	f.age(t)
	f.collect(t)
	for i := range images {
		if got, err := remote.Image(f.ref(t, fmt.Sprintf("payments/checkout:n%d", i)), login); err != nil || whole(got) != nil {
			t.Errorf("image %d at the end: %v", i, err)
		}
	}
	if names := f.left(t); len(names) != 4*4 {
		t.Errorf("%d objects are left of 16", len(names))
	}
}

func TestWhatNoRowKnowsIsCollectedUnlessItMayBeAnothers(t *testing.T) {
	t.Parallel()
	eachStorage(t, func(t *testing.T, db *models.Database, store func(*registry.Service)) {
		f := serve(t, db, store)
		access := f.pusher(t)
		kept := f.blob(t, access, "kept")
		orphan := f.blob(t, access, "its row was lost")
		lose := func(d string) {
			for _, m := range []any{&models.RegistryLink{}, &models.RegistryBlob{}} {
				if err := db.Where("digest = ?", d).Delete(m).Error; err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Where("owner = ?", d).Delete(&models.RegistryPart{}).Error; err != nil {
				t.Fatal(err)
			}
		}
		lose(orphan)
		f.collect(t)
		if n := len(f.left(t)); n != 2 {
			t.Errorf("%d are left: something fresh was collected", n)
		}
		old := f.process(t, store, func(s *registry.Service) { s.Grace = time.Nanosecond })
		if err := db.Model(&models.RegistryLink{}).Where("1 = 1").UpdateColumn("touched_at", db.NowFunc().Add(time.Hour)).Error; err != nil {
			t.Fatal(err)
		}
		if err := old.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(f.left(t)); n != 1 {
			t.Errorf("%d are left, and one was to be", n)
		}
		if runs := f.runs(t); len(runs) != 1 || runs[0].Bytes != int64(len("its row was lost")) {
			t.Errorf("the runs are %+v", runs)
		}
		if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+kept, "", bearer(access)); a.body != "kept" {
			t.Errorf("what has a row is answered %d", a.status)
		}

		lose(kept)
		if err := db.Model(&models.Setting{}).Where("key = 'registry_installation'").UpdateColumn("value", "another").Error; err != nil {
			t.Fatal(err)
		}
		if err := old.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(f.left(t)); n != 1 {
			t.Error("what may be another installation's was collected")
		}
	})
}

func TestOneProcessCollectsAtATimeAndADeadOneIsFollowed(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		access := f.pusher(t)
		f.blob(t, access, "loose")
		f.age(t)
		now := db.NowFunc()
		other := models.RegistryCollection{ID: models.NewID(), Running: true, StartedAt: now, AliveAt: now}
		if err := db.Create(&other).Error; err != nil {
			t.Fatal(err)
		}
		f.collect(t)
		if at, err := f.registry.Storage(modelstest.As(t, db, f.Admin)); err != nil || at.Blobs != 1 || at.Bytes != 5 || !at.Collecting {
			t.Errorf("while another collects, the storage has %+v: %v", at, err)
		}
		if err := db.Model(&other).UpdateColumn("alive_at", now.Add(-time.Hour)).Error; err != nil {
			t.Fatal(err)
		}
		f.collect(t)
		runs := f.runs(t)
		if len(runs) != 2 || runs[0].Bytes != 5 || runs[1].Error == "" || runs[1].Running || runs[1].FinishedAt == nil {
			t.Errorf("the runs are %+v", runs)
		}
	})
}

func TestAnAdminHasItCollectedAtOnceAndSeesWhatThatFreed(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		queue, err := jobs.New(db, jobs.Config{Others: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := jobs.Migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		f := serve(t, db, func(s *registry.Service) { s.Jobs = queue })
		f.registry.Register(queue)
		if err := queue.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer queue.Stop(t.Context())
		if err := f.registry.CollectNow(modelstest.As(t, db, f.Maintainer)); !models.IsCode(err, models.Denied) {
			t.Errorf("a maintainer had it collected: %v", err)
		}
		if err := f.registry.CollectNow(modelstest.As(t, db, f.Admin)); err != nil {
			t.Fatal(err)
		}
		f.await(t, "the job is done", func() bool { runs := f.runs(t); return len(runs) == 1 && runs[0].FinishedAt != nil })
		var entry models.AuditEntry
		if err := db.Where("action = 'registry.collect'").Take(&entry).Error; err != nil || entry.ActorID != f.Admin.ID {
			t.Errorf("the audit log says %+v: %v", entry, err)
		}
		now := db.NowFunc()
		if err := db.Create(&models.RegistryCollection{ID: models.NewID(), Running: true, StartedAt: now, AliveAt: now}).Error; err != nil {
			t.Fatal(err)
		}
		if err := f.registry.CollectNow(modelstest.As(t, db, f.Admin)); !models.IsCode(err, models.Conflict) {
			t.Errorf("while one runs, another was asked for: %v", err)
		}
	})
}
