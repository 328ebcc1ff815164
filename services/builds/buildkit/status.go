package buildkit

import (
	"slices"
	"strings"
	"time"

	bk "github.com/moby/buildkit/client"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/logs"
)

// tracker turns BuildKit's status into events. A vertex may run several times:
// to look into the cache, to run, to be exported.
type tracker struct {
	emit     func(builds.Event)
	file     *dockerfile
	vertices map[string]*vertex
	failed   *vertex // the first that failed by itself
}

type vertex struct {
	id      string
	name    string
	inputs  []string
	started time.Time // of the run that was seen last
	open    bool
	failure string
}

// update takes the changes in the order in which they make sense: what a step
// printed belongs between its begin and its end.
func (t *tracker) update(s *bk.SolveStatus) {
	for _, v := range s.Vertexes {
		v.Name = t.file.original(v.Name)
	}
	slices.SortStableFunc(s.Vertexes, func(a, b *bk.Vertex) int { return t.line(a) - t.line(b) })
	for _, v := range s.Vertexes {
		t.begin(v)
	}
	for _, l := range s.Logs {
		if known := t.vertices[l.Vertex.String()]; known != nil {
			stream := logs.Stdout
			if l.Stream == 2 {
				stream = logs.Stderr
			}
			t.emit(builds.Event{At: l.Timestamp, Step: known.id, Stream: stream, Output: l.Data})
		}
	}
	for _, v := range s.Vertexes {
		t.end(v)
	}
}

// line is the line of the Dockerfile that the step comes from, 0 for the engine's own.
func (t *tracker) line(v *bk.Vertex) int { return t.file.at(stepName(v.Name)).from }

func (t *tracker) begin(v *bk.Vertex) {
	known := t.vertices[v.Digest.String()]
	if known == nil {
		known = &vertex{id: v.Digest.String(), name: atDigest.ReplaceAllString(v.Name, "")}
		for _, input := range v.Inputs {
			known.inputs = append(known.inputs, input.String())
		}
		t.vertices[v.Digest.String()] = known
		if plain := stepName(v.Name); strings.HasPrefix(plain, "[internal]") {
			known.name = plain
		}
		if v.Name == "exporting to image" { // which pushes it too
			known.id, known.name = builds.StepPush, "Push the image"
		}
		t.say(known, time.Now(), models.StepPending, "")
	}
	if v.Started == nil || !v.Started.After(known.started) {
		return
	}
	if known.open { // its end and next begin came at once
		t.say(known, *v.Started, models.StepSucceeded, "")
	}
	known.started, known.open = *v.Started, true
	t.say(known, known.started, models.StepRunning, "")
}

func (t *tracker) end(v *bk.Vertex) {
	known := t.vertices[v.Digest.String()]
	if v.Completed == nil || v.Started == nil || !known.open || v.Completed.Before(known.started) {
		return
	}
	known.open, known.failure = false, v.Error
	state := models.StepSucceeded
	switch {
	case v.Error != "" && optional(v.Name):
		known.failure = ""
		t.say(known, *v.Completed, models.StepSucceeded, "")
		t.emit(builds.Event{At: *v.Completed, Step: known.id, Stream: logs.Slipway, Output: []byte("not done: " + v.Error + "\n")})
		return
	case v.Error != "" && canceled(v.Error):
		state = models.StepCanceled
	case v.Error != "":
		state = models.StepFailed
		if t.failed == nil {
			t.failed = known
		}
	case v.Cached:
		state = models.StepCached
	}
	t.say(known, *v.Completed, state, v.Error)
}

// optional tells whether the build goes on where the step fails: the cache that a
// registry keeps is not there before the first build, and may be gone later.
func optional(name string) bool {
	return strings.HasPrefix(name, "importing cache manifest from ") || strings.HasPrefix(name, "exporting cache to ")
}

func canceled(text string) bool { return strings.HasSuffix(text, "context canceled") }

func (t *tracker) say(v *vertex, at time.Time, state models.StepState, failure string) {
	t.emit(builds.Event{At: at, Step: v.id, State: state, Name: v.name, Stage: stage(v.name), Line: t.file.at(stepName(v.name)).from, Inputs: v.inputs, Error: failure})
}

// close ends the steps whose end the engine did not tell.
func (t *tracker) close(canceled bool) {
	for _, v := range t.vertices {
		if !v.open {
			continue
		}
		v.open = false
		state := models.StepFailed
		if canceled || t.failed != nil {
			state = models.StepCanceled
		} else {
			t.failed = v
		}
		t.say(v, time.Now(), state, "")
	}
}
