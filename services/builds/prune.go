package builds

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

const (
	pruneEvery  = 10 * time.Minute
	pruneWithin = 5 * time.Minute
)

// Prune frees of this worker's engine what the settings say, and writes down what it freed.
func (s *Service) Prune(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pruneWithin)
	defer cancel()
	now, err := s.measured(ctx)
	if err != nil {
		return err
	}
	return s.prune(ctx, now)
}

func (s *Service) prune(ctx context.Context, w *models.Worker) error {
	if s.Engine == nil {
		return nil
	}
	inUse, err := s.imagesInUse(ctx)
	if err != nil {
		return err
	}
	done, failed := s.Engine.Prune(ctx, s.limits(w), inUse)
	if err := s.pruned(ctx, w, done, failed); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("pruning the engine: %w", failed)
	}
	return nil
}

// limits are those of the settings, and less where the disk is nearly full.
func (s *Service) limits(w *models.Worker) CacheLimits {
	l := s.CacheLimits
	if short := s.short(w); short > 0 {
		keep := max(w.CacheSize-short, 1)
		if l.Size == 0 || keep < l.Size {
			l.Size = keep
		}
	}
	return l
}

// imagesInUse are the images that builds push now and that deployments run: names and digests.
func (s *Service) imagesInUse(ctx context.Context) ([]string, error) {
	db := s.DB.WithContext(ctx)
	var running []models.Build
	if err := db.Preload("App.Team").Where("state = ?", models.BuildRunning).Find(&running).Error; err != nil {
		return nil, fmt.Errorf("reading the images that builds use: %w", err)
	}
	var used []string
	err := db.Model(&models.Deployment{}).Where("active OR state IN ?", models.UnendedDeployments).
		Distinct().Pluck("image_digest", &used).Error
	if err != nil {
		return nil, fmt.Errorf("reading the images that deployments use: %w", err)
	}
	for i := range running {
		r := run{Service: s, build: &running[i]}
		name, err := r.pushName(ctx)
		if err != nil {
			return nil, err
		}
		used = append(used, name)
	}
	return used, nil
}

// pruned writes down how the pruning went, with an audit entry where it freed anything.
func (s *Service) pruned(ctx context.Context, w *models.Worker, done Pruned, failed error) error {
	now := s.DB.NowFunc()
	changes := map[string]any{"pruned_at": now, "pruned_bytes": done.Bytes, "prune_error": "", "prune_asked_at": nil}
	if failed != nil {
		changes["prune_error"] = "The engine could not be pruned. The worker's log says why."
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Model(&models.Worker{}).Where("id = ?", w.ID).Updates(changes).Error; err != nil {
			return fmt.Errorf("writing down what was pruned: %w", err)
		}
		if done == (Pruned{}) && failed == nil && w.PruneAskedAt == nil {
			return nil
		}
		entry := audit.Entry{Action: "cache.prune", Subject: "worker:" + w.ID, Detail: map[string]string{"freed": strconv.FormatInt(done.Bytes, 10), "images": strconv.Itoa(done.Images)}}
		if err := audit.Record(ctx, tx, entry); err != nil {
			return err
		}
		return events.Publish(tx, workerEvent(w.ID, "worker.pruned"))
	})
}
