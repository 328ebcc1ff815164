package catalog_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/catalog"
)

// call is one exported method on the things of the team, and the lowest role that may use it.
type call struct {
	name string
	role models.Role
	do   func(ctx context.Context, w *world) error
}

// calls end with those that delete, so that the allowed ones can run in order.
var calls = []call{
	{"Team", models.RoleViewer, func(ctx context.Context, w *world) error { _, err := w.catalog.Team(ctx, w.Team.Slug); return err }},
	{"Members", models.RoleViewer, func(ctx context.Context, w *world) error {
		_, err := w.catalog.Members(ctx, w.Team.Slug)
		return err
	}},
	{"Repository", models.RoleViewer, func(ctx context.Context, w *world) error {
		_, err := w.catalog.Repository(ctx, w.World.Repository.ID)
		return err
	}},
	{"Refs", models.RoleViewer, func(ctx context.Context, w *world) error {
		_, err := w.catalog.Refs(ctx, w.World.Repository.ID)
		return err
	}},
	{"Repositories of the team", models.RoleViewer, func(ctx context.Context, w *world) error {
		_, err := w.catalog.Repositories(ctx, catalog.RepositoryFilter{Team: w.Team.Slug})
		return err
	}},
	{"App", models.RoleViewer, func(ctx context.Context, w *world) error { _, err := w.catalog.App(ctx, w.World.App.ID); return err }},
	{"Apps of the team", models.RoleViewer, func(ctx context.Context, w *world) error {
		_, err := w.catalog.Apps(ctx, catalog.AppFilter{Team: w.Team.Slug})
		return err
	}},
	{"FetchRepository", models.RoleDeveloper, func(ctx context.Context, w *world) error {
		_, err := w.catalog.FetchRepository(ctx, w.World.Repository.ID)
		return err
	}},
	{"CreateApp", models.RoleDeveloper, func(ctx context.Context, w *world) error {
		_, err := w.catalog.CreateApp(ctx, catalog.NewApp{RepositoryID: w.World.Repository.ID, Name: "app-" + models.NewID()[30:]})
		return err
	}},
	{"CreateApps", models.RoleDeveloper, func(ctx context.Context, w *world) error {
		_, err := w.catalog.CreateApps(ctx, []catalog.NewApp{{RepositoryID: w.World.Repository.ID, Name: "more-" + models.NewID()[30:]}})
		return err
	}},
	{"UpdateApp", models.RoleDeveloper, func(ctx context.Context, w *world) error {
		_, err := w.catalog.UpdateApp(ctx, w.World.App.ID, catalog.UpdateApp{Port: ptr(9000)})
		return err
	}},
	{"FindUsers", models.RoleMaintainer, func(ctx context.Context, w *world) error {
		_, err := w.catalog.FindUsers(ctx, w.Team.Slug, "v")
		return err
	}},
	{"UpdateTeam", models.RoleMaintainer, func(ctx context.Context, w *world) error {
		_, err := w.catalog.UpdateTeam(ctx, w.Team.Slug, catalog.UpdateTeam{Name: "Payments and more"})
		return err
	}},
	{"CheckRepository", models.RoleMaintainer, func(ctx context.Context, w *world) error {
		_, err := w.catalog.CheckRepository(ctx, catalog.CheckRepository{Team: w.Team.Slug, CloneURL: "https://10.0.0.1/x"})
		if err != nil && models.IsCode(err, models.Invalid) {
			return nil // allowed to ask, and told that the address is refused
		}
		return err
	}},
	{"RegisterRepository", models.RoleMaintainer, func(ctx context.Context, w *world) error {
		_, err := w.catalog.RegisterRepository(ctx, catalog.NewRepository{Team: w.Team.Slug, Name: "r-" + models.NewID()[30:], CloneURL: "https://10.0.0.1/x"})
		return err
	}},
	{"UpdateRepository", models.RoleMaintainer, func(ctx context.Context, w *world) error {
		_, err := w.catalog.UpdateRepository(ctx, w.World.Repository.ID, catalog.UpdateRepository{DefaultBranch: ptr("main")})
		return err
	}},
	{"SetMember", models.RoleMaintainer, func(ctx context.Context, w *world) error {
		_, err := w.catalog.SetMember(ctx, w.Team.Slug, w.Stranger.ID, catalog.SetMember{Role: models.RoleViewer})
		return err
	}},
	{"RemoveMember", models.RoleMaintainer, func(ctx context.Context, w *world) error {
		return w.catalog.RemoveMember(ctx, w.Team.Slug, w.Stranger.ID)
	}},
	{"DeleteApp", models.RoleMaintainer, func(ctx context.Context, w *world) error { return w.catalog.DeleteApp(ctx, w.World.App.ID) }},
	{"DeleteRepository", models.RoleMaintainer, func(ctx context.Context, w *world) error {
		return w.catalog.DeleteRepository(ctx, w.World.Repository.ID)
	}},
}

