// Package migrations holds the database schema, one numbered SQL file per
// change. The same files run on SQLite and PostgreSQL; a change that has to
// differ has a file of its number in each of the folders sqlite and postgres.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"path"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed *.sql sqlite/*.sql postgres/*.sql
var files embed.FS

// ofDialect is the files of one dialect: those that are the same for both, and those in its own folder.
type ofDialect string

// Open opens a file of the dialect's folder, or else of those for both.
func (d ofDialect) Open(name string) (fs.File, error) {
	if f, err := files.Open(path.Join(string(d), name)); err == nil && name != "." {
		return f, nil
	}
	return files.Open(name)
}

// Glob returns the names of the files that match, of which goose makes its list.
func (d ofDialect) Glob(pattern string) ([]string, error) {
	both, err := fs.Glob(files, pattern)
	if err != nil {
		return nil, err
	}
	own, err := fs.Glob(files, path.Join(string(d), pattern))
	for _, name := range own {
		both = append(both, path.Base(name))
	}
	return both, err
}

// Status is one migration and whether the database has it.
type Status struct {
	Version int64
	File    string
	Applied bool
}

// New returns goose's provider for the database; dialect is gorm's name of it, "sqlite" or "postgres".
func New(db *sql.DB, dialect string) (*goose.Provider, error) {
	p, err := provider(db, dialect)
	if err != nil {
		return nil, fmt.Errorf("reading the migrations: %w", err)
	}
	return p, nil
}

func provider(db *sql.DB, dialect string) (*goose.Provider, error) {
	if dialect != "postgres" {
		return goose.NewProvider(goose.DialectSQLite3, db, ofDialect("sqlite"))
	}
	locker, err := lock.NewPostgresSessionLocker() // replicas that start together take turns
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, ofDialect("postgres"), goose.WithSessionLocker(locker))
}

// Current tells whether the database has every migration.
func Current(ctx context.Context, db *sql.DB, dialect string) (bool, error) {
	p, err := New(db, dialect)
	if err != nil {
		return false, err
	}
	pending, err := p.HasPending(ctx)
	return !pending, err
}

// Up applies every migration that the database does not have yet, each in a transaction of its own.
func Up(ctx context.Context, db *sql.DB, dialect string) error {
	p, err := New(db, dialect)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return nil
}

// List returns every migration, oldest first, and whether the database has it.
func List(ctx context.Context, db *sql.DB, dialect string) ([]Status, error) {
	p, err := New(db, dialect)
	if err != nil {
		return nil, err
	}
	all, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the state of the migrations: %w", err)
	}
	var out []Status
	for _, m := range all {
		out = append(out, Status{m.Source.Version, m.Source.Path, m.State == goose.StateApplied})
	}
	return out, nil
}
