package google_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/google"
	"slipway.dev/services/deploy/google/googletest"
)

func TestWhatIsMissingIsSaidBeforeAnythingIsTouched(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	inspector := open(t, cloud, nil).(deploy.Inspector)
	r := release(of)
	r.ID, r.Env = "", nil
	checks, err := inspector.Inspect(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		if !c.OK {
			t.Errorf("%s: %s", c.Name, c.Message)
		}
	}
	cloud.Deny("run.services.update")
	cloud.Deny("logging.logEntries.list")
	cloud.Deny("iam.serviceAccounts.actAs")
	r.Image.Repository = "ghcr.io/acme/checkout"
	r.Scale.Memory = 64 << 30
	checks, err = inspector.Inspect(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, c := range checks {
		if !c.OK {
			said += c.Message + "\n"
		}
	}
	for _, want := range []string{"run.services.update (roles/run.admin)", "logging.logEntries.list (roles/logging.viewer)", "iam.serviceAccounts.actAs", "not from ghcr.io", "32 GiB"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q says nothing of %q", said, want)
		}
	}
	if left := cloud.Left(); len(left) > 0 {
		t.Errorf("it made %q", left)
	}
	cloud.Distrust()
	cloud.Expire()
	if checks, err = inspector.Inspect(t.Context(), r); err != nil || len(checks) != 1 || checks[0].OK {
		t.Errorf("without a token there are %v, %v", checks, err)
	}
}

func TestWhatWasMadeAndWhatHappenedIsTold(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	target, r := open(t, cloud, nil), release(of)
	if err := roll(t.Context(), target, r, nothing); err != nil {
		t.Fatal(err)
	}
	made, err := target.(deploy.Ledger).Resources(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	kinds := ""
	for _, m := range made {
		kinds += m.Kind + " "
		if m.Link != "" {
			t.Errorf("%s has a link into another universe's console: %s", m.Name, m.Link)
		}
	}
	if kinds != "Service Revision Secret " {
		t.Errorf("made were %+v", made)
	}
	events, err := target.(deploy.Reporter).Events(t.Context(), r.ID)
	if err != nil || len(events) == 0 || !strings.HasPrefix(events[0].Object, "Revision checkout-dev-") || events[0].Text != "Ready" || events[0].Warning {
		t.Errorf("the events are %+v, %v", events, err)
	}
}

func TestAServiceOfOthersIsNotTouched(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	one, two := open(t, cloud, nil), open(t, cloud, nil)
	r := release(of)
	if err := roll(t.Context(), one, r, nothing); err != nil {
		t.Fatal(err)
	}
	refused(t, "another target", two.Start(t.Context(), after(r)), deploy.StageTarget, "did not make")
	if all, err := two.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("the other target lists %v, %v", all, err)
	}
	if err := two.Remove(t.Context(), r.ID, 0); err != nil {
		t.Fatal(err)
	}
	if all, err := one.List(t.Context()); err != nil || len(all) != 1 || all[0].State != models.InstanceHealthy {
		t.Errorf("after the other's Remove there are %v, %v", all, err)
	}
}

func TestARevisionIsWhatTheReleaseAsksFor(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	target := open(t, cloud, map[string]string{"sleeps": "true", "concurrency": "10", "network": "private", "subnet": "apps"})
	r := release(of)
	r.Scale = models.Scale{Replicas: 2, Max: 5, CPU: 1500, Memory: 5 << 30}
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	all, err := target.List(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("listed are %v, %v", all, err)
	}
	name, _, _ := strings.Cut(all[0].ID, "/")
	made := cloud.Template(name[:strings.LastIndexByte(name, '-')])
	if made == nil {
		t.Fatalf("there is no service for %s", name)
	}
	k := made.Containers[0]
	if made.Scaling.MinInstanceCount != 0 || made.Scaling.MaxInstanceCount != 5 || made.MaxInstanceRequestConcurrency != 10 || !k.Resources.CpuIdle {
		t.Errorf("it scales by %+v", made.Scaling)
	}
	if k.Resources.Limits["cpu"] != "2" || k.Resources.Limits["memory"] != "5120Mi" {
		t.Errorf("the limits are %v", k.Resources.Limits)
	}
	if made.VpcAccess == nil || made.VpcAccess.NetworkInterfaces[0].Subnetwork != "apps" || made.Labels["slipway-release"] != r.ID || made.Labels["slipway-target"] == "" {
		t.Errorf("the template is %+v", made)
	}
	for _, e := range k.Env {
		if e.Name == "TOKEN" && (e.Value != "" || e.ValueSource == nil) || e.Name == "GREETING" && e.Value != "hello" {
			t.Errorf("the variable %s is %q", e.Name, e.Value)
		}
	}
}

