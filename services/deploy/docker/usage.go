package docker

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"slipway.dev/services/deploy"
)

const (
	usageTime    = 20 * time.Second
	statsAtOnce  = 8                      // containers that are asked at the same time
	maxStats     = 1 << 20                // bytes of one container's answer
	firstWindow  = 500 * time.Millisecond // over which the first rate of a container is taken
	oldestSample = 5 * time.Minute        // a rate over more than that tells nothing of now
)

// sample is what a container had used of processors, and when it was asked.
type sample struct {
	at    time.Time
	total uint64 // nanoseconds of processor time since it started
}

// reading is the engine's answer about one container.
type reading struct {
	sample
	memory int64 // bytes
	known  bool  // it runs, and the engine told
}

// Usage returns what the target's running containers take. The engine counts
// processor time from a container's start on; the rate is the difference to the
// last answer that this process got. A container that is asked for the first
// time is asked twice, half a second apart.
func (t *target) Usage(ctx context.Context) ([]deploy.Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, usageTime)
	defer cancel()
	running, err := t.running(ctx)
	if err != nil || len(running) == 0 {
		t.remember(nil, nil)
		return nil, err
	}
	t.mu.Lock()
	last := t.samples
	t.mu.Unlock()
	now := t.stats(ctx, running)
	if before := firstOf(running, now, last); len(before) > 0 {
		if err := pauseFor(ctx, firstWindow); err != nil {
			return nil, err
		}
		last, now = t.again(ctx, before, running, now, last)
	}
	if err := ctx.Err(); err != nil {
		return nil, t.unreachable(err)
	}
	t.remember(running, now)
	var out []deploy.Usage
	for n, id := range running {
		if r := now[n]; r.known {
			out = append(out, deploy.Usage{Instance: id, CPU: rate(last[id], r.sample), Memory: r.memory})
		}
	}
	return out, nil
}

// running returns the ids of the containers that serve.
func (t *target) running(ctx context.Context) (ids []string, err error) {
	if err := t.agree(ctx); err != nil {
		return nil, t.unreachable(err)
	}
	found, err := t.docker.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(
		filters.Arg("label", labelTarget+"="+t.id), filters.Arg("status", "running"))})
	if err != nil {
		return nil, t.unreachable(err)
	}
	for _, c := range found {
		if c.Labels[labelCommand] == "" {
			ids = append(ids, c.ID)
		}
	}
	return ids, nil
}

// stats asks for all containers, some at a time. One that can't be asked just now is not known.
func (t *target) stats(ctx context.Context, ids []string) []reading {
	out := make([]reading, len(ids))
	room := make(chan struct{}, statsAtOnce)
	var asking sync.WaitGroup
	for n, id := range ids {
		room <- struct{}{}
		asking.Go(func() {
			defer func() { <-room }()
			out[n] = t.statsOf(ctx, id)
		})
	}
	asking.Wait()
	return out
}

func (t *target) statsOf(ctx context.Context, id string) reading {
	res, err := t.docker.ContainerStatsOneShot(ctx, id)
	if err != nil {
		return reading{} // it went, or the engine did, which the next list tells
	}
	defer res.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(io.LimitReader(res.Body, maxStats)).Decode(&s); err != nil || s.Read.IsZero() || s.CPUStats.CPUUsage.TotalUsage == 0 {
		return reading{}
	}
	return reading{sample: sample{s.Read, s.CPUStats.CPUUsage.TotalUsage}, memory: memoryOf(s.MemoryStats), known: true}
}

// memoryOf leaves out the page cache that the kernel would give back at once, as docker stats does.
func memoryOf(m container.MemoryStats) int64 {
	cache := m.Stats["inactive_file"] // cgroup v2
	if v1, ok := m.Stats["total_inactive_file"]; ok {
		cache = v1
	}
	if cache > m.Usage {
		return int64(m.Usage)
	}
	return int64(m.Usage - cache)
}

// firstOf returns the containers for which there is nothing to take a rate from.
func firstOf(ids []string, now []reading, last map[string]sample) (places []int) {
	for n, id := range ids {
		if now[n].known && !follows(last[id], now[n].sample) {
			places = append(places, n)
		}
	}
	return places
}

// again asks a second time for the containers at the places, so that the first answers are what their rates start from.
func (t *target) again(ctx context.Context, places []int, ids []string, now []reading, last map[string]sample) (map[string]sample, []reading) {
	from := make(map[string]sample, len(ids))
	for id, s := range last {
		from[id] = s
	}
	var some []string
	for _, n := range places {
		from[ids[n]] = now[n].sample
		some = append(some, ids[n])
	}
	for k, r := range t.stats(ctx, some) {
		now[places[k]] = r
	}
	return from, now
}

// remember keeps the samples of what runs, and forgets what does not.
func (t *target) remember(ids []string, now []reading) {
	samples := make(map[string]sample, len(ids))
	for n, id := range ids {
		if now[n].known {
			samples[id] = now[n].sample
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.samples = samples
}

// follows tells whether a rate between the two tells how it is now: the container was not started anew between them.
func follows(before, after sample) bool {
	passed := after.at.Sub(before.at)
	return !before.at.IsZero() && passed > 0 && passed < oldestSample && after.total >= before.total
}

// rate is the processor time per time, in thousandths of a processor.
func rate(before, after sample) int64 {
	if !follows(before, after) {
		return 0
	}
	return int64(after.total-before.total) * 1000 / int64(after.at.Sub(before.at))
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
