package idempotency_test

import (
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/idempotency"
)

func TestARepeatedCallGetsTheFirstAnswerAndOthersAreRefused(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := modelstest.Seed(t, db)
		s := &idempotency.Service{DB: db.DB}
		ctx := modelstest.As(t, db, w.Developer)
		if a, err := s.Begin(ctx, "k", "build app 1"); a != nil || err != nil {
			t.Fatalf("the first call: %v, %v", a, err)
		}
		if _, err := s.Begin(ctx, "k", "build app 1"); !models.IsCode(err, models.Conflict) {
			t.Errorf("while the first call runs: %v", err)
		}
		if err := s.Finish(ctx, "k", idempotency.Answer{Status: 202, Body: []byte(`{"id":"1"}`)}); err != nil {
			t.Fatal(err)
		}
		if a, err := s.Begin(ctx, "k", "build app 1"); err != nil || a == nil || a.Status != 202 || string(a.Body) != `{"id":"1"}` {
			t.Errorf("the repeated call: %v, %v", a, err)
		}
		if _, err := s.Begin(ctx, "k", "build app 2"); !models.IsCode(err, models.Invalid) {
			t.Errorf("another request with the same key: %v", err)
		}
		if a, err := s.Begin(modelstest.As(t, db, w.Viewer), "k", "build app 1"); a != nil || err != nil {
			t.Errorf("another person's key: %v, %v", a, err)
		}
	})
}

func TestAKeyIsFreeAgainAfterAFailureOrADeadProcess(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	w := modelstest.Seed(t, db)
	s := &idempotency.Service{DB: db.DB}
	ctx := modelstest.As(t, db, w.Developer)
	for _, free := range []func() error{
		func() error { return s.Forget(ctx, "k") },
		func() error {
			old := db.NowFunc().Add(-10 * time.Minute)
			return db.Model(&models.IdempotencyKey{}).Where("key = ?", "k").Update("created_at", old).Error
		},
	} {
		if _, err := s.Begin(ctx, "k", "r"); err != nil {
			t.Fatal(err)
		}
		if err := free(); err != nil {
			t.Fatal(err)
		}
		if a, err := s.Begin(ctx, "k", "r"); a != nil || err != nil {
			t.Errorf("the next call: %v, %v", a, err)
		}
		if err := s.Forget(ctx, "k"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOldAnswersArePruned(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	s := &idempotency.Service{DB: db.DB}
	row := models.IdempotencyKey{Principal: "user:1", Key: "k", Request: "r", Status: 200, CreatedAt: db.NowFunc().Add(-25 * time.Hour)}
	if err := db.Create(&row).Error; err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n int64
	if db.Model(&models.IdempotencyKey{}).Count(&n); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}
