package catalog_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/catalog"
)

func TestAnAppIsCompletedByWhatWasFound(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		found := &models.DetectedDockerfile{RepositoryID: w.World.Repository.ID, Path: "services/api/Dockerfile", Name: "api", Context: ".", Port: 8081}
		if err := db.Create(found).Error; err != nil {
			t.Fatal(err)
		}
		app, err := w.catalog.CreateApp(w.as["developer"], catalog.NewApp{RepositoryID: w.World.Repository.ID, Dockerfile: "./services/api/Dockerfile"})
		if err != nil {
			t.Fatal(err)
		}
		if app.Name != "api" || app.Context != "." || app.Port != 8081 || app.Builder != models.BuilderBuildKit || app.Health != models.HealthTCP ||
			app.BuildTimeout != 1800 || app.TeamID != w.Team.ID || app.CreatedBy != w.Developer.ID || app.Team.Slug != "payments" || app.Repository.Name != "shop" {
			t.Errorf("got %+v", app)
		}
		own, err := w.catalog.CreateApp(w.as["developer"], catalog.NewApp{RepositoryID: w.World.Repository.ID, Name: "own", Dockerfile: "web/Dockerfile", HealthPath: "/ready?x=1"})
		if err != nil || own.Context != "web" || own.Port != 0 || own.Health != models.HealthHTTP {
			t.Errorf("got %+v, %v", own, err)
		}
	})
}

func TestWhatIsWrongWithAnAppIsSaidAtTheField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	tests := []struct {
		in    catalog.NewApp
		field string
	}{
		{catalog.NewApp{Name: ""}, "name"}, {catalog.NewApp{Name: "A b"}, "name"}, {catalog.NewApp{Name: "checkout"}, "name"},
		{catalog.NewApp{Dockerfile: "../Dockerfile"}, "dockerfile"}, {catalog.NewApp{Dockerfile: "/etc/passwd"}, "dockerfile"},
		{catalog.NewApp{Dockerfile: "-f"}, "dockerfile"}, {catalog.NewApp{Dockerfile: "."}, "dockerfile"}, {catalog.NewApp{Dockerfile: "a\x00b"}, "dockerfile"},
		{catalog.NewApp{Dockerfile: "a/../../b"}, "dockerfile"}, {catalog.NewApp{Dockerfile: "--output=/x"}, "dockerfile"}, {catalog.NewApp{Dockerfile: `a\b`}, "dockerfile"},
		{catalog.NewApp{Context: "../.."}, "context"}, {catalog.NewApp{Context: "/"}, "context"}, {catalog.NewApp{Context: "a\nb"}, "context"}, {catalog.NewApp{Context: "-"}, "context"},
		{catalog.NewApp{Builder: "kaniko"}, "builder"}, {catalog.NewApp{Port: -1}, "port"}, {catalog.NewApp{Port: 65536}, "port"},
		{catalog.NewApp{Health: "ping"}, "health"}, {catalog.NewApp{Health: models.HealthHTTP}, "health_path"}, {catalog.NewApp{HealthPath: "healthz"}, "health_path"},
		{catalog.NewApp{HealthPath: "//evil.example/"}, "health_path"}, {catalog.NewApp{HealthPath: "/a b"}, "health_path"}, {catalog.NewApp{HealthPath: "/a\r\nX: y"}, "health_path"},
		{catalog.NewApp{BuildTimeout: 1}, "build_timeout"}, {catalog.NewApp{BuildTimeout: 1 << 30}, "build_timeout"},
	}
	for i, test := range tests {
		in := test.in
		in.RepositoryID = w.World.Repository.ID
		if in.Name == "" && test.field != "name" {
			in.Name = fmt.Sprintf("app-%d", i)
		}
		if _, err := w.catalog.CreateApp(w.as["developer"], in); fieldsOf(err)[test.field] == "" {
			t.Errorf("%+v: got %v, want a word about %s", test.in, err, test.field)
		}
	}
}

func TestSeveralAppsAreMadeTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		id := w.World.Repository.ID
		before := w.rows(t)
		_, err := w.catalog.CreateApps(w.as["developer"], []catalog.NewApp{{RepositoryID: id, Name: "one"}, {RepositoryID: id, Name: "T W O"}})
		wantField(t, err, "name-1", "lower-case")
		_, err = w.catalog.CreateApps(w.as["developer"], []catalog.NewApp{{RepositoryID: id, Name: "one"}, {RepositoryID: id, Name: "checkout"}})
		wantField(t, err, "name-1", "already")
		_, err = w.catalog.CreateApps(w.as["developer"], []catalog.NewApp{{RepositoryID: id, Name: "one"}, {RepositoryID: models.NewID(), Name: "two"}})
		wantCode(t, "another repository", err, models.NotFound)
		_, err = w.catalog.CreateApps(w.as["developer"], nil)
		wantCode(t, "nothing", err, models.Invalid)
		if w.rows(t) != before {
			t.Error("a part was made")
		}
		apps, err := w.catalog.CreateApps(w.as["developer"], []catalog.NewApp{{RepositoryID: id, Name: "one"}, {RepositoryID: id, Name: "two"}})
		if err != nil || len(apps) != 2 {
			t.Errorf("got %+v, %v", apps, err)
		}
	})
}

