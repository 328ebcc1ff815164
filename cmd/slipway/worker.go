package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"slipway.dev/migrations"
	"slipway.dev/models"
)

const schemaWait = time.Minute

type workerCommand struct {
	settings `embed:""`
}

// Run takes jobs until ctx ends.
func (c *workerCommand) Run(ctx context.Context) (err error) {
	if err := c.resolve(); err != nil {
		return err
	}
	slog.SetDefault(c.logger(os.Stderr))
	db, err := openDatabase(ctx, &c.settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := awaitSchema(ctx, db); err != nil {
		return err
	}
	external, err := c.portalURL(ctx, db)
	if err != nil {
		return err
	}
	p, err := newProcess(ctx, &c.settings, db, external)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.start(ctx, true); err != nil {
		return err
	}
	slog.Info("this worker takes jobs", "worker", p.queue.WorkerID(), "portal", external)
	<-ctx.Done()
	return p.stop()
}

// portalURL is where the portal is: as configured, or as the newest portal on this database said.
func (s *settings) portalURL(ctx context.Context, db *models.Database) (string, error) {
	if s.ExternalURL != "" {
		return s.ExternalURL, nil
	}
	var row models.Setting
	if err := db.WithContext(ctx).Where("key = ?", externalSetting).Take(&row).Error; err != nil {
		return "", fmt.Errorf("no portal has run on this database yet; start slipway serve first, or set external-url: %w", err)
	}
	return row.Value, nil
}

// awaitSchema waits until the portal, which may start at the same time, has migrated the database.
func awaitSchema(ctx context.Context, db *models.Database) error {
	ctx, cancel := context.WithTimeout(ctx, schemaWait)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		current, err := migrations.Current(ctx, db.SQL, db.Dialect())
		if err == nil && current && db.Migrator().HasTable("river_job") {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("the database lacks migrations; run slipway migrate up, or start slipway serve"), err)
		case <-tick.C:
		}
	}
}
