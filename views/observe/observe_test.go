package observe

import (
	"strings"
	"testing"
	"time"
)

func TestWhatIsLookedForIsMarkedInTextAndNowhereElse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ html, wanted, want string }{
		"any case":              {"An Error here", "error", "An <mark>Error</mark> here"},
		"twice":                 {"aa", "a", "<mark>a</mark><mark>a</mark>"},
		"no tag":                {`<span class="fg31">class</span>`, "class", `<span class="fg31"><mark>class</mark></span>`},
		"no entity":             {"a &amp; b", "amp", "a &amp; b"},
		"what needs an entity":  {"x &lt;b&gt; &#34;y&#34;", `<b> "`, "x <mark>&lt;b&gt; &#34;</mark>y&#34;"},
		"nothing":               {"<span>x</span>", " ", "<span>x</span>"},
		"letters of other size": {"İ error", "error", "İ error"},
	} {
		if got := mark(c.html, c.wanted); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestALineSaysWhenAndWhoAndIsEscaped(t *testing.T) {
	t.Parallel()
	lines := Draw([]Line{{N: 7, At: time.Date(2026, 3, 4, 5, 6, 7, 8e6, time.UTC), Deployment: 12, Replica: 2, Stream: "stderr", Text: "<script>\x1b]0;x\x07 error: x"}}, "script")
	if want := `<span class="dim">04 Mar 05:06:07.008 #12·2</span> &lt;<mark>script</mark>&gt; error: x`; len(lines) != 1 || lines[0].HTML != want || lines[0].Class != "err" || lines[0].Number != 7 {
		t.Errorf("got %+v", lines)
	}
}

func TestAChartAddsInstancesUpAndLeavesGaps(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)
	at := func(minute int) time.Time { return from.Add(time.Duration(minute)*time.Minute + 5*time.Second) }
	c := NewChart(ChartInput{Title: "CPU", Unit: CPU, From: from, Until: from.Add(time.Hour), Limit: 1000, Marks: []Mark{{at(30), "#2"}, {from.Add(-time.Hour), "#1"}},
		Series: [][]Value{{{at(0), 100}, {at(1), 200}, {at(59), 250}}, {{at(1), 300}, {at(1).Add(15 * time.Second), 100}}}})
	if c.Now != "0.25" || c.Most != "0.5" || c.Limit != "1" || c.Said() != "CPU: 0.25 now, at most 0.5 in the last hour, of 1 allowed" {
		t.Errorf("the chart says %q", c.Said())
	}
	if strings.Count(c.Path, "M") != 2 || strings.Count(c.Path, "Z") != 2 || len(c.Marks) != 1 || c.Marks[0].X != "50.14" {
		t.Errorf("the chart is %q with %+v", c.Path, c.Marks)
	}
	if len(c.Rows) != 2 || c.Rows[0].Most != "0.5" || !c.Rows[1].At.Equal(from.Add(55*time.Minute)) {
		t.Errorf("the table is %+v", c.Rows)
	}
	if empty := NewChart(ChartInput{Title: "Memory", Unit: Memory, From: from, Until: from.Add(time.Hour)}); empty.Path != "" || empty.Said() != "Memory: not measured yet" {
		t.Errorf("a chart of nothing says %q", empty.Said())
	}
	if Memory(1536<<10) != "1.5 MiB" || Memory(1300<<20) != "1,300 MiB" {
		t.Errorf("memory is written as %s and %s", Memory(1536<<10), Memory(1300<<20))
	}
}
