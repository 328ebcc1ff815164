package google_test

import (
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/google/googletest"
)

const asked = "monitoring.timeSeries.list"

func TestWhatInstancesTakeIsTheMeanOfAllAndCloudMonitoringAskedOnceAMinute(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	target, r := open(t, cloud, nil), release(of)
	if used, err := target.Usage(t.Context()); err != nil || len(used) != 0 || cloud.Calls(asked) != 0 {
		t.Errorf("where nothing runs: %+v, %v, asked %d times", used, err, cloud.Calls(asked))
	}
	r.Scale = models.Scale{Replicas: 2, CPU: 2000, Memory: 1 << 30}
	if err := roll(t.Context(), target, r, nothing); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		used, err := target.Usage(t.Context())
		if err != nil || len(used) != 2 || used[0].Instance == used[1].Instance {
			t.Fatalf("of two instances it tells %+v, %v", used, err)
		}
		for _, u := range used {
			if u.CPU != used[0].CPU || u.Memory != used[0].Memory || u.Memory < 100<<10 || u.Memory > 256<<20 || u.CPU < 0 || u.CPU > 2000 {
				t.Errorf("an instance takes %+v", u)
			}
		}
	}
	if n := cloud.Calls(asked); n != 2 { // of processors, and of memory
		t.Errorf("Cloud Monitoring was asked %d times", n)
	}
	if err := roll(t.Context(), target, after(r), nothing); err != nil {
		t.Fatal(err)
	}
	if used, err := target.Usage(t.Context()); err != nil || len(used) != 3 || cloud.Calls(asked) != 4 {
		t.Errorf("with a new revision: %+v, %v, asked %d times", used, err, cloud.Calls(asked))
	}
	if err := target.Remove(t.Context(), r.ID, 0); err == nil {
		t.Error("what has the visitors was removed")
	}
}

func TestWhereCloudMonitoringTellsNothingNothingIsKnown(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	id := models.NewID()
	if err := roll(t.Context(), openAs(t, cloud, id, nil), release(of), nothing); err != nil {
		t.Fatal(err)
	}
	offMonitoring := googletest.Error{Code: 403, Status: "PERMISSION_DENIED", Message: "Cloud Monitoring API has not been used.", Reason: "SERVICE_DISABLED", About: map[string]string{"service": "monitoring.googleapis.com"}}
	for what, c := range map[string]struct {
		e     googletest.Error
		times int
	}{"too many questions": {throttled, 5}, "a fault of Google's": {fault, 1}, "an API that is off": {offMonitoring, 1}} {
		target, before := openAs(t, cloud, id, nil), cloud.Calls(asked)
		cloud.Fail(asked, c.times, c.e)
		for range 2 {
			if used, err := target.Usage(t.Context()); err != nil || len(used) != 0 {
				t.Errorf("%s: %+v, %v", what, used, err)
			}
		}
		if n := cloud.Calls(asked) - before; n != c.times {
			t.Errorf("%s: it was asked %d times", what, n)
		}
	}
	cloud.Fail(asked, 1, googletest.Error{Code: 400, Status: "INVALID_ARGUMENT", Message: "The filter is not known."})
	if used, err := openAs(t, cloud, id, nil).Usage(t.Context()); err == nil || !strings.Contains(err.Error(), "reading what instances take") {
		t.Errorf("a question that Google does not take: %+v, %v", used, err)
	}
	if used, err := openAs(t, cloud, id, nil).Usage(t.Context()); err != nil || len(used) != 1 {
		t.Errorf("healed: %+v, %v", used, err)
	}
}

func TestThatMetricsMayNotBeReadIsSaidAndRefusesNothing(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	r := release(of)
	r.ID, r.Env = "", nil
	said := func() string {
		t.Helper()
		checks, err := open(t, cloud, nil).(deploy.Inspector).Inspect(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range checks {
			if !c.OK {
				t.Errorf("%s: %s", c.Name, c.Message)
			}
			if c.Name == "CPU and memory in use" {
				return c.Message
			}
		}
		return ""
	}
	if got := said(); !strings.Contains(got, "the mean of a release's instances") {
		t.Errorf("it says %q", got)
	}
	cloud.Fail(asked, 1, googletest.Error{Code: 403, Status: "PERMISSION_DENIED", Message: "off", Reason: "SERVICE_DISABLED", About: map[string]string{"service": "monitoring.googleapis.com"}})
	if got := said(); !strings.Contains(got, "gcloud services enable monitoring.googleapis.com") {
		t.Errorf("it says %q", got)
	}
	cloud.Deny(asked)
	if got := said(); !strings.Contains(got, "lacks the permission monitoring.timeSeries.list in the project acme-apps") || !strings.Contains(got, "roles/monitoring.viewer") {
		t.Errorf("it says %q", got)
	}
}
