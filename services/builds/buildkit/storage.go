package buildkit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	bk "github.com/moby/buildkit/client"
	"slipway.dev/services/builds"
)

const (
	labelBuild = "dev.slipway.build"      // every image that a build made has it
	carried    = "slipway.carried/image:" // images that deployments handed to an engine
	// idleFor is how long an image has to be seen unused before it is removed:
	// a deployment may have fetched it and not have started it yet.
	idleFor = time.Hour
)

// Storage is the disk side of a Docker Engine: its build cache, and the images that Slipway left in it.
type Storage struct {
	Docker   *client.Client
	Registry string        // the host in the names of this portal's images; another portal's are left alone
	IdleFor  time.Duration // an hour where zero

	mu     sync.Mutex
	unused map[string]time.Time // when images were first seen unused, by id
}

// Usage asks the engine for its folder and its build cache. The folder is
// empty where the engine is reached by another way than a socket of this machine.
func (e *Storage) Usage(ctx context.Context, limits builds.CacheLimits) (builds.EngineUsage, error) {
	var u builds.EngineUsage
	if strings.HasPrefix(e.Docker.DaemonHost(), "unix://") {
		info, err := e.Docker.Info(ctx)
		if err != nil {
			return u, fmt.Errorf("asking the engine for its folder: %w", err)
		}
		u.Root = info.DockerRootDir
	}
	records, err := e.cache(ctx)
	if err != nil {
		return u, err
	}
	for _, r := range records {
		u.Cache += r.Size
	}
	u.Prunable = prunable(records, limits, time.Now())
	return u, nil
}

// cache lists the engine's build cache. It asks BuildKit itself: the engine's
// own question about disk usage counts all images and layers too, which takes long.
func (e *Storage) cache(ctx context.Context) ([]*bk.UsageInfo, error) {
	kit, err := (&Docker{e.Docker}).connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the engine for its build cache: %w", err)
	}
	defer kit.Close()
	records, err := kit.DiskUsage(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the engine for its build cache: %w", err)
	}
	return records, nil
}

// prunable is what pruning by the limits would free, as far as it can be told
// beforehand: what is too old, and of the rest what is too much.
func prunable(records []*bk.UsageInfo, limits builds.CacheLimits, now time.Time) (freed int64) {
	var total, idle int64
	for _, r := range records {
		total += r.Size
		switch {
		case r.InUse || r.Shared:
		case limits.Age > 0 && now.Sub(lastUsed(r)) > limits.Age:
			freed += r.Size
		default:
			idle += r.Size
		}
	}
	if limits.Size > 0 {
		freed += min(max(total-freed-limits.Size, 0), idle)
	}
	return freed
}

func lastUsed(r *bk.UsageInfo) time.Time {
	if r.LastUsedAt != nil {
		return *r.LastUsedAt
	}
	return r.CreatedAt
}

// Prune frees the build cache by its age and its size, and removes the images
// that builds left and that nothing has used for a while. What the cache holds
// for a build that runs the engine keeps by itself.
func (e *Storage) Prune(ctx context.Context, limits builds.CacheLimits, inUse []string) (builds.Pruned, error) {
	var done builds.Pruned
	var err error
	if done.Images, err = e.pruneImages(ctx, inUse); err != nil {
		return done, err
	}
	if limits.Age > 0 {
		old := build.CachePruneOptions{All: true, Filters: filters.NewArgs(filters.Arg("until", limits.Age.String()))}
		if err := e.pruneCache(ctx, old, &done); err != nil {
			return done, err
		}
	}
	if limits.Size > 0 {
		err = e.pruneCache(ctx, build.CachePruneOptions{All: true, KeepStorage: limits.Size, ReservedSpace: limits.Size}, &done)
	}
	return done, err
}

// pruneCache calls https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image/operation/BuildPrune.
func (e *Storage) pruneCache(ctx context.Context, o build.CachePruneOptions, done *builds.Pruned) error {
	report, err := e.Docker.BuildCachePrune(ctx, o)
	if err != nil {
		return fmt.Errorf("pruning the build cache: %w", err)
	}
	done.Bytes += int64(report.SpaceReclaimed)
	return nil
}

// pruneImages removes the images with Slipway's label and names that no container
// has been made of and that are not in use otherwise, once they were so for a while.
func (e *Storage) pruneImages(ctx context.Context, inUse []string) (removed int, err error) {
	ours, err := e.Docker.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelBuild))})
	if err != nil {
		return 0, fmt.Errorf("listing the images of builds: %w", err)
	}
	containers, err := e.Docker.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return 0, fmt.Errorf("listing containers: %w", err)
	}
	idle := slices.DeleteFunc(ours, func(i image.Summary) bool {
		return !e.own(i) || used(i, inUse) || slices.ContainsFunc(containers, func(c container.Summary) bool { return c.ImageID == i.ID })
	})
	for _, i := range e.longIdle(idle, time.Now()) {
		gone, err := e.remove(ctx, i)
		if err != nil {
			return removed, err
		}
		if gone {
			removed++
		}
	}
	return removed, nil
}

// own tells whether all of the image's names are this portal's.
func (e *Storage) own(i image.Summary) bool {
	names := namesOf(i)
	return len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool {
		return !strings.HasPrefix(n, e.Registry+"/") && !strings.HasPrefix(n, carried)
	})
}

// namesOf are the image's names, by tag and by digest.
func namesOf(i image.Summary) []string {
	return slices.DeleteFunc(append(slices.Clone(i.RepoTags), i.RepoDigests...), func(n string) bool { return strings.Contains(n, "<none>") })
}

// used tells whether one of the names or digests is the image's.
func used(i image.Summary, inUse []string) bool {
	for _, name := range namesOf(i) {
		for _, u := range inUse {
			if name == u || strings.HasPrefix(u, "sha256:") && (strings.HasSuffix(name, "@"+u) || strings.HasSuffix(name, ":"+strings.ReplaceAll(u, ":", "-"))) {
				return true
			}
		}
	}
	return false
}

// longIdle remembers which images are idle and returns those that have been for long enough.
func (e *Storage) longIdle(idle []image.Summary, now time.Time) (long []image.Summary) {
	e.mu.Lock()
	defer e.mu.Unlock()
	wait := e.IdleFor
	if wait == 0 {
		wait = idleFor
	}
	since := make(map[string]time.Time, len(idle))
	for _, i := range idle {
		first, known := e.unused[i.ID]
		if !known {
			first = now
		}
		since[i.ID] = first
		if known && now.Sub(first) >= wait {
			long = append(long, i)
		}
	}
	e.unused = since
	return long
}

// remove takes all names of the image away, and the image with the last one.
// It forces nothing, so an image that got into use meanwhile stays.
func (e *Storage) remove(ctx context.Context, i image.Summary) (gone bool, err error) {
	for _, name := range namesOf(i) {
		answer, err := e.Docker.ImageRemove(ctx, name, image.RemoveOptions{PruneChildren: true})
		switch {
		case errdefs.IsConflict(err), errdefs.IsNotFound(err):
			continue
		case err != nil:
			return gone, fmt.Errorf("removing the image %s: %w", name, err)
		}
		gone = gone || slices.ContainsFunc(answer, func(r image.DeleteResponse) bool { return r.Deleted == i.ID })
	}
	return gone, nil
}
