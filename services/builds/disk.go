package builds

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/shirou/gopsutil/v4/disk"
	"slipway.dev/models"
	"slipway.dev/services/events"
)

const (
	measureEvery  = 20 * time.Second
	measureWithin = 15 * time.Second
	pruneAgain    = 5 * time.Minute // between two prunings of a disk that stays nearly full
)

// Engine is what holds the build cache and the images of the local builder.
type Engine interface {
	// Usage tells how much the build cache takes and what pruning by the limits would free.
	Usage(ctx context.Context, limits CacheLimits) (EngineUsage, error)
	// Prune frees what the limits say and what Slipway itself left behind. It
	// removes nothing that a build, a container or one of the images that are
	// named in use needs, and nothing that is not Slipway's. In use are names
	// and digests.
	Prune(ctx context.Context, limits CacheLimits, inUse []string) (Pruned, error)
}

// CacheLimits are what the build cache is pruned to.
type CacheLimits struct {
	Size int64         // bytes; 0: any
	Age  time.Duration // since something was used last; 0: any
}

// Pruned is what pruning removed.
type Pruned struct {
	Bytes  int64 // of the build cache
	Images int
}

// EngineUsage is what an engine says of its disk. Sizes are bytes.
type EngineUsage struct {
	Root     string // the engine's own folder, where it is on this machine
	Cache    int64
	Prunable int64
}

// space is how much of the disk with the folder is free; zeros where the folder is not on this machine.
func space(ctx context.Context, folder string) (free, total int64) {
	for folder != "" {
		usage, err := disk.UsageWithContext(ctx, folder)
		if err == nil {
			return int64(usage.Free), int64(usage.Total)
		}
		if !errors.Is(err, fs.ErrNotExist) || folder == filepath.Dir(folder) {
			break
		}
		folder = filepath.Dir(folder) // the folder of builds is made by the first one
	}
	return 0, 0
}

// room refuses a build that begins with less free space than the floor, rather
// than letting it die in the middle.
func (r *run) room(ctx context.Context) error {
	if r.DiskFloor == 0 {
		return nil
	}
	folders := map[string]string{r.Dir: "the worker's data folder"}
	if root := r.engineRoot.Load(); root != nil {
		folders[*root] = "the Docker Engine's folder"
	}
	for folder, name := range folders {
		if free, total := space(ctx, folder); total > 0 && free < r.DiskFloor {
			return Failure(ClassInfrastructure, fmt.Sprintf("The build was refused: %s free on the disk with %s, and the floor is %s. An admin can prune the build cache on the page of the queue, or free space otherwise; then retry the build.",
				models.Bytes(free), name, models.Bytes(r.DiskFloor)), nil)
		}
	}
	return nil
}

// Measure writes down what this worker's disks have free and what its engine's
// cache takes, and prunes where an admin asked for it or the disk is nearly full.
func (s *Service) Measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pruneWithin)
	defer cancel()
	now, err := s.measured(ctx)
	if err != nil {
		return err
	}
	short := s.short(now) > 0 && now.CacheSize > 0 && (now.PrunedAt == nil || s.DB.NowFunc().Sub(*now.PrunedAt) > pruneAgain)
	if now.PruneAskedAt == nil && !short {
		return nil
	}
	return s.prune(ctx, now)
}

// short is how many bytes the engine's disk lacks until twice the floor is free: before a build is
// refused for want of space, the cache gives some back.
func (s *Service) short(w *models.Worker) int64 {
	if w.EngineTotal == 0 {
		return 0
	}
	return max(2*s.DiskFloor-w.EngineFree, 0)
}

func (s *Service) measured(ctx context.Context) (*models.Worker, error) {
	now := &models.Worker{ID: s.Jobs.WorkerID(), DiskFloor: s.DiskFloor}
	now.DiskFree, now.DiskTotal = space(ctx, s.Dir)
	if s.Engine != nil {
		within, cancel := context.WithTimeout(ctx, measureWithin)
		defer cancel()
		if usage, err := s.Engine.Usage(within, s.CacheLimits); err == nil { // an engine that does not answer is said elsewhere
			now.CacheSize, now.CachePrunable = usage.Cache, usage.Prunable
			if usage.Root != "" {
				if _, err := os.Stat(usage.Root); err == nil {
					s.engineRoot.Store(&usage.Root)
					now.EngineFree, now.EngineTotal = space(ctx, usage.Root)
				}
			}
		}
	}
	db := s.DB.WithContext(ctx)
	var before models.Worker
	if err := db.Where("id = ?", now.ID).Limit(1).Find(&before).Error; err != nil {
		return nil, fmt.Errorf("reading what is known of this worker: %w", err)
	}
	now.PruneAskedAt, now.PrunedAt = before.PruneAskedAt, before.PrunedAt
	err := db.Model(now).Select("DiskFree", "DiskTotal", "DiskFloor", "EngineFree", "EngineTotal", "CacheSize", "CachePrunable").Updates(now).Error
	if err != nil {
		return nil, fmt.Errorf("writing down what the disks have free: %w", err)
	}
	if before.DiskTotal == 0 || before.Low() != now.Low() {
		err = events.Publish(db, workerEvent(now.ID, "worker.measured"))
	}
	return now, err
}

// workerEvent says to admins that a worker changed.
func workerEvent(id, kind string) models.Event {
	return models.Event{Kind: kind, Topic: "worker:" + id, Parent: "queue", Data: map[string]string{}}
}
