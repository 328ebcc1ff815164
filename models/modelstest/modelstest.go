// Package modelstest gives each test a migrated database of its own.
package modelstest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"slipway.dev/migrations"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

// PostgresVariable names the environment variable with the URL of a PostgreSQL
// whose user may create databases. `make test` starts one and sets it.
const PostgresVariable = "SLIPWAY_TEST_POSTGRES"

// DB returns a migrated SQLite database that goes when the test ends.
func DB(t testing.TB) *models.Database {
	t.Helper()
	migrated, err := sqliteTemplate()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "slipway.db")
	if err := os.WriteFile(path, migrated, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, "sqlite:"+path)
}

// sqliteTemplate is a migrated database's file: copying it is a hundred times quicker than migrating anew.
var sqliteTemplate = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "slipway-template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "slipway.db")
	db, err := models.Open(context.Background(), "sqlite:"+path)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if err := migrate(context.Background(), db); err != nil {
		return nil, err
	}
	if _, err := db.SQL.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil { // so that all is in the one file
		return nil, err
	}
	return os.ReadFile(path)
})

// Postgres returns a migrated PostgreSQL database that goes when the test ends.
func Postgres(t testing.TB) *models.Database {
	t.Helper()
	return Open(t, PostgresURL(t))
}

// Each runs the test once on SQLite and once on PostgreSQL, side by side.
func Each(t *testing.T, test func(t *testing.T, db *models.Database)) {
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); test(t, DB(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { t.Parallel(); test(t, Postgres(t)) })
}

// EachURL is Each for tests in which other processes open the database too.
func EachURL(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, "sqlite:"+filepath.Join(t.TempDir(), "slipway.db"))
	})
	t.Run("PostgreSQL", func(t *testing.T) { t.Parallel(); test(t, PostgresURL(t)) })
}

// Open opens and migrates the database at the URL until the test ends.
func Open(t testing.TB, url string) *models.Database {
	t.Helper()
	db := open(t, url)
	if err := migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return db
}

func open(t testing.TB, url string) *models.Database {
	t.Helper()
	db, err := models.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func migrate(ctx context.Context, db *models.Database) error {
	if err := migrations.Up(ctx, db.SQL, db.Dialect()); err != nil {
		return err
	}
	return jobs.Migrate(ctx, db)
}

var template = sync.OnceValues(func() (string, error) {
	name := fmt.Sprintf("slipway_template_%d", os.Getpid())
	if err := admin("DROP DATABASE IF EXISTS "+name, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	db, err := models.Open(context.Background(), postgresURL(name))
	if err != nil {
		return "", err
	}
	defer db.Close()
	return name, migrate(context.Background(), db)
})

// PostgresURL returns the URL of a fresh, migrated database that goes when the test ends.
func PostgresURL(t testing.TB) string {
	t.Helper()
	from, err := template()
	if err != nil {
		t.Fatalf("the tests need PostgreSQL; run them with make test, which starts one and sets %s: %v", PostgresVariable, err)
	}
	name := "slipway_" + strings.ReplaceAll(models.NewID(), "-", "")
	if err := admin("CREATE DATABASE " + name + " TEMPLATE " + from); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := admin("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return postgresURL(name)
}

// connections is how many each process of a test opens to its database. By default it would be as many as the machine
// has processors: with as many packages at a time and tests of each at a time, more than PostgreSQL lets in.
const connections = "4"

func postgresURL(database string) string {
	u, err := url.Parse(os.Getenv(PostgresVariable))
	if err != nil {
		return ""
	}
	u.Path = "/" + database
	q := u.Query()
	q.Set("pool_max_conns", connections)
	u.RawQuery = q.Encode()
	return u.String()
}

var adminLock sync.Mutex // a template can't be copied twice at once

func admin(statements ...string) error {
	adminLock.Lock()
	defer adminLock.Unlock()
	raw := os.Getenv(PostgresVariable)
	if raw == "" {
		return fmt.Errorf("%s is not set", PostgresVariable)
	}
	db, err := models.Open(context.Background(), raw)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, s := range statements {
		if err := patiently(db, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// patiently runs the statement, which PostgreSQL refuses while a connection to the database is not quite gone: the
// server ends one in its own time, and waits for that no longer than five seconds.
func patiently(db *models.Database, statement string) error {
	for late := time.Now().Add(time.Minute); ; {
		_, err := db.SQL.Exec(statement)
		refused, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || refused.Code != objectInUse || time.Now().After(late) {
			return err
		}
	}
}

// objectInUse is the code of a database that somebody is connected to (PostgreSQL, "Error Codes").
const objectInUse = "55006"
