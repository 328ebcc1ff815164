package catalog_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/catalog"
)

func TestWhoMakesATeamMaintainsIt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		team, err := w.catalog.CreateTeam(w.as["viewer"], catalog.NewTeam{Slug: "shipping"})
		if err != nil || team.Name != "shipping" {
			t.Fatalf("got %+v, %v", team, err)
		}
		members, err := w.catalog.Members(modelstest.As(t, db, w.Viewer), "shipping")
		if err != nil || len(members) != 1 || members[0].Role != models.RoleMaintainer || members[0].User.Name != "viewer" {
			t.Errorf("members %+v, %v", members, err)
		}
		var entry models.AuditEntry
		if err := db.Where("action = ?", "team.create").Take(&entry).Error; err != nil || entry.TeamID != team.ID || entry.ActorName != "viewer" {
			t.Errorf("audit %+v, %v", entry, err)
		}
		_, err = w.catalog.CreateTeam(w.as["viewer"], catalog.NewTeam{Slug: "shipping"})
		wantCode(t, "the same slug", err, models.Conflict)
		wantField(t, err, "slug", `There is a team "shipping" already`)
	})
}

func TestTeamsNeedGoodNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	for _, slug := range []string{"", "A", "a b", "-a", "a-", "a--b", "a_b", "a/b", "..", "ä", "$(id)", strings.Repeat("a", 41)} {
		_, err := w.catalog.CreateTeam(w.as["admin"], catalog.NewTeam{Slug: slug, Name: "A name"})
		wantField(t, err, "slug", "lower-case letters")
	}
	for _, name := range []string{strings.Repeat("n", 81), "two\nlines"} {
		_, err := w.catalog.CreateTeam(w.as["admin"], catalog.NewTeam{Slug: "good", Name: name})
		wantField(t, err, "name", "1 to 80 characters")
	}
	team, err := w.catalog.UpdateTeam(w.as["maintainer"], w.Team.Slug, catalog.UpdateTeam{Name: "  Zahlungen <b>  "})
	if err != nil || team.Name != "Zahlungen <b>" {
		t.Errorf("got %+v, %v", team, err)
	}
}

func TestATeamsTokenMakesNoTeams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	token := models.WithPrincipal(t.Context(), &models.Principal{Kind: models.PrincipalToken, ID: "t", Teams: map[string]models.Role{w.Team.ID: models.RoleMaintainer}})
	_, err := w.catalog.CreateTeam(token, catalog.NewTeam{Slug: "other"})
	wantCode(t, "a team's token", err, models.Denied)
	_, err = w.catalog.CreateTeam(w.as["read token"], catalog.NewTeam{Slug: "other"})
	wantCode(t, "a token to read", err, models.Denied)
	_, err = w.catalog.CreateTeam(w.as["nobody"], catalog.NewTeam{Slug: "other"})
	wantCode(t, "nobody", err, models.Unauthorized)
	bootstrap := models.WithPrincipal(t.Context(), &models.Principal{Kind: models.PrincipalToken, ID: "b", Admin: true})
	if _, err = w.catalog.CreateTeam(bootstrap, catalog.NewTeam{Slug: "other"}); err != nil {
		t.Errorf("the bootstrap token: %v", err)
	}
}

func TestTeamsComeInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	for i := range 5 {
		if _, err := w.catalog.CreateTeam(w.as["admin"], catalog.NewTeam{Slug: fmt.Sprintf("team-%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	var slugs []string
	for page := (models.Page{Limit: 3}); ; {
		list, err := w.catalog.Teams(w.as["admin"], catalog.TeamFilter{Page: page})
		if err != nil {
			t.Fatal(err)
		}
		for _, team := range list.Items {
			slugs = append(slugs, team.Slug)
		}
		if page.Cursor = list.Next; page.Cursor == "" {
			break
		}
	}
	if got := strings.Join(slugs, " "); got != "payments search team-0 team-1 team-2 team-3 team-4" {
		t.Errorf("got %s", got)
	}
}

func TestMembersAreAddedChangedAndRemoved(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		maintainer, slug := w.as["maintainer"], w.Team.Slug
		for _, role := range []models.Role{models.RoleViewer, models.RoleDeveloper, models.RoleDeveloper} {
			member, err := w.catalog.SetMember(maintainer, slug, w.Stranger.ID, catalog.SetMember{Role: role})
			if err != nil || member.Role != role || member.User.ID != w.Stranger.ID {
				t.Fatalf("got %+v, %v", member, err)
			}
		}
		if got := modelstest.As(t, db, w.Stranger); models.PrincipalFrom(got).RoleIn(w.Team.ID) != models.RoleDeveloper {
			t.Error("the role is not stored")
		}
		if err := w.catalog.RemoveMember(maintainer, slug, w.Stranger.ID); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "removing a stranger", w.catalog.RemoveMember(maintainer, slug, w.Stranger.ID), models.NotFound)
		_, err := w.catalog.SetMember(maintainer, slug, models.NewID(), catalog.SetMember{Role: models.RoleViewer})
		wantCode(t, "adding nobody", err, models.NotFound)
		_, err = w.catalog.SetMember(maintainer, slug, w.Viewer.ID, catalog.SetMember{Role: "owner"})
		wantField(t, err, "role", "Choose viewer")
		if err := w.catalog.RemoveMember(w.as["viewer"], slug, w.Viewer.ID); err != nil {
			t.Errorf("leaving: %v", err)
		}
	})
}

func TestTheLastMaintainerStays(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		slug := w.Team.Slug
		wantCode(t, "removing", w.catalog.RemoveMember(w.as["admin"], slug, w.Maintainer.ID), models.Conflict)
		_, err := w.catalog.SetMember(w.as["admin"], slug, w.Maintainer.ID, catalog.SetMember{Role: models.RoleViewer})
		wantCode(t, "lowering", err, models.Conflict)
		if _, err := w.catalog.SetMember(w.as["admin"], slug, w.Developer.ID, catalog.SetMember{Role: models.RoleMaintainer}); err != nil {
			t.Fatal(err)
		}
		var removed atomic.Int32
		var wait sync.WaitGroup
		for _, user := range []*models.User{w.Maintainer, w.Developer} {
			wait.Go(func() {
				if w.catalog.RemoveMember(w.as["admin"], slug, user.ID) == nil {
					removed.Add(1)
				}
			})
		}
		wait.Wait()
		if removed.Load() != 1 {
			t.Errorf("%d of the two maintainers were removed at once", removed.Load())
		}
	})
}

func TestPeopleAreFoundByTheBeginningOfTheirName(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		for text, want := range map[string]int{"MAIN": 1, "viewer@example": 1, "": 5, "%": 0, "_": 0, "' OR 1=1 --": 0} {
			users, err := w.catalog.FindUsers(w.as["maintainer"], w.Team.Slug, text)
			if err != nil || len(users) != want {
				t.Errorf("%q finds %d, %v", text, len(users), err)
			}
		}
	})
}
