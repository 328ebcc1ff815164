package engines

import (
	"cmp"
	"slices"

	"slipway.dev/services/builds"
)

// rank puts the engines into the order in which a build tries them: those that
// answered last first, then those that have the platforms natively, then by
// emulation, then the least loaded.
func rank(all []*engine, r builds.Request) {
	slices.SortStableFunc(all, func(a, b *engine) int {
		return cmp.Or(
			cmp.Compare(penalty(a.suspect), penalty(b.suspect)),
			cmp.Compare(a.distance(r.Platforms), b.distance(r.Platforms)),
			cmp.Compare(a.load(), b.load()),
		)
	})
}

func penalty(suspect bool) int {
	if suspect {
		return 1
	}
	return 0
}

// distance is how far the engine is from the platforms: for each of them nothing
// where it is the engine's own, one where it is emulated, and more where commands
// can't run on it at all and only files can be copied.
func (e *engine) distance(platforms []string) (d int) {
	if len(e.platforms) == 0 {
		return 0
	}
	for _, p := range platforms {
		switch slices.Index(e.platforms, p) {
		case 0:
		case -1:
			d += 10
		default:
			d++
		}
	}
	return d
}

// load is the share of the engine's places that are taken.
func (e *engine) load() float64 {
	if e.max == 0 {
		return float64(e.running) / 8
	}
	return float64(e.running) / float64(e.max)
}
