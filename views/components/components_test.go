package components

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
)

func TestDurationsReadAsPeopleSayThem(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Second: "0s", 400 * time.Millisecond: "0.4s", 54 * time.Second: "54s", 108 * time.Second: "1m 48s", 2*time.Hour + 3*time.Minute: "2h 3m"} {
		if got := Lasted(d); got != want {
			t.Errorf("Lasted(%s) is %q, want %q", d, got, want)
		}
	}
}

func TestTimesAreRelativeUntilTheyAreAMonthOld(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{10 * time.Second: "just now", 50 * time.Second: "1 min ago", 4 * time.Minute: "4 min ago", 5 * time.Hour: "5 h ago", 49 * time.Hour: "2 d ago", 60 * 24 * time.Hour: "25 Sep", 400 * 24 * time.Hour: "20 Oct 2025"} {
		if got := ago(now.Add(-d), now); got != want {
			t.Errorf("%s before: %q, want %q", d, got, want)
		}
	}
}

func TestEveryStateHasAnIconAWordAndATone(t *testing.T) {
	states := []string{
		string(models.BuildQueued), string(models.BuildRunning), string(models.BuildSucceeded), string(models.BuildFailed), string(models.BuildCanceled),
		string(models.DeploymentPending), string(models.DeploymentRolledBack), string(models.StepCached),
		string(models.RepositoryFetching), string(models.RepositoryReady),
		string(models.InstanceStarting), string(models.InstanceHealthy), string(models.InstanceFailing), string(models.InstanceStopped), string(models.InstanceUnknown),
	}
	for _, s := range states {
		if _, ok := looks[s]; !ok {
			t.Errorf("the state %q has no look", s)
		}
	}
	if Word("some_thing") != "Some thing" || Word("") != "Unknown" {
		t.Errorf("unknown states are %q and %q", Word("some_thing"), Word(""))
	}
}

func TestABuildsBarIsFilledByItsSteps(t *testing.T) {
	b := models.Build{State: models.BuildFailed}
	for i := range 40 {
		b.Steps = append(b.Steps, models.BuildStep{State: models.StepSucceeded, DurationMS: int64(i * 100)})
	}
	b.Steps = append(b.Steps, models.BuildStep{State: models.StepFailed, DurationMS: 5000})
	bars := segments(b)
	if len(bars) != 2 || bars[0].Class != "is-ok" || bars[1].Class != "is-bad" {
		t.Errorf("got %+v", bars)
	}
	if bars := segments(models.Build{State: models.BuildQueued}); len(bars) != 1 || bars[0].Width != "100" || bars[0].Class != "is-wait" {
		t.Errorf("without steps: %+v", bars)
	}
}

func TestTheTwinOfAnActionCanBePastedIntoAShell(t *testing.T) {
	c := CurlExample{Method: "POST", URL: "https://portal/api", Body: `{"name": "it's"}`}
	want := "curl 'https://portal/api' \\\n  -H \"Authorization: Bearer $SLIPWAY_TOKEN\" \\\n  --json '{\"name\": \"it'\\''s\"}'"
	if got := c.Command(); got != want {
		t.Errorf("got %s", got)
	}
	if got := (CurlExample{Method: "DELETE", URL: "https://portal/api"}).Command(); !strings.HasPrefix(got, "curl -X DELETE ") {
		t.Errorf("got %s", got)
	}
}

func TestLogsNameTheirStepsAndKeepTheColoursOfEachApart(t *testing.T) {
	var l Liner
	name := l.Line(1, "a", "[1/2] RUN make", true)
	red := l.Line(2, "a", "\x1b[31mred", false)
	other := l.Line(3, "b", "plain", false)
	still := l.Line(4, "a", "still red", false)
	done := l.Line(5, "a", "\x1b[0mDONE 1.0s", true)
	failed := l.Line(6, "b", "make: error: no rule", false)
	if name.Class != "sys" || done.Class != "fin" || failed.Class != "err" {
		t.Errorf("classes %q %q %q", name.Class, done.Class, failed.Class)
	}
	if !strings.Contains(red.HTML, "fg31") || other.HTML != "plain" || !strings.Contains(still.HTML, "fg31") {
		t.Errorf("colours: %q %q %q", red.HTML, other.HTML, still.HTML)
	}
}

func TestInitialsStandForPeopleAndTeams(t *testing.T) {
	for name, want := range map[string]string{"Mira Kovač": "MK", "ada": "A", "": "?", "invoice-worker": "IW", "Ö. Çelik": "ÖÇ"} {
		if got := Initials(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}
