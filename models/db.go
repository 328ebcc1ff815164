package models

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/glebarez/sqlite"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/plugin/dbresolver"
)

// Database is an open database: gorm over its one pool of writers.
type Database struct {
	*gorm.DB
	SQL  *sql.DB       // the pool that gorm writes through; the job queue shares it
	Pool *pgxpool.Pool // set on PostgreSQL

	readers []*sql.DB // on SQLite
}

// Dialect is "sqlite" or "postgres".
func (d *Database) Dialect() string { return d.DB.Name() }

// Close closes every connection.
func (d *Database) Close() error {
	var faults []error
	for _, r := range d.readers {
		faults = append(faults, r.Close())
	}
	err := errors.Join(append(faults, d.SQL.Close())...) // last, so that it leaves one file behind
	if d.Pool != nil {
		d.Pool.Close()
	}
	return err
}

// Open opens the database at the URL: "sqlite:PATH" or "postgres://…". It
// connects but changes nothing.
func Open(ctx context.Context, address string) (*Database, error) {
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return openSQLite(path)
	}
	if strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://") {
		return openPostgres(ctx, address)
	}
	return nil, fmt.Errorf("the database URL %q must begin with sqlite: or postgres://", address)
}

func config() *gorm.Config {
	return &gorm.Config{
		TranslateError: true,
		NowFunc:        func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) },
		Logger:         logger.NewSlogLogger(slog.Default(), logger.Config{LogLevel: logger.Silent}),
	}
}

// openSQLite opens the file with one writer, for SQLite allows no more, and a
// pool of readers beside it, so that pages stay quick while a worker writes.
func openSQLite(path string) (*Database, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(30000)&_pragma=foreign_keys(1)"
	db, err := gorm.Open(sqlite.Open(dsn+"&_txlock=immediate"), config())
	if err != nil {
		return nil, fmt.Errorf("opening the SQLite database %s: %w", path, err)
	}
	writer, err := db.DB()
	if err != nil {
		return nil, err
	}
	writer.SetMaxOpenConns(1)
	readers := dbresolver.Register(dbresolver.Config{
		Replicas: []gorm.Dialector{sqlite.Open(dsn + "&_pragma=query_only(1)")},
	}).SetMaxOpenConns(2 * runtime.NumCPU()).SetMaxIdleConns(2 * runtime.NumCPU())
	if err := db.Use(readers); err != nil {
		return nil, fmt.Errorf("opening the SQLite database %s for reading: %w", path, err)
	}
	writer.SetMaxOpenConns(1) // the resolver's limits apply to the writer too
	d := &Database{DB: db, SQL: writer}
	return d, readers.Call(func(pool gorm.ConnPool) error {
		if r, ok := pool.(*sql.DB); ok && r != writer {
			d.readers = append(d.readers, r)
		}
		return nil
	})
}

func openPostgres(ctx context.Context, address string) (*Database, error) {
	cfg, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, fmt.Errorf("the database URL is not valid: %w", err)
	}
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the PostgreSQL database: %w", err)
	}
	conn := stdlib.OpenDBFromPool(pool)
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: conn}), config())
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("connecting to the PostgreSQL database at %s: %w", cfg.ConnConfig.Host, err)
	}
	return &Database{DB: db, SQL: conn, Pool: pool}, nil
}
