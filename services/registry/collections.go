package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
)

const (
	collectorDead = 5 * time.Minute // without a sign of life for so long, a run's process has died
	collectorBeat = 5 * time.Second // how often a run says that it goes on

	installationSetting = "registry_installation" // names this database in the place where the blobs are
)

// tally is a run of the collector that counts what it frees.
type tally struct {
	*Service
	run   models.RegistryCollection
	asked bool // by a person, who is told also that nothing was freed
}

// collectJob is the job that CollectNow leaves to a worker.
type collectJob struct{}

// Kind names the job.
func (collectJob) Kind() string { return "registry.collect" }

// Register names the registry's work to the queue.
func (s *Service) Register(q *jobs.Queue) {
	jobs.Register(q, func(ctx context.Context, _ collectJob) error { return s.run(ctx, true) })
}

// CollectNow has a worker collect at once what no image needs; admins may. It
// fails with a Conflict while a run goes on.
func (s *Service) CollectNow(ctx context.Context) error {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var running int64
		alive := s.DB.NowFunc().Add(-collectorDead)
		if err := tx.Model(&models.RegistryCollection{}).Where("running AND alive_at > ?", alive).Count(&running).Error; err != nil {
			return fmt.Errorf("looking for a run of the collector: %w", err)
		}
		if running > 0 {
			return models.Errorf(models.Conflict, "The collector is running. Wait until it is done.")
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "registry.collect", Subject: "registry"}); err != nil {
			return err
		}
		return s.Jobs.Insert(ctx, tx, jobs.QueueDefault, collectJob{})
	})
}

// Collect deletes what no image needs and nobody has wanted for the grace, and
// writes down how many bytes that freed. It may run while images are pushed. One
// process at a time does it; for the others there is nothing to do.
func (s *Service) Collect(ctx context.Context) error { return s.run(ctx, false) }

func (s *Service) run(ctx context.Context, asked bool) error {
	now := s.DB.NowFunc()
	t := &tally{Service: s, asked: asked, run: models.RegistryCollection{ID: models.NewID(), Running: true, StartedAt: now, AliveAt: now}}
	begun, err := t.begin(ctx)
	if err != nil || !begun {
		return err
	}
	failed := s.collect(ctx, t)
	return errors.Join(failed, t.end(context.WithoutCancel(ctx), failed))
}

// begin makes this the run that goes on, where there is none or one whose process died.
func (t *tally) begin(ctx context.Context) (begun bool, err error) {
	err = t.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		dead := tx.Model(&models.RegistryCollection{}).Where("running AND alive_at < ?", t.run.StartedAt.Add(-collectorDead)).
			UpdateColumns(map[string]any{"running": false, "finished_at": t.run.StartedAt, "error": "The process that collected ended before it was done."})
		if dead.Error != nil {
			return dead.Error
		}
		created := tx.Clauses(ignore()).Create(&t.run)
		begun = created.RowsAffected == 1
		return created.Error
	})
	if err != nil {
		return false, fmt.Errorf("beginning to collect: %w", err)
	}
	return begun, nil
}

// add counts what was freed, and now and then says that the run goes on.
func (t *tally) add(ctx context.Context, freed models.RegistryCollection) error {
	t.run.Uploads += freed.Uploads
	t.run.Blobs += freed.Blobs
	t.run.Bytes += freed.Bytes
	now := t.DB.NowFunc()
	if now.Sub(t.run.AliveAt) < collectorBeat {
		return nil
	}
	t.run.AliveAt = now
	kept := t.mine(t.DB.WithContext(ctx)).UpdateColumns(t.columns())
	if kept.Error == nil && kept.RowsAffected == 0 {
		return errors.New("another process took this run for dead")
	}
	return kept.Error
}

func (t *tally) mine(tx *gorm.DB) *gorm.DB {
	return tx.Model(&models.RegistryCollection{}).Where("id = ? AND running", t.run.ID)
}

