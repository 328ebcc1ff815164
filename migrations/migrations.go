// Package migrations holds the database schema, one numbered SQL file per
// change. The same files run on SQLite and PostgreSQL; a change that has to
// differ goes into two folders of that number's own.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"fmt"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed *.sql
var files embed.FS

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
		return goose.NewProvider(goose.DialectSQLite3, db, files)
	}
	locker, err := lock.NewPostgresSessionLocker() // replicas that start together take turns
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
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