func TestAppsAreListedInPagesAndFiltered(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		for i := range 4 {
			if _, err := w.catalog.CreateApp(w.as["developer"], catalog.NewApp{RepositoryID: w.World.Repository.ID, Name: fmt.Sprintf("app-%d", i)}); err != nil {
				t.Fatal(err)
			}
		}
		var names []string
		for page := (models.Page{Limit: 2}); ; {
			list, err := w.catalog.Apps(w.as["viewer"], catalog.AppFilter{Page: page, RepositoryID: w.World.Repository.ID})
			if err != nil {
				t.Fatal(err)
			}
			for _, app := range list.Items {
				names = append(names, app.Name)
			}
			if page.Cursor = list.Next; page.Cursor == "" {
				break
			}
		}
		if got := strings.Join(names, " "); got != "app-3 app-2 app-1 app-0 checkout" {
			t.Errorf("got %s", got)
		}
		for _, filter := range []catalog.AppFilter{{Text: "APP-"}, {Text: "app-", Team: w.Team.Slug}} {
			list, err := w.catalog.Apps(w.as["viewer"], filter)
			if err != nil || len(list.Items) != 4 {
				t.Errorf("%+v: %d apps, %v", filter, len(list.Items), err)
			}
		}
		for _, filter := range []catalog.AppFilter{{Text: "%"}, {RepositoryID: models.NewID()}, {Text: "' OR '1'='1"}} {
			list, err := w.catalog.Apps(w.as["viewer"], filter)
			if err != nil || len(list.Items) != 0 {
				t.Errorf("%+v: %d apps, %v", filter, len(list.Items), err)
			}
		}
		_, err := w.catalog.Apps(w.as["viewer"], catalog.AppFilter{Team: w.OtherTeam.Slug})
		wantCode(t, "another team's", err, models.NotFound)
	})
}

func TestAnAppChangesButKeepsTheNameThatItsImagesCarry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	app, err := w.catalog.UpdateApp(w.as["developer"], w.World.App.ID, catalog.UpdateApp{
		Context: ptr("services/"), Port: ptr(0), Health: ptr(models.HealthImage), HealthPath: ptr(""), BuildTimeout: ptr(60)})
	if err != nil || app.Context != "services" || app.Port != 0 || app.Health != models.HealthImage || app.HealthPath != "" || app.BuildTimeout != 60 || app.Dockerfile != "Dockerfile" {
		t.Errorf("got %+v, %v", app, err)
	}
	_, err = w.catalog.UpdateApp(w.as["developer"], w.World.App.ID, catalog.UpdateApp{Name: ptr("renamed")})
	wantField(t, err, "name", "images carry its name")
	_, err = w.catalog.UpdateApp(w.as["developer"], w.World.App.ID, catalog.UpdateApp{Dockerfile: ptr("../x")})
	wantField(t, err, "dockerfile", "path of a file")
}

func TestAnAppThatIsInUseIsNotDeleted(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		id := w.World.App.ID
		wantCode(t, "with a queued build", w.catalog.DeleteApp(w.as["maintainer"], id), models.Conflict)
		running := &models.Deployment{ID: models.NewID(), TeamID: w.Team.ID, AppID: id, EnvironmentID: w.Environment.ID, Number: 1, State: models.DeploymentSucceeded, Active: true}
		stream := &models.LogStream{ID: w.Build.ID, Kind: "build"}
		for _, err := range []error{db.Create(running).Error, db.Create(stream).Error, db.Model(w.Build).Update("state", models.BuildSucceeded).Error} {
			if err != nil {
				t.Fatal(err)
			}
		}
		err := w.catalog.DeleteApp(w.as["maintainer"], id)
		if !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), "checkout runs in dev") {
			t.Errorf("while it runs: %v", err)
		}
		var unloaded string
		w.catalog.Unload = func(_ context.Context, _ *gorm.DB, app *models.App) error {
			unloaded = app.ID
			return nil
		}
		if err := w.catalog.DeleteApp(w.as["maintainer"], id); err != nil || unloaded != id {
			t.Fatalf("got %v, unloaded %q", err, unloaded)
		}
		for _, model := range []any{&models.App{}, &models.Build{}, &models.Deployment{}, &models.LogStream{}} {
			var left int64
			if err := db.Model(model).Count(&left).Error; err != nil || left != 0 {
				t.Errorf("%T: %d left, %v", model, left, err)
			}
		}
	})
}
