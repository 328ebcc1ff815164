package observe

import (
	"strconv"
	"time"

	"slipway.dev/services/deploy"
)

// cursors are the times of the last lines: deployment id → keyOf an instance's lines → nanoseconds since 1970.
type cursors map[string]map[string]int64

// keyOf is what the cursor of the line's instance stands under: its ID, for the numbers of those that are left change
// when one goes; the number where the target tells no ID.
func keyOf(line deploy.LogLine) string {
	if line.Instance != "" {
		return line.Instance
	}
	return strconv.Itoa(line.Replica)
}

// numbered tells whether the key is a number.
func numbered(key string) bool {
	_, err := strconv.Atoi(key)
	return err == nil
}

// advance moves the cursor on to the time.
func (c cursors) advance(deployment, key string, at time.Time) {
	if c[deployment] == nil {
		c[deployment] = map[string]int64{}
	}
	c[deployment][key] = max(c[deployment][key], at.UnixNano())
}

// clone returns a copy with the cursors that keep names; nil keeps all.
func (c cursors) clone(keep func(deployment, key string, at int64) bool) cursors {
	out := cursors{}
	for id, of := range c {
		for key, at := range of {
			if keep == nil || keep(id, key, at) {
				out.advance(id, key, time.Unix(0, at))
			}
		}
	}
	return out
}

// needs tells whether the cursor may be needed yet: that of an instance which is gone is not, an hour after its last line.
// The keeper's lock is held.
func (k *keeper) needs(deployment, key string, at int64) bool {
	return k.runs[deployment] && (numbered(key) || k.there[deployment][key] || k.now().Sub(time.Unix(0, at)) < time.Hour)
}

// number is the number that the line's instance has in the log: no two of a deployment have one as long as this worker
// listens. The keeper's lock is held.
func (k *keeper) number(deployment string, line deploy.LogLine) int {
	if line.Instance == "" {
		return line.Replica
	}
	of := k.numbers[deployment]
	if of == nil {
		of = map[string]int{}
		k.numbers[deployment] = of
	}
	if n, ok := of[line.Instance]; ok {
		return n
	}
	taken := map[int]bool{}
	for _, n := range of {
		taken[n] = true
	}
	n := line.Replica
	for taken[n] {
		n++
	}
	of[line.Instance] = n
	return n
}
