package forges_test

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/forges"
	"slipway.dev/services/outbound"
	"slipway.dev/services/secrets"
)

// world is the service on a database with one of everything, and contexts for each of its people.
type world struct {
	*modelstest.World
	db     *models.Database
	forges *forges.Service
	as     map[string]context.Context
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	guard := &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	w := &world{World: modelstest.Seed(t, db), db: db, forges: &forges.Service{DB: db.DB, Box: box, ExternalURL: "https://slipway.example.test", Client: guard.HTTPClient()}}
	w.as = map[string]context.Context{"nobody": t.Context(), "system": models.WithPrincipal(t.Context(), models.System("test"))}
	for name, u := range map[string]*models.User{"admin": w.Admin, "maintainer": w.Maintainer, "developer": w.Developer, "viewer": w.Viewer, "stranger": w.Stranger} {
		w.as[name] = modelstest.As(t, db, u)
	}
	return w
}

// connect makes a connection of the team and returns it with the secret of its webhooks.
func (w *world) connect(t *testing.T, in forges.NewConnection) (*models.Connection, string) {
	t.Helper()
	in.Team = w.Team.Slug
	c, secret, err := w.forges.Create(w.as["maintainer"], in)
	if err != nil {
		t.Fatal(err)
	}
	return c, secret
}

// connectionOf reads the repository's connection.
func (w *world) connectionOf(t *testing.T, id string) (connection, external string) {
	t.Helper()
	var r models.Repository
	if err := w.db.Take(&r, "id = ?", id).Error; err != nil {
		t.Fatal(err)
	}
	if r.ConnectionID != nil {
		connection = *r.ConnectionID
	}
	return connection, r.ExternalID
}

// wantField checks that an error is about the field and says what it should.
func wantField(t *testing.T, err error, field, part string) {
	t.Helper()
	var told *models.Error
	if !errors.As(err, &told) || !strings.Contains(told.Fields[field], part) {
		t.Errorf("got %v, want %q to say %q", err, field, part)
	}
}

func wantCode(t *testing.T, what string, err error, code models.Code) {
	t.Helper()
	if code == "" && err != nil || code != "" && !models.IsCode(err, code) {
		t.Errorf("%s: got %v, want %q", what, err, code)
	}
}

func ptr[T any](v T) *T { return &v }
