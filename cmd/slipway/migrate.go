package main

import (
	"context"
	"fmt"

	"slipway.dev/migrations"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

type migrateCommand struct {
	Up     migrateUp     `cmd:"" help:"Apply every migration that is missing."`
	Down   migrateDown   `cmd:"" help:"Take the newest migration back."`
	Status migrateStatus `cmd:"" help:"List the migrations and whether the database has them."`
}

type migrateUp struct {
	settings `embed:""`
}

type migrateDown struct {
	settings `embed:""`
}

type migrateStatus struct {
	settings `embed:""`
}

// Run applies every migration that is missing.
func (c *migrateUp) Run(ctx context.Context) error {
	return c.withDatabase(ctx, func(db *models.Database) error { return migrateAll(ctx, db) })
}

// Run takes the newest migration back.
func (c *migrateDown) Run(ctx context.Context) error {
	return c.withDatabase(ctx, func(db *models.Database) error {
		p, err := migrations.New(db.SQL, db.Dialect())
		if err != nil {
			return err
		}
		_, err = p.Down(ctx)
		return err
	})
}

// Run lists the migrations.
func (c *migrateStatus) Run(ctx context.Context) error {
	return c.withDatabase(ctx, func(db *models.Database) error {
		list, err := migrations.List(ctx, db.SQL, db.Dialect())
		for _, m := range list {
			state := "missing"
			if m.Applied {
				state = "applied"
			}
			fmt.Printf("%-8s %s\n", state, m.File)
		}
		return err
	})
}

func (s *settings) withDatabase(ctx context.Context, do func(*models.Database) error) error {
	if err := s.resolve(); err != nil {
		return err
	}
	db, err := openDatabase(ctx, s)
	if err != nil {
		return err
	}
	defer db.Close()
	return do(db)
}

// migrateAll brings Slipway's tables and the job queue's up to date.
func migrateAll(ctx context.Context, db *models.Database) error {
	if err := migrations.Up(ctx, db.SQL, db.Dialect()); err != nil {
		return err
	}
	return jobs.Migrate(ctx, db)
}
