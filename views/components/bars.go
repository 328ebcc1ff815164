package components

import (
	"strconv"
	"time"

	"slipway.dev/models"
)

// Bar is a part of a horizontal bar, on an axis of 0 to 100.
type Bar struct {
	X, Width string
	Class    string
}

// segments lays the steps of a build beside each other, as wide as they took long: the build's signature in a list. A
// build without steps is one bar of its state.
func segments(b models.Build) []Bar {
	if len(b.Steps) == 0 {
		return []Bar{{X: "0", Width: "100", Class: segmentTone(models.StepState(b.State))}}
	}
	const gap = 1.4
	steps := merged(b.Steps)
	var total time.Duration
	for _, s := range steps {
		total += s.length
	}
	room := 100 - gap*float64(len(steps)-1)
	bars := make([]Bar, 0, len(steps))
	x := 0.0
	for _, s := range steps {
		width := float64(s.length) / float64(total) * room
		bars = append(bars, Bar{X: Hundredths(x), Width: Hundredths(width), Class: segmentTone(s.state)})
		x += width + gap
	}
	return bars
}

func segmentTone(s models.StepState) string {
	if s == models.StepPending || s == "queued" {
		return "is-wait"
	}
	return Tone(s)
}

type segment struct {
	length time.Duration
	state  models.StepState
}

// maxSegments is how many parts a bar of 136 pixels can show.
const maxSegments = 12

// merged turns steps into segments. Cached steps become thin ones; where there are too many steps, neighbours of one
// state become one segment.
func merged(steps []models.BuildStep) []segment {
	all := make([]segment, 0, len(steps))
	least := leastLength(steps)
	for _, s := range steps {
		state := s.State
		if state == models.StepCached {
			state = models.StepSucceeded
		}
		length := max(stepLength(s), least)
		if n := len(all); n > 0 && len(steps) > maxSegments && all[n-1].state == state {
			all[n-1].length += length
			continue
		}
		all = append(all, segment{length, state})
	}
	return all
}

// leastLength makes the shortest step two hundredths of the bar.
func leastLength(steps []models.BuildStep) time.Duration {
	var total time.Duration
	for _, s := range steps {
		total += stepLength(s)
	}
	return max(total/40, time.Second/10)
}

func stepLength(s models.BuildStep) time.Duration {
	if s.State == models.StepRunning && s.StartedAt != nil {
		return time.Since(*s.StartedAt)
	}
	return time.Duration(s.DurationMS) * time.Millisecond
}

// Hundredths writes v with at most two digits after the point, for SVG attributes.
func Hundredths(v float64) string {
	return strconv.FormatFloat(float64(int(v*100+.5))/100, 'f', -1, 64)
}
