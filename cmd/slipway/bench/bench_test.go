package bench

import (
	"slices"
	"testing"
	"time"

	"slipway.dev/cmd/slipway/slipwaytest"
)

func TestMain(m *testing.M) { slipwaytest.Main(m) }

// median of the durations, in seconds.
func median(all []time.Duration) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2].Seconds()
}

// took measures one run of do.
func took(do func()) time.Duration {
	begin := time.Now()
	do()
	return time.Since(begin)
}

// compare runs both in turns and gives their medians in seconds; the order changes with each turn.
func compare(turns int, ours, theirs func()) (our, their float64) {
	var ourTimes, theirTimes []time.Duration
	for turn := range turns {
		if turn%2 == 0 {
			ourTimes = append(ourTimes, took(ours))
			theirTimes = append(theirTimes, took(theirs))
		} else {
			theirTimes = append(theirTimes, took(theirs))
			ourTimes = append(ourTimes, took(ours))
		}
	}
	return median(ourTimes), median(theirTimes)
}

// only keeps a benchmark from reporting what it does not measure.
func only(b *testing.B) { b.ReportMetric(0, "ns/op") }
