package modelstest

import (
	"context"
	"testing"

	"slipway.dev/models"
)

// World is a small team with one of everything, for tests that need a row to point at.
type World struct {
	Admin, Maintainer, Developer, Viewer, Stranger *models.User
	Team, OtherTeam                                *models.Team // Stranger is maintainer of OtherTeam
	Repository                                     *models.Repository
	App                                            *models.App
	Build                                          *models.Build // queued, number 1
	Target                                         *models.Target
	Environment                                    *models.Environment
}

// Seed fills the database with a World.
func Seed(t testing.TB, db *models.Database) *World {
	t.Helper()
	now := db.NowFunc()
	create := func(rows ...any) {
		t.Helper()
		for _, r := range rows {
			if err := db.Create(r).Error; err != nil {
				t.Fatalf("seeding %T: %v", r, err)
			}
		}
	}
	user := func(name string, admin bool) *models.User {
		u := &models.User{ID: models.NewID(), Issuer: "https://issuer.test", Subject: name, Email: name + "@example.test", Name: name, Admin: admin, CreatedAt: now}
		create(u)
		return u
	}
	w := &World{
		Admin: user("admin", true), Maintainer: user("maintainer", false), Developer: user("developer", false),
		Viewer: user("viewer", false), Stranger: user("stranger", false),
		Team:      &models.Team{ID: models.NewID(), Slug: "payments", Name: "Payments", CreatedAt: now},
		OtherTeam: &models.Team{ID: models.NewID(), Slug: "search", Name: "Search", CreatedAt: now},
	}
	create(w.Team, w.OtherTeam)
	for u, role := range map[*models.User]models.Role{w.Maintainer: models.RoleMaintainer, w.Developer: models.RoleDeveloper, w.Viewer: models.RoleViewer} {
		create(&models.Member{TeamID: w.Team.ID, UserID: u.ID, Role: role, CreatedAt: now})
	}
	create(&models.Member{TeamID: w.OtherTeam.ID, UserID: w.Stranger.ID, Role: models.RoleMaintainer, CreatedAt: now})
	w.Repository = &models.Repository{ID: models.NewID(), TeamID: w.Team.ID, Name: "shop", CloneURL: "https://git.example.test/shop.git", DefaultBranch: "main",
		CredentialKind: models.CredentialNone, State: models.RepositoryReady, CreatedAt: now, UpdatedAt: now}
	w.App = &models.App{ID: models.NewID(), TeamID: w.Team.ID, RepositoryID: w.Repository.ID, Name: "checkout", Dockerfile: "Dockerfile", Context: ".",
		Builder: models.BuilderBuildKit, Port: 8080, Health: models.HealthHTTP, HealthPath: "/healthz", Triggers: models.DefaultTriggers(), BuildTimeout: 1800, BuildCount: 1, CreatedAt: now, UpdatedAt: now}
	w.Build = &models.Build{ID: models.NewID(), TeamID: w.Team.ID, AppID: w.App.ID, Number: 1, State: models.BuildQueued, Trigger: models.TriggerManual, Ref: "main", RefKind: "branch",
		Commit: "0123456789abcdef0123456789abcdef01234567", Dockerfile: "Dockerfile", Context: ".", TimeoutSeconds: 1800, QueuedAt: now, CreatedAt: now}
	w.Target = &models.Target{ID: models.NewID(), Name: "local", Kind: "docker", AllTeams: true, CreatedAt: now, UpdatedAt: now}
	w.Environment = &models.Environment{ID: models.NewID(), TeamID: w.Team.ID, TargetID: w.Target.ID, Name: "dev", CreatedAt: now, UpdatedAt: now}
	create(w.Repository, w.App, w.Build, w.Target, w.Environment)
	return w
}

// As returns a context that acts for the user with the roles that the database gives.
func As(t testing.TB, db *models.Database, u *models.User) context.Context {
	t.Helper()
	var members []models.Member
	if err := db.Where("user_id = ?", u.ID).Find(&members).Error; err != nil {
		t.Fatal(err)
	}
	p := &models.Principal{Kind: models.PrincipalSession, ID: "test", UserID: u.ID, Name: u.Name, Admin: u.Admin, Teams: map[string]models.Role{}}
	for _, m := range members {
		p.Teams[m.TeamID] = m.Role
	}
	return models.WithPrincipal(t.Context(), p)
}
