package azure_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azure/azuretest"
)

const queries = `^POST /v1/workspaces/`

// said are the lines that there are, without following.
func said(t *testing.T, target deploy.Target, release string, o deploy.LogOptions) (lines []deploy.LogLine) {
	t.Helper()
	for line, err := range target.Logs(t.Context(), release, o) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

// quiet is the release with a health check that it prints nothing of.
func quiet(r deploy.Release) deploy.Release {
	r.Health = models.HealthTCP
	return r
}

// printers are the numbers of the replicas that have printed the lines.
func printers(lines []deploy.LogLine) map[int]bool {
	out := map[int]bool{}
	for _, l := range lines {
		out[l.Replica] = true
	}
	return out
}

// replaced is a release whose first replica gave way to another one, once both have said that they listen.
func replaced(t *testing.T, s *azuretest.Server, target deploy.Target, r deploy.Release) []deploy.LogLine {
	t.Helper()
	start(t, target, r)
	s.Replace()
	for deadline := time.Now().Add(time.Minute); ; {
		lines := said(t, target, r.ID, deploy.LogOptions{})
		if len(lines) > 1 && lines[0].Replica != lines[len(lines)-1].Replica {
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("the lines are %+v", lines)
		}
		<-time.After(100 * time.Millisecond)
	}
}

func TestWhatReplicasThatAreGonePrintedIsReadFromLogAnalytics(t *testing.T) {
	s := azuretest.New(t)
	s.Workspace = uuid.NewString()
	image, from := store(t)
	target, r := open(t, s), quiet(release(image, from))
	lines := replaced(t, s, target, r)
	last := lines[len(lines)-1]
	if lines[0].Replica != 2 || !strings.Contains(lines[0].Text, "listening on 8080") || last.Replica != 1 {
		t.Errorf("the lines are %+v", lines)
	}
	for n := 1; n < len(lines); n++ {
		if lines[n].At.Before(lines[n-1].At) {
			t.Errorf("a line of %s after one of %s", lines[n].At, lines[n-1].At)
		}
	}
	if after := said(t, target, r.ID, deploy.LogOptions{After: lines[0].At}); len(after) != len(lines)-1 {
		t.Errorf("after the first line there are %+v", after)
	}
	if tail := said(t, target, r.ID, deploy.LogOptions{Tail: 2}); len(tail) != 2 || tail[1] != last {
		t.Errorf("the last two lines are %+v", tail)
	}
	asked := len(s.Calls(queries))
	if tail := said(t, target, r.ID, deploy.LogOptions{Tail: 1}); len(tail) != 1 || tail[0] != last || len(s.Calls(queries)) != asked {
		t.Errorf("the last line is %+v, asked %d times", tail, len(s.Calls(queries))-asked)
	}
	if err := target.Remove(t.Context(), r.ID, 0); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if gone := said(t, target, r.ID, deploy.LogOptions{}); len(gone) > 0 && gone[0].Replica == 1 && gone[0].Text == lines[0].Text {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("of a release that was removed there are no lines")
		}
		<-time.After(100 * time.Millisecond)
	}
	if other := said(t, target, models.NewID(), deploy.LogOptions{}); len(other) != 0 {
		t.Errorf("another release has printed %+v", other)
	}
}

func TestAReleaseThatIsNoNameIsNoPartOfAQuery(t *testing.T) {
	s := azuretest.New(t)
	s.Workspace = uuid.NewString()
	target := open(t, s)
	for _, id := range []string{`" or "1"=="1`, "aaaaaaaa\n| take", `aaaaaaaaaa\"`, ""} {
		for line, err := range target.Logs(t.Context(), id, deploy.LogOptions{}) {
			if id != "" && err == nil {
				t.Errorf("%q has printed %+v", id, line)
			}
		}
	}
	if asked := s.Calls(queries); len(asked) > 1 { // the empty one is a name that nothing has
		t.Errorf("asked was %q", asked)
	}
}

func TestWithoutAnAnswerOfLogAnalyticsTheStreamsCount(t *testing.T) {
	s := azuretest.New(t)
	s.Workspace = uuid.NewString()
	image, from := store(t)
	target, r := open(t, s), quiet(release(image, from))
	replaced(t, s, target, r)
	for what, f := range map[string]azuretest.Fault{
		"a role that lacks it":      {Status: http.StatusForbidden, Code: "InsufficientAccessError", Message: "The provided credentials have insufficient access to perform the requested operation"},
		"a workspace that is gone":  {Status: http.StatusNotFound, Code: "WorkspaceNotFoundError", Message: "The workspace could not be found"},
		"a table that is not there": {Status: http.StatusBadRequest, Code: "SemanticError", Message: "Failed to resolve table or column expression named 'ContainerAppConsoleLogs_CL'"},
		"too many questions":        {Status: http.StatusTooManyRequests, Code: "ThrottledError", Message: "Too many requests.", RetryAfter: "60"},
		"an ill service":            {Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: "The service is unavailable."},
		"no answer":                 {Drop: true},
	} {
		before := len(s.Calls(queries))
		f.Call = queries
		s.Fail(f)
		if lines := said(t, target, r.ID, deploy.LogOptions{}); len(lines) == 0 || printers(lines)[2] {
			t.Errorf("%s: the lines are %+v", what, lines)
		}
		s.Heal()
		if n := len(s.Calls(queries)) - before; n != 1 && !f.Drop { // a lost question is asked again by the connection
			t.Errorf("%s: it was asked %d times", what, n)
		}
	}
	s.Fail(azuretest.Fault{Call: queries, Status: http.StatusBadRequest, Code: "BadArgumentError", Message: "The request had some invalid properties"})
	for _, err := range target.Logs(t.Context(), r.ID, deploy.LogOptions{}) {
		if f := failure(t, err); f.Stage != deploy.StageTarget || !strings.Contains(f.Message, "BadArgumentError") {
			t.Errorf("%s: %s", f.Stage, f.Message)
		}
	}
	s.Heal()
	s.Expire() // a token that Log Analytics does not take any more is renewed once
	if lines := said(t, target, r.ID, deploy.LogOptions{}); !printers(lines)[2] {
		t.Errorf("healed: %+v", lines)
	}
}

func TestWhetherLogAnalyticsMayBeAskedIsSaidAndRefusesNothing(t *testing.T) {
	s := azuretest.New(t)
	r := release(deploy.Image{Repository: "registry.example.com/payments/checkout", Digest: "sha256:" + strings.Repeat("a", 64)}, deploy.Source{})
	r.ID = ""
	says := func(want string) {
		t.Helper()
		checks, err := open(t, s).(deploy.Inspector).Inspect(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range checks {
			if !c.OK || c.Name == "Logs" && !strings.Contains(c.Message, want) {
				t.Errorf("%s: %v: %s has no %q", c.Name, c.OK, c.Message, want)
			}
		}
	}
	says("no Log Analytics workspace")
	s.Workspace = uuid.NewString()
	says("has the lines of replicas that are gone")
	s.Fail(azuretest.Fault{Call: queries, Times: 1, Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: "The service is unavailable."})
	says("gives no answer now")
	s.Deny("Microsoft.OperationalInsights/workspaces/query/read")
	says("workspaces/query/read and Microsoft.OperationalInsights/workspaces/query/Tables.Custom/read")
}
