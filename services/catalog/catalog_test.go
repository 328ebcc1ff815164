package catalog_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/catalog"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/jobs"
	"slipway.dev/services/outbound"
	"slipway.dev/services/secrets"
)

// world is a catalog on a database with one of everything, and contexts for each of its people.
type world struct {
	*modelstest.World
	db      *models.Database
	catalog *catalog.Service
	as      map[string]context.Context
	stop    func() // ends the worker
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	w := &world{World: modelstest.Seed(t, db), db: db, as: map[string]context.Context{}}
	guard := &outbound.Guard{Allow: gittest.Loopback, Lookup: func(_ context.Context, name string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "the tests know no names", Name: name, IsNotFound: true}
	}}
	proxy := &outbound.Proxy{Guard: guard}
	if err := proxy.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	box, err := secrets.Load(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	w.catalog = &catalog.Service{DB: db.DB, Secrets: box, Git: &git.Service{Dir: filepath.Join(t.TempDir(), "git"), Guard: guard, Proxy: proxy}}
	w.work(t)
	for name, user := range map[string]*models.User{"admin": w.Admin, "maintainer": w.Maintainer, "developer": w.Developer, "viewer": w.Viewer, "stranger": w.Stranger} {
		w.as[name] = modelstest.As(t, db, user)
	}
	w.as["nobody"] = t.Context()
	w.as["read token"] = models.WithPrincipal(t.Context(), &models.Principal{Kind: models.PrincipalToken, ID: "token", UserID: w.Maintainer.ID,
		Teams: map[string]models.Role{w.Team.ID: models.RoleMaintainer}, Scopes: []models.Scope{models.ScopeRead}})
	return w
}

// work starts a worker, which ends with the test or before.
func (w *world) work(t *testing.T) {
	t.Helper()
	queue, err := jobs.New(w.db, jobs.Config{Others: 2})
	if err != nil {
		t.Fatal(err)
	}
	w.catalog.Jobs = queue
	w.catalog.Register(queue)
	if err := queue.Start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	w.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := queue.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
}

// settled waits until a repository has been read, or could not be.
func (w *world) settled(t *testing.T, id string) *models.Repository {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		r, err := w.catalog.Repository(w.as["admin"], id)
		if err != nil {
			t.Fatal(err)
		}
		if r.State == models.RepositoryReady || r.State == models.RepositoryFailed {
			return r
		}
	}
	t.Fatal("the repository was not read in time")
	return nil
}

func (w *world) register(t *testing.T, in catalog.NewRepository) *models.Repository {
	t.Helper()
	in.Team = w.Team.Slug
	r, err := w.catalog.RegisterRepository(w.as["maintainer"], in)
	if err != nil {
		t.Fatal(err)
	}
	return w.settled(t, r.ID)
}

// wantField checks that an error is about the field and says what it should.
func wantField(t *testing.T, err error, field, part string) {
	t.Helper()
	var told *models.Error
	if !errors.As(err, &told) || !strings.Contains(told.Fields[field], part) {
		t.Errorf("got %v with fields %v, want %q to say %q", err, fieldsOf(err), field, part)
	}
}

func fieldsOf(err error) map[string]string {
	var told *models.Error
	if errors.As(err, &told) {
		return told.Fields
	}
	return nil
}

func wantCode(t *testing.T, what string, err error, code models.Code) {
	t.Helper()
	if code == "" && err != nil || code != "" && !models.IsCode(err, code) {
		t.Errorf("%s: got %v, want %q", what, err, code)
	}
}

func ptr[T any](v T) *T { return &v }
