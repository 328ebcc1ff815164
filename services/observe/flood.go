package observe

import "time"

// What a deployment may print for long: more is left out, with a remark.
const (
	floodLines  = 1000    // lines a second
	floodBytes  = 1 << 20 // bytes a second
	floodBurst  = 10      // seconds' worth that may come at once
	floodPauses = 5       // seconds' worth that must be free until lines are let through again
)

// flood tells lines that are let through from those of a flood. It goes by the
// times at which they were printed, not read: what waited while nobody listened
// is no flood.
type flood struct {
	step    string // of the last line
	last    time.Time
	lines   float64 // that have passed and count still
	bytes   float64
	closed  bool
	dropped int
	at      time.Time // when the last line was dropped
}

// lets tells whether a line of the time and size is let through, and counts it where not.
func (f *flood) lets(at time.Time, size int) bool {
	if passed := at.Sub(f.last).Seconds(); passed > 0 {
		f.lines, f.bytes, f.last = max(f.lines-passed*floodLines, 0), max(f.bytes-passed*floodBytes, 0), at
	}
	if f.closed && f.lines <= (floodBurst-floodPauses)*floodLines && f.bytes <= (floodBurst-floodPauses)*floodBytes {
		f.closed = false
	}
	if f.closed || f.lines >= floodBurst*floodLines || f.bytes >= floodBurst*floodBytes {
		f.closed, f.at = true, time.Now()
		f.dropped++
		return false
	}
	f.lines++
	f.bytes += float64(size)
	return true
}

// over tells whether lines were dropped and none was for a while.
func (f *flood) over(now time.Time) bool {
	return f.dropped > 0 && now.Sub(f.at) > floodPauses*time.Second
}
