package images_test

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registry"
)

func TestATagsHistoryTellsWhatItNamedByWhomAndWhereThatRan(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		viewer := modelstest.As(t, db, f.Viewer)
		first := f.push(t, "payments/checkout:main", dockerfile(t, "amd64"))
		f.built(t, 2, first)
		f.deployed(t, 1, first, true)
		second := f.push(t, "payments/checkout:main", some(t))
		if err := remote.Delete(f.ref(t, "payments/checkout:main"), f.login); err != nil {
			t.Fatal(err)
		}
		developer := modelstest.As(t, db, f.Developer)
		if err := f.images.Registry.Tag(developer, registry.Retag{Repository: "payments/checkout", Tag: "main", Digest: first}); err != nil {
			t.Fatal(err)
		}
		if err := remote.Delete(f.ref(t, "payments/checkout@"+second), f.login); err != nil {
			t.Fatal(err)
		}
		h, err := f.images.History(viewer, "payments/checkout", "main", models.Page{})
		if err != nil || len(h.Moves) != 4 || h.Digest != first || h.Next != "" {
			t.Fatalf("the history is %+v, %v", h, err)
		}
		back, gone, moved, made := h.Moves[0], h.Moves[1], h.Moves[2], h.Moves[3]
		if back.Digest != first || back.Previous != "" || back.ActorName != f.Developer.Name || !back.Kept {
			t.Errorf("put back: %+v", back)
		}
		if gone.Digest != "" || gone.Previous != second || gone.Kept || gone.Build != nil || len(gone.Places) != 0 {
			t.Errorf("deleted: %+v", gone)
		}
		if moved.Digest != second || moved.Previous != first || moved.Kept || moved.Build != nil {
			t.Errorf("moved: %+v", moved)
		}
		if made.Digest != first || !made.Kept || made.Build == nil || made.Build.Number != 2 || len(made.Places) != 1 || made.Places[0].EnvironmentName != "dev" {
			t.Errorf("made: %+v", made)
		}
		page, err := f.images.History(viewer, "payments/checkout", "main", models.Page{Limit: 3})
		if err != nil || len(page.Moves) != 3 || page.Next == "" {
			t.Fatalf("the first page is %+v, %v", page, err)
		}
		if page, err = f.images.History(viewer, "payments/checkout", "main", models.Page{Limit: 3, Cursor: page.Next}); err != nil || len(page.Moves) != 1 || page.Moves[0].ID != made.ID {
			t.Errorf("the second page is %+v, %v", page, err)
		}
		for name, ask := range map[string]func() error{
			"another team": func() error {
				_, err := f.images.History(modelstest.As(t, db, f.Stranger), "payments/checkout", "main", models.Page{})
				return err
			},
			"no such tag": func() error {
				_, err := f.images.History(viewer, "payments/checkout", strings.Repeat("x", 20), models.Page{})
				return err
			},
		} {
			if err := ask(); !models.IsCode(err, models.NotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