// wanted is how a call must end for each of the people; empty means that it is done.
func wanted(role models.Role) map[string]models.Code {
	want := map[string]models.Code{"nobody": models.Unauthorized, "stranger": models.NotFound, "viewer": models.Denied, "developer": models.Denied, "read token": models.Denied}
	if models.RoleDeveloper.AtLeast(role) {
		want["developer"] = ""
	}
	if models.RoleViewer.AtLeast(role) {
		want["viewer"], want["read token"] = "", ""
	}
	return want
}

func TestOnlyTheRightPeopleReachATeamsThings(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		if err := db.Model(w.Build).Update("state", models.BuildSucceeded).Error; err != nil {
			t.Fatal(err)
		}
		for _, c := range calls {
			want := wanted(c.role)
			for _, who := range slices.Sorted(maps.Keys(want)) {
				before := w.rows(t)
				wantCode(t, c.name+" as "+who, c.do(w.as[who], w), want[who])
				if want[who] != "" && w.rows(t) != before {
					t.Errorf("%s as %s was refused and changed something", c.name, who)
				}
			}
		}
		for _, c := range calls {
			wantCode(t, c.name+" as maintainer", c.do(w.as["maintainer"], w), "")
		}
	})
}

// rows counts what the calls could write; the background's own writes are not among them.
func (w *world) rows(t *testing.T) string {
	t.Helper()
	var counts string
	for _, model := range []any{&models.Team{}, &models.Member{}, &models.Repository{}, &models.App{}, &models.AuditEntry{}, &models.Build{}} {
		var n int64
		if err := w.db.Model(model).Count(&n).Error; err != nil {
			t.Fatal(err)
		}
		counts += fmt.Sprintf("%T %d ", model, n)
	}
	return counts
}

func TestStrangersAreToldTheSameAsOfThingsThatDontExist(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	ctx := w.as["stranger"]
	absent := models.NewID()
	pairs := map[string][2]error{}
	try := func(name string, do func(id string) error, id string) { pairs[name] = [2]error{do(id), do(absent)} }
	try("team", func(id string) error { _, err := w.catalog.Team(ctx, id); return err }, w.Team.Slug)
	try("repository", func(id string) error { _, err := w.catalog.Repository(ctx, id); return err }, w.World.Repository.ID)
	try("app", func(id string) error { _, err := w.catalog.App(ctx, id); return err }, w.World.App.ID)
	try("delete", func(id string) error { return w.catalog.DeleteApp(ctx, id) }, w.World.App.ID)
	for name, pair := range pairs {
		if pair[0] == nil || pair[0].Error() != pair[1].Error() {
			t.Errorf("%s: %v differs from %v", name, pair[0], pair[1])
		}
	}
}

func TestListsShowTheTeamsOfThePrincipalOnly(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		for who, want := range map[string]int{"viewer": 1, "admin": 1, "stranger": 0} {
			apps, err := w.catalog.Apps(w.as[who], catalog.AppFilter{})
			if err != nil || len(apps.Items) != want {
				t.Errorf("%s sees %d apps, %v", who, len(apps.Items), err)
			}
			repositories, err := w.catalog.Repositories(w.as[who], catalog.RepositoryFilter{})
			if err != nil || len(repositories.Items) != want {
				t.Errorf("%s sees %d repositories, %v", who, len(repositories.Items), err)
			}
		}
		for who, want := range map[string]int{"viewer": 1, "admin": 2, "stranger": 1} {
			teams, err := w.catalog.Teams(w.as[who], catalog.TeamFilter{})
			if err != nil || len(teams.Items) != want {
				t.Errorf("%s sees %d teams, %v", who, len(teams.Items), err)
			}
		}
		if _, err := w.catalog.Apps(w.as["nobody"], catalog.AppFilter{}); !models.IsCode(err, models.Unauthorized) {
			t.Errorf("nobody: %v", err)
		}
	})
}
