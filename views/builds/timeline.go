package builds

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// lane is one line of the timeline: a step, or cached ones that stand together.
type lane struct {
	step     models.BuildStep
	folded   []models.BuildStep // cached steps, in place of step
	bar      *bar               // nil where it has not begun
	critical bool               // the build could not have ended sooner than it
	own      bool               // Slipway's own work
}

// bar is a step's time on the build's axis of 0 to 100.
type bar struct{ x, width string }

// foldFrom is how many cached steps in a row are folded into one line.
const foldFrom = 2

// timeline is the build's steps as they are drawn, at the time now.
type timeline struct {
	rows  []lane
	whole time.Duration // the axis
	path  time.Duration // the sum of the critical steps
	now   time.Time
	from  time.Time
}

func timelineOf(steps []models.BuildStep, now time.Time) timeline {
	t := timeline{now: now}
	var to time.Time
	t.from, to = axis(steps, now)
	t.whole = to.Sub(t.from)
	critical := criticalPath(steps, now)
	for _, s := range worthShowing(steps) {
		r := lane{step: s, critical: critical[s.ID], own: own(s)}
		if r.critical {
			t.path += lasted(s, now)
		}
		if s.StartedAt != nil && t.whole > 0 {
			r.bar = t.place(*s.StartedAt, end(s, now))
		}
		t.add(r)
	}
	return t
}

// add appends the row, or folds it into the one before where both are cached.
func (t *timeline) add(r lane) {
	n := len(t.rows)
	if r.step.State != models.StepCached || n == 0 || t.rows[n-1].step.State != models.StepCached {
		t.rows = append(t.rows, r)
		return
	}
	before := &t.rows[n-1]
	if len(before.folded) == 0 {
		before.folded = []models.BuildStep{before.step}
	}
	before.folded = append(before.folded, r.step)
	if r.bar != nil && before.bar == nil {
		before.bar = r.bar
	}
}

// isFold tells whether the row stands for several steps.
func (r lane) isFold() bool { return len(r.folded) >= foldFrom }

// place puts a span on the axis; even the shortest is wide enough to be seen.
func (t *timeline) place(from, to time.Time) *bar {
	const least = 1.2
	whole := t.whole.Seconds()
	x := min(100-least, max(0, from.Sub(t.from).Seconds()/whole*100))
	width := min(100-x, max(least, to.Sub(from).Seconds()/whole*100))
	return &bar{components.Hundredths(x), components.Hundredths(width)}
}

// axis returns the first start and the last end of the steps.
func axis(steps []models.BuildStep, now time.Time) (from, to time.Time) {
	for _, s := range steps {
		if s.StartedAt == nil {
			continue
		}
		if from.IsZero() || s.StartedAt.Before(from) {
			from = *s.StartedAt
		}
		if e := end(s, now); e.After(to) {
			to = e
		}
	}
	return from, to
}

func end(s models.BuildStep, now time.Time) time.Time {
	if s.FinishedAt != nil {
		return *s.FinishedAt
	}
	return now
}

// lasted is how long the step worked; one that runs goes on to now.
func lasted(s models.BuildStep, now time.Time) time.Duration {
	if s.State == models.StepRunning && s.StartedAt != nil {
		return now.Sub(*s.StartedAt)
	}
	return time.Duration(s.DurationMS) * time.Millisecond
}

// criticalPath is the chain of steps that decided how long the build took: from
// the step that ended last back to the one, of those that it waited for, that
// ended last, and so on. Where a step does not say what it waited for, that is
// whatever ended last before it began.
func criticalPath(steps []models.BuildStep, now time.Time) map[string]bool {
	path := map[string]bool{}
	at := latest(steps, now, func(models.BuildStep) bool { return true })
	for at != nil && !path[at.ID] {
		path[at.ID] = true
		here := at
		at = latest(steps, now, func(s models.BuildStep) bool { return slices.Contains(here.Inputs, s.ID) })
		if at == nil {
			at = latest(steps, now, func(s models.BuildStep) bool { return s.ID != here.ID && !end(s, now).After(*here.StartedAt) })
		}
	}
	return path
}

// latest is the step that ended last of those that began and fit.
func latest(steps []models.BuildStep, now time.Time, fits func(models.BuildStep) bool) *models.BuildStep {
	var last *models.BuildStep
	for i, s := range steps {
		if s.StartedAt == nil || !fits(s) {
			continue
		}
		if last == nil || end(s, now).After(end(*last, now)) {
			last = &steps[i]
		}
	}
	return last
}

// worthShowing leaves out the build engine's own preparations, unless they took a while or failed.
func worthShowing(steps []models.BuildStep) []models.BuildStep {
	return slices.DeleteFunc(slices.Clone(steps), func(s models.BuildStep) bool {
		quick := s.State == models.StepPending || time.Duration(s.DurationMS)*time.Millisecond < time.Second && s.State != models.StepRunning
		return strings.HasPrefix(s.Name, "[internal]") && s.State != models.StepFailed && quick
	})
}

// own tells Slipway's steps from those of the Dockerfile.
func own(s models.BuildStep) bool { return s.ID == "checkout" || s.ID == "push" }

// began is when the step began, counted from the build's first step.
func (t timeline) began(s models.BuildStep) string {
	if s.StartedAt == nil {
		return "–"
	}
	return components.Lasted(s.StartedAt.Sub(t.from).Truncate(100 * time.Millisecond))
}

// stepHref is the build's page with the step's part of the log.
func stepHref(b models.Build, step string) string {
	return href(b) + "?step=" + urlEscape(step) + "#log"
}

// lineHref is the place of a step in the Dockerfile.
func lineHref(b models.Build, line int) string {
	return href(b) + "/dockerfile#D" + strconv.Itoa(line)
}

// namesOf says for a table which steps the ids mean, those that are shown.
func namesOf(steps []models.BuildStep, ids []string) string {
	var names []string
	for _, s := range steps {
		if slices.Contains(ids, s.ID) && !strings.HasPrefix(s.Name, "[internal]") {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return "–"
	}
	return strings.Join(names, ", ")
}
