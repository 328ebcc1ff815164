package catalog_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/catalog"
)

func TestANewAppIsBuiltWhenItsDefaultBranchIsPushedTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	app, err := w.catalog.CreateApp(w.as["developer"], catalog.NewApp{RepositoryID: w.World.Repository.ID, Name: "own"})
	if err != nil || !app.Push || !app.SkipMarkers || app.PullRequests != models.PullRequestsOff || len(app.Branches)+len(app.Tags)+len(app.Paths) != 0 {
		t.Errorf("got %+v, %v", app, err)
	}
}

func TestTriggersChangeFieldByField(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		change := func(in catalog.UpdateTriggers) models.Triggers {
			t.Helper()
			app, err := w.catalog.UpdateApp(w.as["developer"], w.World.App.ID, catalog.UpdateApp{Triggers: &in})
			if err != nil {
				t.Fatal(err)
			}
			return app.Triggers
		}
		change(catalog.UpdateTriggers{Branches: &[]string{" main ", "", "release/*", "main", "!release/old"}, Tags: &[]string{"v*"}, Push: ptr(false), SkipMarkers: ptr(false)})
		got := change(catalog.UpdateTriggers{Paths: &[]string{"services/api/**", "!**/*.md"}, PullRequests: ptr(models.PullRequestsForks)})
		want := models.Triggers{Branches: []string{"main", "release/*", "!release/old"}, Tags: []string{"v*"}, Paths: []string{"services/api/**", "!**/*.md"}, PullRequests: models.PullRequestsForks}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v", got)
		}
		if got := change(catalog.UpdateTriggers{Branches: &[]string{}, Push: ptr(true)}); !got.Push || len(got.Branches) != 0 || len(got.Tags) != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestWhatIsWrongWithTriggersIsSaidAtTheField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprint("b", i)
	}
	for _, test := range []struct {
		in    catalog.UpdateTriggers
		field string
	}{
		{catalog.UpdateTriggers{Branches: &[]string{"[a"}}, "branches"}, {catalog.UpdateTriggers{Branches: &many}, "branches"}, {catalog.UpdateTriggers{Tags: &[]string{"!"}}, "tags"},
		{catalog.UpdateTriggers{Tags: &[]string{"a\nb"}}, "tags"}, {catalog.UpdateTriggers{Paths: &[]string{"/etc/**"}}, "paths"}, {catalog.UpdateTriggers{Paths: &[]string{"{a"}}, "paths"},
		{catalog.UpdateTriggers{Paths: &[]string{strings.Repeat("x", 300)}}, "paths"}, {catalog.UpdateTriggers{PullRequests: ptr(models.PullRequestTrigger("all"))}, "pull_requests"},
	} {
		_, err := w.catalog.UpdateApp(w.as["developer"], w.World.App.ID, catalog.UpdateApp{Triggers: &test.in})
		if fieldsOf(err)[test.field] == "" {
			t.Errorf("%+v: got %v", test.in, err)
		}
	}
}
