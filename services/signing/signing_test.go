package signing_test

import (
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/secrets"
	"slipway.dev/services/signing"
)

const day = 24 * time.Hour

func newBox(t *testing.T) *secrets.Box {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func newRing(db *models.Database, box *secrets.Box) *signing.Ring {
	return &signing.Ring{DB: db.DB, Box: box, Use: "test", Algorithm: jose.ES256, Action: "test.rotate", Life: 90 * day, Ahead: 14 * day, Keep: day}
}

// older makes every key older by the time.
func older(t *testing.T, db *models.Database, by time.Duration) {
	t.Helper()
	var rows []models.SigningKey
	if err := db.Where("use = ?", "test").Find(&rows).Error; err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		row.CreatedAt = row.CreatedAt.Add(-by)
		if row.RetiredAt != nil {
			at := row.RetiredAt.Add(-by)
			row.RetiredAt = &at
		}
		if err := db.Save(&row).Error; err != nil {
			t.Fatal(err)
		}
	}
}

func ids(t *testing.T, r *signing.Ring) (signer string, known []string) {
	t.Helper()
	k, err := r.Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.Known(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		known = append(known, one.ID)
	}
	return k.ID, known
}

func TestANewKeyIsKnownBeforeItSignsAndAnOldOneAfterItSigned(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		r := newRing(db, newBox(t))
		step := func(pass time.Duration, signer string, known ...string) {
			t.Helper()
			older(t, db, pass)
			if err := r.RotateOld(t.Context()); err != nil {
				t.Fatal(err)
			}
			if signs, all := ids(t, r); signs != signer || !slices.Equal(all, known) {
				t.Fatalf("%s signs, known are %v; want %s and %v", signs, all, signer, known)
			}
		}
		first, _ := ids(t, r)
		step(89*day, first, first)
		older(t, db, 2*day)
		if err := r.RotateOld(t.Context()); err != nil {
			t.Fatal(err)
		}
		signs, all := ids(t, r)
		if signs != first || len(all) != 2 || all[1] != first {
			t.Fatalf("after 91 days %s signs, known are %v", signs, all)
		}
		second := all[0]
		known, err := r.Known(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if from := time.Until(r.SignsFrom(known[0], known)); from < 13*day || from > 14*day || !r.SignsFrom(known[1], known).IsZero() {
			t.Errorf("the next key signs in %s", from)
		}
		step(13*day, first, second, first)
		step(2*day, second, second, first)
		step(12*time.Hour, second, second, first)
		step(day, second, second)
	})
}

func TestProcessesMakeOneKeyTogether(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		box := newBox(t)
		for _, begin := range []time.Duration{0, 100 * day} { // the first key, and the one that follows
			older(t, db, begin)
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					r := newRing(db, box)
					if _, err := r.Signer(t.Context()); err != nil {
						t.Error(err)
					}
					if err := r.RotateOld(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
		a, known := ids(t, newRing(db, box))
		if b, _ := ids(t, newRing(db, box)); a != b || len(known) != 2 || a != known[1] {
			t.Errorf("one signs with %s, the other with %s; known are %v", a, b, known)
		}
	})
}

func TestAKeyThatMayHaveLeakedIsKnownNoMore(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		r := newRing(db, newBox(t))
		first, _ := ids(t, r)
		if err := r.Replace(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if signs, known := ids(t, r); signs != first || len(known) != 2 {
			t.Errorf("without a leak %s signs, known are %v", signs, known)
		}
		if err := r.Replace(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if signs, known := ids(t, r); len(known) != 1 || signs != known[0] || signs == first {
			t.Errorf("%s signs, known are %v", signs, known)
		}
		if _, ok, err := r.Find(t.Context(), first); ok || err != nil {
			t.Errorf("the leaked key is found: %v", err)
		}
	})
}

func TestAKeyOfAnotherAlgorithmIsNotUsed(t *testing.T) {
	t.Parallel()
	db, box := modelstest.DB(t), newBox(t)
	for _, algorithm := range []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.EdDSA} {
		r := newRing(db, box)
		r.Use, r.Algorithm = string(algorithm), algorithm
		k, err := r.Signer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if again, ok, err := r.Find(t.Context(), k.ID); err != nil || !ok || again.ID != k.ID {
			t.Errorf("%s: %v", algorithm, err)
		}
		if err := db.Model(&models.SigningKey{}).Where("id = ?", k.ID).Update("algorithm", "none").Error; err != nil {
			t.Fatal(err)
		}
		if _, err := r.Signer(t.Context()); err == nil {
			t.Errorf("a key for another algorithm than %s signs", algorithm)
		}
	}
}