func (t *tally) columns() map[string]any {
	return map[string]any{"alive_at": t.run.AliveAt, "uploads": t.run.Uploads, "blobs": t.run.Blobs, "bytes": t.run.Bytes}
}

// end writes down what the run freed. One that freed nothing leaves no row, unless somebody waits for it.
func (t *tally) end(ctx context.Context, failed error) error {
	err := t.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if failed == nil && !t.asked && t.run.Uploads+t.run.Blobs+t.run.Bytes == 0 {
			return t.mine(tx).Delete(&models.RegistryCollection{}).Error
		}
		t.run.AliveAt = t.DB.NowFunc()
		columns := t.columns()
		columns["running"], columns["finished_at"], columns["error"] = false, t.run.AliveAt, reasonOf(failed)
		if err := t.mine(tx).UpdateColumns(columns).Error; err != nil {
			return err
		}
		entry := audit.Entry{Action: "registry.collected", Subject: "registry", Detail: map[string]string{
			"freed": strconv.FormatInt(t.run.Bytes, 10), "blobs": strconv.FormatInt(t.run.Blobs, 10), "uploads": strconv.FormatInt(t.run.Uploads, 10)}}
		if err := audit.Record(ctx, tx, entry); err != nil {
			return err
		}
		return events.Publish(tx, models.Event{Kind: "registry.collected", Topic: "registry", Data: map[string]string{}})
	})
	if err != nil {
		return fmt.Errorf("writing down what was collected: %w", err)
	}
	return nil
}

// reasonOf is why a run ended early, for people.
func reasonOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errStorage):
		return "The storage of the layers could not be reached. The next run goes on; the worker's log says more."
	}
	return "The run ended early. The next one goes on; the worker's log says why."
}

// Collections returns the runs of the collector that freed something, failed or were asked for, newest first; to admins.
func (s *Service) Collections(ctx context.Context, p models.Page) (models.List[models.RegistryCollection], error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return models.List[models.RegistryCollection]{}, err
	}
	return models.Newest(s.DB.WithContext(ctx), p, "id", func(c models.RegistryCollection) string { return c.ID })
}

// Storage returns where blobs are and how much that is, to admins.
func (s *Service) Storage(ctx context.Context) (*models.RegistryStorage, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	at := &models.RegistryStorage{Place: s.Place, Bucket: s.Bucket != nil}
	db := s.DB.WithContext(ctx)
	var running int64
	err := errors.Join(
		db.Model(&models.RegistryBlob{}).Select("COUNT(*), COALESCE(SUM(size), 0)").Where("deleting_at IS NULL").Row().Scan(&at.Blobs, &at.Bytes),
		db.Model(&models.RegistryUpload{}).Select("COUNT(*), COALESCE(SUM(size), 0)").Row().Scan(&at.Uploads, &at.UploadBytes),
		db.Model(&models.RegistryCollection{}).Where("running AND alive_at > ?", s.DB.NowFunc().Add(-collectorDead)).Count(&running).Error,
	)
	if err != nil {
		return nil, fmt.Errorf("reading how much the registry has: %w", err)
	}
	at.Collecting = running > 0
	return at, nil
}

// foreign tells whether the place where the blobs are is another installation's.
func (s *Service) foreign(ctx context.Context) (bool, error) {
	db := s.DB.WithContext(ctx)
	mark := models.Setting{Key: installationSetting, Value: uuid.NewString(), UpdatedAt: s.DB.NowFunc()}
	if err := db.Clauses(ignore()).Create(&mark).Error; err != nil {
		return false, fmt.Errorf("naming this installation: %w", err)
	}
	if err := db.Where("key = ?", installationSetting).Take(&mark).Error; err != nil {
		return false, fmt.Errorf("naming this installation: %w", err)
	}
	owner, err := s.storage().owner(ctx, mark.Value)
	if err != nil {
		return false, err
	}
	if owner != mark.Value {
		slog.WarnContext(ctx, "the registry's blobs lie where another installation keeps its own; what no row knows is left alone")
	}
	return owner != mark.Value, nil
}
