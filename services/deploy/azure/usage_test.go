package azure_test

import (
	"net/http"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azure/azuretest"
)

const asked = `^GET .*/providers/Microsoft\.Insights/metrics$`

func TestWhatReplicasTakeIsToldForEachAndAzureMonitorAskedOnceAMinute(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	target := open(t, s)
	r := release(image, from)
	r.Scale.Replicas = 3
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	found, err := target.Wait(t.Context(), r, nothing)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		used, err := target.Usage(t.Context())
		if err != nil || len(used) != 3 {
			t.Fatalf("of three replicas it tells %+v, %v", used, err)
		}
		told := map[string]deploy.Usage{}
		for _, u := range used {
			told[u.Instance] = u
		}
		for _, i := range found {
			if u, ok := told[i.ID]; !ok || u.Memory < 100<<10 || u.Memory >= 1<<30 || u.CPU < 0 || u.CPU > 500 {
				t.Errorf("%s takes %+v of 0.5 processors and 1 GiB", i.ID, u)
			}
		}
	}
	if n := len(s.Calls(asked)); n != 1 {
		t.Errorf("Azure Monitor was asked %d times", n)
	}
	if err := target.Remove(t.Context(), r.ID, 0); err != nil {
		t.Fatal(err)
	}
	if used, err := target.Usage(t.Context()); err != nil || len(used) != 0 {
		t.Errorf("once nothing runs %+v is used, %v", used, err)
	}
}

func TestWhereAzureMonitorTellsNothingNothingIsKnown(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	id := models.NewID()
	same := func(c *deploy.Config) { c.ID = id }
	r := release(image, from)
	if _, err := roll(t.Context(), open(t, s, same), r, nothing); err != nil {
		t.Fatal(err)
	}
	for title, f := range map[string]azuretest.Fault{
		"too many questions": {Status: http.StatusTooManyRequests, Code: "TooManyRequests", Message: "Too many requests.", RetryAfter: "60"},
		"an ill service":     {Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: "The service is unavailable."},
		"no answer":          {Drop: true},
		"a foreign role":     {Status: http.StatusForbidden, Code: "AuthorizationFailed", Message: "The client does not have authorization to perform action 'Microsoft.Insights/metrics/read' over scope '/subscriptions/a'."},
	} {
		target, before := open(t, s, same), len(s.Calls(asked))
		f.Call = asked
		s.Fail(f)
		for range 2 {
			if used, err := target.Usage(t.Context()); err != nil || len(used) != 0 {
				t.Errorf("%s: %+v, %v", title, used, err)
			}
		}
		s.Heal()
		if n := len(s.Calls(asked)) - before; n != 1 && !f.Drop { // a lost question is asked again by the connection
			t.Errorf("%s: it was asked %d times", title, n)
		}
	}
	s.Fail(azuretest.Fault{Call: asked, Status: http.StatusBadRequest, Code: "BadRequest", Message: "The metric is not known."})
	if used, err := open(t, s, same).Usage(t.Context()); err == nil || !strings.Contains(err.Error(), "reading the metrics of") {
		t.Errorf("a question that Azure does not take: %+v, %v", used, err)
	}
	s.Heal()
	if used, err := open(t, s, same).Usage(t.Context()); err != nil || len(used) != 1 {
		t.Errorf("healed: %+v, %v", used, err)
	}
}

func TestThatMetricsMayNotBeReadIsSaidAndRefusesNothing(t *testing.T) {
	s := azuretest.New(t)
	s.Deny("Microsoft.Insights/metrics/read")
	r := release(deploy.Image{Repository: "registry.example.com/payments/checkout", Digest: "sha256:" + strings.Repeat("a", 64)}, deploy.Source{})
	r.ID = ""
	target := open(t, s)
	checks, err := target.(deploy.Inspector).Inspect(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	said := 0
	for _, c := range checks {
		if !c.OK {
			t.Errorf("%s: %s", c.Name, c.Message)
		}
		said += strings.Count(c.Message, "It may not do Microsoft.Insights/metrics/read")
	}
	if said != 1 {
		t.Errorf("it is said %d times: %+v", said, checks)
	}
}
