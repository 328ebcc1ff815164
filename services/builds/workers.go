package builds

import (
	"context"
	"fmt"
	"strconv"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

const maxWorkerBuilds = 64

// WorkerChange says what an admin changes of a worker; what is nil stays.
type WorkerChange struct {
	Draining *bool
	Builds   *int
	Labels   *[]string
}

// Workers returns all workers that lived a short while ago, the oldest first, to admins.
func (s *Service) Workers(ctx context.Context) ([]models.WorkerInfo, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	var rows []models.Worker
	db := s.DB.WithContext(ctx)
	if err := db.Order("id").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading the workers: %w", err)
	}
	var held []struct {
		Worker string
		Builds int
	}
	err := db.Model(&models.Build{}).Select("worker, COUNT(*) AS builds").Where("state = ?", models.BuildRunning).Group("worker").Find(&held).Error
	if err != nil {
		return nil, fmt.Errorf("counting what the workers carry: %w", err)
	}
	running := map[string]int{}
	for _, h := range held {
		running[h.Worker] = h.Builds
	}
	all := make([]models.WorkerInfo, len(rows))
	for i, w := range rows {
		all[i] = models.WorkerInfo{Worker: w, State: w.State(s.Jobs.AliveSince()), Running: running[w.ID]}
	}
	return all, nil
}

// UpdateWorker changes how a worker works; admins may. It holds until the
// worker's process ends: one that starts again works as its settings say.
func (s *Service) UpdateWorker(ctx context.Context, id string, in WorkerChange) (*models.WorkerInfo, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	changes, detail, err := in.columns()
	if err != nil {
		return nil, err
	}
	if len(changes) > 0 {
		if err := s.changeWorker(ctx, id, "worker.update", changes, detail); err != nil {
			return nil, err
		}
	}
	return s.Worker(ctx, id)
}

// columns are the changes as they are stored, and as the audit log says them.
func (in WorkerChange) columns() (changes map[string]any, detail map[string]string, err error) {
	changes, detail = map[string]any{}, map[string]string{}
	if in.Draining != nil {
		changes["draining"], detail["draining"] = *in.Draining, strconv.FormatBool(*in.Draining)
	}
	if in.Builds != nil {
		if *in.Builds < 1 || *in.Builds > maxWorkerBuilds {
			return nil, nil, models.InvalidField("builds", "A worker runs 1 to %d builds at once. To have it run none, drain it.", maxWorkerBuilds)
		}
		changes["builds"], detail["builds"] = *in.Builds, strconv.Itoa(*in.Builds)
	}
	if in.Labels != nil {
		labels, err := models.NewLabels("labels", *in.Labels)
		if err != nil {
			return nil, nil, err
		}
		changes["labels"], detail["labels"] = labels, labels.String()
	}
	return changes, detail, nil
}

func (s *Service) changeWorker(ctx context.Context, id, action string, changes map[string]any, detail map[string]string) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var w models.Worker
		if err := tx.Where("id = ?", id).Take(&w).Error; err != nil {
			return models.FromDB(err, "worker")
		}
		if err := tx.Model(&models.Worker{}).Where("id = ?", id).Updates(changes).Error; err != nil {
			return fmt.Errorf("changing a worker: %w", err)
		}
		entry := audit.Entry{Action: action, Subject: "worker:" + id, Name: w.Host, Detail: detail}
		if err := audit.Record(ctx, tx, entry); err != nil {
			return err
		}
		if err := s.wake(ctx, tx, maxWorkerBuilds); err != nil {
			return err
		}
		return events.Publish(tx, workerEvent(id, action))
	})
}

// Worker returns a worker, to admins.
func (s *Service) Worker(ctx context.Context, id string) (*models.WorkerInfo, error) {
	all, err := s.Workers(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range all {
		if w.ID == id {
			return &w, nil
		}
	}
	return nil, models.Errorf(models.NotFound, "No such worker.")
}

// AskPrune has the worker prune its engine's build cache within half a minute; admins may.
func (s *Service) AskPrune(ctx context.Context, id string) (*models.WorkerInfo, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	w, err := s.Worker(ctx, id)
	if err != nil {
		return nil, err
	}
	if w.State == models.WorkerSilent {
		return nil, models.Errorf(models.Conflict, "The worker is silent, so nobody would prune there.")
	}
	if err := s.changeWorker(ctx, id, "worker.prune", map[string]any{"prune_asked_at": s.DB.NowFunc()}, nil); err != nil {
		return nil, err
	}
	return s.Worker(ctx, id)
}
