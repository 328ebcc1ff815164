package docker

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
)

func TestARateIsTakenOnlyBetweenSamplesOfOneRun(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, c := range map[string]struct {
		before, after sample
		want          int64
	}{
		"half a processor":     {sample{at, 1e9}, sample{at.Add(10 * time.Second), 6e9}, 500},
		"two processors":       {sample{at, 0}, sample{at.Add(15 * time.Second), 30e9}, 2000},
		"idle":                 {sample{at, 7e9}, sample{at.Add(15 * time.Second), 7e9}, 0},
		"never asked before":   {sample{}, sample{at, 7e9}, 0},
		"started anew between": {sample{at, 7e9}, sample{at.Add(15 * time.Second), 1e9}, 0},
		"asked in one moment":  {sample{at, 7e9}, sample{at, 8e9}, 0},
		"asked long ago":       {sample{at, 7e9}, sample{at.Add(time.Hour), 8e9}, 0},
	} {
		if got := rate(c.before, c.after); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestMemoryLeavesOutTheCacheThatTheKernelGivesBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stats container.MemoryStats
		want  int64
	}{
		{container.MemoryStats{Usage: 100, Stats: map[string]uint64{"inactive_file": 30}}, 70},
		{container.MemoryStats{Usage: 100, Stats: map[string]uint64{"total_inactive_file": 40, "inactive_file": 1}}, 60},
		{container.MemoryStats{Usage: 100, Stats: map[string]uint64{"inactive_file": 130}}, 100},
		{container.MemoryStats{Usage: 100}, 100},
	} {
		if got := memoryOf(c.stats); got != c.want {
			t.Errorf("%+v: %d, want %d", c.stats, got, c.want)
		}
	}
}