func TestAKeyGoesToGoogleAlone(t *testing.T) {
	t.Parallel()
	_, _, local := image(t)
	cloud := googletest.New(t, local)
	target := open(t, cloud, map[string]string{"key": cloud.Key(), "workload_provider": "", "service_account": ""})
	if info, err := target.Check(t.Context()); err != nil || info.Version != "Cloud Run in europe-west1" {
		t.Fatalf("%+v, %v", info, err)
	}
	cloud.Distrust()
	cloud.Expire()
	_, err := target.Check(t.Context())
	refused(t, "a key that was deleted", err, deploy.StageTarget, "refused the service account's key", "invalid_grant")
}

func TestNoTokenFollowsARedirect(t *testing.T) {
	t.Parallel()
	_, _, local := image(t)
	cloud := googletest.New(t, local)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		t.Errorf("another host was asked for %s", req.URL)
	}))
	defer other.Close()
	var elsewhere atomic.Bool
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, "/sts/") == elsewhere.Load() {
			http.Redirect(w, req, other.URL, http.StatusTemporaryRedirect)
			return
		}
		at, err := url.Parse(strings.TrimSuffix(cloud.Endpoint(), "/{service}"))
		if err != nil {
			t.Error(err)
		}
		httputil.NewSingleHostReverseProxy(at).ServeHTTP(w, req)
	}))
	defer front.Close()
	for _, token := range []bool{false, true} {
		elsewhere.Store(token)
		if _, err := open(t, cloud, map[string]string{"endpoint": front.URL + "/{service}"}).Check(t.Context()); err == nil {
			t.Error("the answer was a redirect, and the check passed")
		}
	}
}

func TestAPortalThatIsNoIssuerSaysSo(t *testing.T) {
	t.Parallel()
	target, err := google.Kind().Open(deploy.Config{ID: models.NewID(), Settings: map[string]string{"project": googletest.Project, "region": googletest.Region, "run_as": googletest.RunAs, "workload_provider": googletest.Provider}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = target.Check(t.Context())
	refused(t, "no issuer", err, deploy.StageTarget, "gives no tokens of its own", "external URL")
}

func TestSettingsThatCantWorkAreRefusedByTheirField(t *testing.T) {
	t.Parallel()
	good := map[string]string{"project": googletest.Project, "region": googletest.Region, "run_as": googletest.RunAs}
	for field, value := range map[string]string{
		"project": "Acme", "region": "Europe", "run_as": "somebody@example.com", "workload_provider": "portal", "service_account": "slipway@acme-apps.iam.gserviceaccount.com",
		"ingress": "nobody", "concurrency": "2000", "subnet": "apps", "network": "Private", "endpoint": "http://run.example.com", "key": "{}",
	} {
		c := deploy.Config{ID: models.NewID(), Settings: map[string]string{}, Secrets: map[string]string{}}
		for n, v := range good {
			c.Settings[n] = v
		}
		if c.Settings[field] = value; field == "key" {
			c.Secrets[field] = value
		}
		_, err := google.Kind().Open(c)
		e, ok := err.(*models.Error)
		if !ok || e.Fields[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := google.Kind().Open(deploy.Config{ID: models.NewID(), Settings: good}); err != nil {
		t.Error(err)
	}
}

func TestAnEstimateCountsWhatCloudRunGivesAnInstance(t *testing.T) {
	t.Parallel()
	kind := google.Kind()
	prices := map[string]float64{}
	for _, p := range kind.Prices {
		prices[p.Name] = p.Amount
	}
	sum := 0.0
	for _, l := range kind.Estimate(prices, models.Scale{Replicas: 2, CPU: 250, Memory: 64 << 20}) {
		sum += l.Month
	}
	if sum < 99 || sum > 101 { // 2 × (1 vCPU + 0.5 GiB) × 2 628 000 s
		t.Errorf("a month costs %.2f", sum)
	}
}
