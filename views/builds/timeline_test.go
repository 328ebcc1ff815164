package builds

import (
	"slices"
	"testing"
	"time"

	"slipway.dev/models"
)

// at is a time some seconds after the builds' beginning.
func at(s float64) *time.Time {
	t := time.Unix(0, 0).Add(time.Duration(s * float64(time.Second)))
	return &t
}

func ran(id string, from, to float64, inputs ...string) models.BuildStep {
	return models.BuildStep{ID: id, Name: "[1/9] " + id, State: models.StepSucceeded, StartedAt: at(from), FinishedAt: at(to), DurationMS: int64((to - from) * 1000), Inputs: inputs}
}

func TestStepsThatRanSideBySideStandUnderEachOther(t *testing.T) {
	t.Parallel()
	got := timelineOf([]models.BuildStep{ran("a", 0, 10), ran("b", 5, 10), {ID: "c", State: models.StepPending}}, *at(10))
	if len(got.rows) != 3 || *got.rows[0].bar != (bar{"0", "100"}) || *got.rows[1].bar != (bar{"50", "50"}) || got.rows[2].bar != nil {
		t.Errorf("the rows are %+v", got.rows)
	}
}

func TestTheCriticalPathFollowsWhatStepsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		steps []models.BuildStep
		want  []string
	}{
		"two stages, the slower one decides": {[]models.BuildStep{
			ran("checkout", 0, 1), ran("slow", 1, 8), ran("quick", 1, 3), ran("join", 8, 9, "slow", "quick"), ran("push", 9, 12),
		}, []string{"checkout", "join", "push", "slow"}},
		"nobody says what it waited for": {[]models.BuildStep{ran("a", 0, 4), ran("b", 1, 2), ran("c", 4, 6)}, []string{"a", "c"}},
		"a running step":                 {[]models.BuildStep{ran("a", 0, 4), {ID: "b", State: models.StepRunning, StartedAt: at(4)}}, []string{"a", "b"}},
		"a step that waits for itself":   {[]models.BuildStep{ran("a", 0, 4, "a")}, []string{"a"}},
		"nothing ran":                    {[]models.BuildStep{{ID: "a", State: models.StepPending}}, nil},
	} {
		var got []string
		for id := range criticalPath(c.steps, *at(20)) {
			got = append(got, id)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: the path is %v, not %v", name, got, c.want)
		}
	}
}

func TestCachedStepsInARowAreFolded(t *testing.T) {
	t.Parallel()
	cached := func(id string) models.BuildStep {
		s := ran(id, 1, 1)
		s.State, s.Cached = models.StepCached, true
		return s
	}
	got := timelineOf([]models.BuildStep{cached("a"), ran("b", 1, 2), cached("c"), cached("d"), cached("e"), ran("f", 2, 3)}, *at(3))
	var shape []int
	for _, r := range got.rows {
		shape = append(shape, len(r.folded))
	}
	if !slices.Equal(shape, []int{0, 0, 3, 0}) {
		t.Errorf("the rows fold %v", shape)
	}
}
