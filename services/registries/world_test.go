package registries_test

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
)

// world is a portal with two teams and an admin.
type world struct {
	*registries.Service
	acme, other models.Team
}

// newWorld has loopback addresses allowed, as an admin would for a registry in the house.
func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Service: &registries.Service{
		DB: db, Box: box,
		Guard: &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Lookup: func(_ context.Context, name string) ([]netip.Addr, error) {
			return nil, &net.DNSError{Err: "the tests know no names", Name: name, IsNotFound: true}
		}},
		Embedded: &registry.Service{DB: db, Box: box, Folder: t.TempDir(), External: "http://localhost:8080"},
	}}
	t.Cleanup(func() { w.Close() })
	w.acme = models.Team{ID: models.NewID(), Slug: "acme", Name: "Acme"}
	w.other = models.Team{ID: models.NewID(), Slug: "other", Name: "Other"}
	for _, team := range []*models.Team{&w.acme, &w.other} {
		if err := db.Create(team).Error; err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func sqlite(t *testing.T) *models.Database { return modelstest.DB(t) }

func admin(t *testing.T) context.Context {
	return models.WithPrincipal(t.Context(), &models.Principal{Kind: models.PrincipalSession, ID: "s1", UserID: "u1", Name: "root", Admin: true})
}

// member is a person with the role in the team.
func member(t *testing.T, team models.Team, role models.Role) context.Context {
	return models.WithPrincipal(t.Context(), &models.Principal{Kind: models.PrincipalSession, ID: "s2", UserID: "u2", Name: "amy", Teams: map[string]models.Role{team.ID: role}})
}

// connect connects a docker-registry for every team.
func (w *world) connect(t *testing.T, r *registriestest.Registry, access models.RegistryAccess) *models.Registry {
	t.Helper()
	connected, err := w.Create(admin(t), registries.Input{
		Name: "House", Kind: registries.KindGeneric, Host: r.Host, PlainHTTP: true, AllTeams: access, CheckRepository: "acme/shop",
		Settings: map[string]string{"username": registriestest.User, "password": registriestest.Password},
	})
	if err != nil {
		t.Fatal(err)
	}
	return connected
}

// app is an app of the first team whose images go to the registry.
func (w *world) app(t *testing.T, registryID, repository string) *models.App {
	t.Helper()
	r := &models.Repository{ID: models.NewID(), TeamID: w.acme.ID, Name: "shop", CloneURL: "https://git.test/shop", CredentialKind: models.CredentialNone, State: models.RepositoryReady}
	app := &models.App{ID: models.NewID(), TeamID: w.acme.ID, RepositoryID: r.ID, Name: "shop", Dockerfile: "Dockerfile", Context: ".", Builder: models.BuilderBuildKit,
		Health: models.HealthTCP, BuildTimeout: 60, RegistryID: registryID, ImageRepository: repository}
	for _, row := range []any{r, app} {
		if err := w.DB.Create(row).Error; err != nil {
			t.Fatal(err)
		}
	}
	return app
}
