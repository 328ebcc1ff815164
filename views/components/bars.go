package components

import (
	"slices"
	"strconv"
	"strings"
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
		bars = append(bars, Bar{X: number(x), Width: number(width), Class: segmentTone(s.state)})
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

// when places a step on the build's time axis, in hundredths of it: beside each other means at the same time.
func when(s models.BuildStep, from, to time.Time) (bar Bar, ok bool) {
	if s.StartedAt == nil || !to.After(from) {
		return Bar{}, false
	}
	end := to
	if s.FinishedAt != nil {
		end = *s.FinishedAt
	}
	whole := to.Sub(from).Seconds()
	x := min(98, max(0, s.StartedAt.Sub(from).Seconds()/whole*100))
	width := min(100-x, max(2, end.Sub(*s.StartedAt).Seconds()/whole*100))
	return Bar{X: number(x), Width: number(width), Class: Tone(s.State)}, true
}

// axis returns the first start and the last end of the steps.
func axis(steps []models.BuildStep) (from, to time.Time) {
	for _, s := range steps {
		if s.StartedAt == nil {
			continue
		}
		if from.IsZero() || s.StartedAt.Before(from) {
			from = *s.StartedAt
		}
		end := time.Now()
		if s.FinishedAt != nil {
			end = *s.FinishedAt
		}
		if end.After(to) {
			to = end
		}
	}
	return from, to
}

// number writes v with at most two digits after the point.
func number(v float64) string {
	return strconv.FormatFloat(float64(int(v*100+.5))/100, 'f', -1, 64)
}

// worthShowing leaves out the build engine's own preparations, unless they took a while or failed.
func worthShowing(steps []models.BuildStep) []models.BuildStep {
	return slices.DeleteFunc(slices.Clone(steps), func(s models.BuildStep) bool {
		quick := s.State == models.StepPending || stepLength(s) < time.Second
		return strings.HasPrefix(s.Name, "[internal]") && s.State != models.StepFailed && quick
	})
}
