package google_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/api/run/v2"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/google/googletest"
)

// nothing takes a transcript that nobody reads.
func nothing(string) {}

// release is a release of the image, with a secret.
func release(of deploy.Image) deploy.Release {
	id := models.NewID()
	return deploy.Release{
		ID: id, Name: "payments-checkout-dev-" + id[24:], Team: "payments", App: "checkout", AppID: models.NewID(), Environment: "dev", EnvironmentID: models.NewID(), Image: of,
		Env: map[string]string{"PORT": "8080", "GREETING": "hello", "TOKEN": "secret word"}, Plain: []string{"PORT", "GREETING"},
		Port: 8080, Health: models.HealthHTTP, HealthPath: "/healthz", Scale: models.Scale{Replicas: 1},
	}
}

// after is another release of the same app in the same environment.
func after(r deploy.Release) deploy.Release {
	next := release(r.Image)
	next.AppID, next.EnvironmentID = r.AppID, r.EnvironmentID
	return next
}

// roll starts the release and waits for it.
func roll(ctx context.Context, target deploy.Target, r deploy.Release, say func(string)) error {
	if err := target.Start(ctx, r); err != nil {
		return err
	}
	_, err := target.Wait(ctx, r, say)
	return err
}

// refused returns the failure that it has to be, a sentence with each of the words.
func refused(t *testing.T, what string, err error, stage string, words ...string) *deploy.Failure {
	t.Helper()
	f := new(deploy.Failure)
	if !errors.As(err, &f) {
		t.Errorf("%s: %v is no failure for people", what, err)
		return f
	}
	if f.Stage != stage || !strings.HasSuffix(f.Message, ".") {
		t.Errorf("%s: the failure is %s: %q", what, f.Stage, f.Message)
	}
	for _, w := range words {
		if !strings.Contains(f.Message, w) {
			t.Errorf("%s: %q says nothing of %q", what, f.Message, w)
		}
	}
	return f
}

var (
	throttled = googletest.Error{Code: 429, Status: "RESOURCE_EXHAUSTED", Message: "Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute'.", Reason: "RATE_LIMIT_EXCEEDED", About: map[string]string{"quota_limit": "WriteRequestsPerMinute"}}
	off       = googletest.Error{Code: 403, Status: "PERMISSION_DENIED", Message: "Cloud Run Admin API has not been used in project 1 before or it is disabled.", Reason: "SERVICE_DISABLED", About: map[string]string{"service": "run.googleapis.com"}}
	noQuota   = googletest.Error{Code: 429, Status: "RESOURCE_EXHAUSTED", Message: "Resource exhausted.", Reason: "RESOURCE_QUOTA_EXCEEDED", About: map[string]string{"quota_limit": "ServicesPerProject"}}
	domains   = googletest.Error{Code: 400, Status: "FAILED_PRECONDITION", Message: "One or more users named in the policy do not belong to a permitted customer, perhaps due to an organization policy."}
	noPlace   = googletest.Error{Code: 404, Status: "NOT_FOUND", Message: "The requested location is not found."}
	fault     = googletest.Error{Code: 500, Status: "INTERNAL", Message: "Internal error."}
)

func TestWhatGoogleRefusesIsASentence(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	for what, c := range map[string]struct {
		prepare  func(*googletest.Cloud)
		settings map[string]string
		stage    string
		words    []string
	}{
		"a permission":            {func(c *googletest.Cloud) { c.Deny("run.services.create") }, nil, deploy.StageTarget, []string{"run.services.create", "roles/run.admin", "acme-apps"}},
		"a permission for secret": {func(c *googletest.Cloud) { c.Deny("secretmanager.secrets.create") }, nil, deploy.StageTarget, []string{"secretmanager.secrets.create", "roles/secretmanager.admin"}},
		"visitors' rights":        {func(c *googletest.Cloud) { c.Deny("run.services.setIamPolicy") }, nil, deploy.StageTarget, []string{"run.services.setIamPolicy"}},
		"an organization's rule":  {func(c *googletest.Cloud) { c.Fail("run.services.setIamPolicy", 1, domains) }, nil, deploy.StageStart, []string{"iam.allowedPolicyMemberDomains", "Anybody may visit"}},
		"the apps' account":       {nil, map[string]string{"run_as": "other@acme-apps.iam.gserviceaccount.com"}, deploy.StageTarget, []string{"iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser", "other@acme-apps"}},
		"no trust":                {func(c *googletest.Cloud) { c.Distrust() }, nil, deploy.StageTarget, []string{"does not accept Slipway's token", "invalid_grant", googletest.Provider}},
		"another's account":       {func(c *googletest.Cloud) { c.Deny("iam.serviceAccounts.getAccessToken") }, nil, deploy.StageTarget, []string{"iam.serviceAccounts.getAccessToken", "roles/iam.workloadIdentityUser", googletest.Account}},
		"an API that is off":      {func(c *googletest.Cloud) { c.Fail("run.services.get", 1, off) }, nil, deploy.StageTarget, []string{"run.googleapis.com", "gcloud services enable"}},
		"too many calls":          {func(c *googletest.Cloud) { c.Fail("run.services.create", 5, throttled) }, nil, deploy.StageStart, []string{"asked too often", "WriteRequestsPerMinute"}},
		"a quota":                 {func(c *googletest.Cloud) { c.Fail("run.services.create", 5, noQuota) }, nil, deploy.StageStart, []string{"quota", "ServicesPerProject", "IAM & Admin"}},
		"a region":                {func(c *googletest.Cloud) { c.Fail("run.services.create", 1, noPlace) }, nil, deploy.StageTarget, []string{"no Cloud Run in the region europe-west1"}},
		"an image that went":      {revisionFails("CONTAINER_MISSING", "", "Image not found."), nil, deploy.StageImage, []string{"does not find the image", repository}},
		"an image of others":      {revisionFails("CONTAINER_PERMISSION_DENIED", "", "Google Cloud Run Service Agent must have permission to read the image."), nil, deploy.StageImage, []string{"may not pull", "roles/artifactregistry.reader"}},
		"a policy for images":     {revisionFails("CONTAINER_IMAGE_UNAUTHORIZED", "", "Denied by attestor."), nil, deploy.StageImage, []string{"Binary Authorization", "Denied by attestor"}},
		"an image for arm":        {revisionFails("", "HEALTH_CHECK_CONTAINER_ERROR", "failed to load /app: exec format error"), nil, deploy.StageImage, []string{"linux/amd64"}},
		"secrets":                 {func(c *googletest.Cloud) { c.Deny("secretmanager.versions.access") }, nil, deploy.StageStart, []string{"secretmanager.versions.access", "roles/secretmanager.secretAccessor", googletest.RunAs}},
		"a quota of processors":   {revisionFails("INTERNAL", "", "Quota exceeded for total allowable CPU per project per region."), nil, deploy.StageStart, []string{"total allowable CPU", "europe-west1"}},
		"a network":               {revisionFails("VPC_NETWORK_NOT_FOUND", "", "VPC network not found."), map[string]string{"network": "private"}, deploy.StageStart, []string{"network private"}},
		"a fault of Cloud Run":    {revisionFails("INTERNAL", "", "An internal error occurred."), nil, deploy.StageTarget, []string{"a fault of its own", "Deploy again"}},
		"too little memory":       {revisionFails("", "HEALTH_CHECK_CONTAINER_ERROR", "failed", "Memory limit of 512 MiB exceeded with 530 MiB used. Consider increasing the memory limit."), nil, deploy.StageStart, []string{"530 MiB of 512 MiB"}},
		"a signal":                {revisionFails("", "HEALTH_CHECK_CONTAINER_ERROR", "failed", "Container terminated on signal 11."), nil, deploy.StageStart, []string{"signal 11"}},
		"no command":              {revisionFails("", "HEALTH_CHECK_CONTAINER_ERROR", "failed", "Container called exit(127)."), nil, deploy.StageStart, []string{"ENTRYPOINT"}},
		"an end without an error": {revisionFails("", "HEALTH_CHECK_CONTAINER_ERROR", "failed", "Container called exit(0)."), nil, deploy.StageStart, []string{"ended by itself"}},
		"health that never comes": {revisionFails("", "HEALTH_CHECK_CONTAINER_ERROR", "failed", `STARTUP HTTP probe failed 90 times consecutively for container "app-1" on port 8080 path "/healthz". The instance was not started.`), nil, deploy.StageHealth, []string{"GET /healthz on port 8080"}},
	} {
		t.Run(what, func(t *testing.T) {
			cloud := googletest.New(t, local)
			if c.prepare != nil {
				c.prepare(cloud)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			f := refused(t, what, roll(ctx, open(t, cloud, c.settings), release(of), nothing), c.stage, c.words...)
			if f.OOM != (what == "too little memory") {
				t.Errorf("out of memory: %v", f.OOM)
			}
			if strings.Contains(f.Error(), "secret word") {
				t.Errorf("the failure tells a secret: %v", f)
			}
		})
	}
}

// revisionFails lets the next revision fail for the reasons.
func revisionFails(reason, ofRevision, message string, said ...string) func(*googletest.Cloud) {
	return func(c *googletest.Cloud) {
		c.NextRevision(run.GoogleCloudRunV2Condition{Reason: reason, RevisionReason: ofRevision, Message: message}, said...)
	}
}

func TestARegistryThatCloudRunDoesNotPullFromIsRefusedBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	of, from, local := image(t)
	cloud := googletest.New(t, local)
	of.Repository = "registry.example.com/payments/checkout"
	refused(t, "fetch", open(t, cloud, nil).Fetch(t.Context(), of, from, nothing), deploy.StageImage, "registry.example.com", "Artifact Registry", "target's settings")
	if left := cloud.Left(); len(left) > 0 {
		t.Errorf("made were %q", left)
	}
}

func TestAnImagesOwnHealthCheckIsRefused(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	r := release(of)
	r.Health = models.HealthImage
	refused(t, "start", open(t, googletest.New(t, local), nil).Start(t.Context(), r), deploy.StageHealth, "HEALTHCHECK")
}

func TestCallsThatGoogleHasNoTimeForAreRepeated(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	cloud.Fail("run.services.create", 3, throttled)
	if err := roll(t.Context(), open(t, cloud, nil), release(of), nothing); err != nil {
		t.Fatal(err)
	}
	if n := cloud.Calls("run.services.create"); n != 4 {
		t.Errorf("it was asked %d times", n)
	}
}

func TestATokenThatExpiredIsRenewedOnce(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	target, r := open(t, cloud, nil), release(of)
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	cloud.Expire()
	if _, err := target.Wait(t.Context(), r, nothing); err != nil {
		t.Fatal(err)
	}
	if got := cloud.Subject(); got != "target:google:team:payments:environment:dev:app:checkout" {
		t.Errorf("calls for the release speak for %q", got)
	}
	if _, err := target.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := cloud.Subject(); got != "target:google" {
		t.Errorf("calls for the target speak for %q", got)
	}
	cloud.Distrust()
	cloud.Expire()
	_, err := target.List(t.Context())
	refused(t, "a token that can't be renewed", err, deploy.StageTarget, "does not accept")
}

func TestAnAPIThatDoesNotAnswerIsNoFailureAndTheRolloutGoesOn(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	target, r := open(t, cloud, nil), release(of)
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	f := new(deploy.Failure)
	cloud.Break(true)
	if _, err := target.Wait(t.Context(), r, nothing); err == nil || errors.As(err, &f) {
		t.Errorf("where nobody answers waiting ends with %v", err)
	}
	cloud.Break(false)
	cloud.Fail("run.revisions.get", 1, fault)
	if _, err := target.Wait(t.Context(), r, nothing); err == nil || errors.As(err, &f) {
		t.Errorf("after a fault of Google's waiting ends with %v", err)
	}
	if _, err := target.Wait(t.Context(), r, nothing); err != nil {
		t.Fatal(err)
	}
}

func TestALogThatCantBeReadEndsNoRollout(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	cloud.Deny("logging.logEntries.list")
	target, r := open(t, cloud, nil), release(of)
	r.Command = []string{"say", "GREETING"}
	var said []string
	say := func(line string) { said = append(said, line) }
	if err := target.Run(t.Context(), r, say); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(said, "\n"); strings.Count(all, "logging.logEntries.list") != 1 {
		t.Errorf("said was %q", all)
	}
	if err := roll(t.Context(), target, r, nothing); err != nil {
		t.Fatal(err)
	}
	two := after(r)
	two.Env["CRASH"], two.Plain = "1", append(two.Plain, "CRASH")
	refused(t, "a crash", roll(t.Context(), target, two, nothing), deploy.StageHealth, "did not become healthy")
}

func TestAnotherWorkerGoesOnWithWhatADeadOneLeft(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	id, r := models.NewID(), release(of)
	r.Command = []string{"say", "TOKEN"}
	cloud.Fail("secretmanager.versions.add", 1, fault) // it dies after the secret, before its version
	if err := openAs(t, cloud, id, nil).Start(t.Context(), r); err == nil {
		t.Fatal("the first worker came through")
	}
	var said []string
	for range 2 { // the second one finds the job and its end
		said = nil
		if err := openAs(t, cloud, id, nil).Run(t.Context(), r, func(line string) { said = append(said, line) }); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(said, []string{"secret word"}) || cloud.Calls("run.jobs.run") != 1 {
		t.Errorf("the command ran %d times and said %q", cloud.Calls("run.jobs.run"), said)
	}
	cloud.Fail("run.services.getIamPolicy", 1, fault) // it dies after the service, before the rights
	if err := openAs(t, cloud, id, nil).Start(t.Context(), r); err == nil {
		t.Fatal("the second worker came through")
	}
	last := openAs(t, cloud, id, nil)
	if err := roll(t.Context(), last, r, nothing); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		url, err := openAs(t, cloud, id, nil).Route(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if got := visit(t, url); got != "1" {
			t.Errorf("a visitor got %q", got)
		}
	}
	if n := cloud.Calls("run.services.create"); n != 1 {
		t.Errorf("the service was made %d times", n)
	}
	for range 2 {
		if err := openAs(t, cloud, id, nil).Remove(t.Context(), r.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	if left := cloud.Left(); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}

func TestAVersionThatFailsNeverHasVisitors(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	target, one := open(t, cloud, nil), release(of)
	if err := roll(t.Context(), target, one, nothing); err != nil {
		t.Fatal(err)
	}
	url, err := target.Route(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	two := after(one)
	two.Env["CRASH"], two.Plain = "1", append(two.Plain, "CRASH")
	f := refused(t, "the second version", roll(t.Context(), target, two, nothing), deploy.StageStart, "exit code 3")
	if f.ExitCode == nil || *f.ExitCode != 3 || len(f.Logs) == 0 {
		t.Errorf("the failure is %+v", f)
	}
	if got := visit(t, url); got != "1" {
		t.Errorf("a visitor got %q", got)
	}
	if err := target.Remove(t.Context(), one.ID, 0); err == nil {
		t.Error("the version that serves was removed")
	}
	if err := target.Remove(t.Context(), two.ID, 0); err != nil {
		t.Fatal(err)
	}
	three := after(one) // the failed revision is the newest one until now, and goes with the next Remove
	if err := roll(t.Context(), target, three, nothing); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Route(t.Context(), three); err != nil {
		t.Fatal(err)
	}
	if err := target.Remove(t.Context(), one.ID, 0); err != nil {
		t.Fatal(err)
	}
	if got := visit(t, url); got != "1" {
		t.Errorf("after the change a visitor got %q", got)
	}
	for _, r := range []deploy.Release{two, three} {
		if err := target.Remove(t.Context(), r.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	if left := cloud.Left(); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}

func TestHealthIsAskedFromOutsideToo(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	for path, want := range map[string]string{"/version": "/version → HTTP 200", "/healthz": "Google keeps paths that end in z"} {
		r := release(of)
		r.HealthPath = path
		var said []string
		if err := roll(t.Context(), open(t, googletest.New(t, local), nil), r, func(line string) { said = append(said, line) }); err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(said, "\n"); !strings.Contains(all, want) || !strings.Contains(all, "GET :8080"+path+" → passed") {
			t.Errorf("%s: said was %q", path, said)
		}
	}
}

func TestAnAppThatNobodyReachesFromOutsideIsNotHealthy(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	cloud.Forbid()
	target, r := open(t, cloud, nil), release(of)
	r.HealthPath = "/version"
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := target.Wait(ctx, r, nothing)
	refused(t, "no way in", err, deploy.StageHealth, "asked from outside for /version", "HTTP 403", "does not let in")
}

func TestVisitorsAreServedThroughAChangeOfVersions(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	target, one := open(t, cloud, nil), release(of)
	if err := roll(t.Context(), target, one, nothing); err != nil {
		t.Fatal(err)
	}
	url, err := target.Route(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	asked, lost := 0, 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			res, err := http.Get(url + "/version")
			if asked++; err != nil || res.StatusCode != http.StatusOK {
				lost++
			}
			if err == nil {
				res.Body.Close()
			}
		}
	}()
	two := after(one)
	two.Env["VERSION"], two.Plain = "2", append(two.Plain, "VERSION")
	if err := roll(t.Context(), target, two, nothing); err != nil {
		t.Fatal(err)
	}
	if at, err := target.Route(t.Context(), two); err != nil || at != url {
		t.Fatalf("the address went to %s, %v", at, err)
	}
	if got := visit(t, url); got != "2" {
		t.Errorf("a visitor got %q", got)
	}
	if err := target.Remove(t.Context(), one.ID, 0); err != nil {
		t.Fatal(err)
	}
	stop()
	<-ended
	if asked == 0 || lost > 0 {
		t.Errorf("%d of %d visitors were lost", lost, asked)
	}
}

func TestAReaderHearsOfAReleaseThatGoes(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	target, r := open(t, googletest.New(t, local), nil), release(of)
	if err := roll(t.Context(), target, r, nothing); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	gone := func() {
		if err := target.Remove(t.Context(), r.ID, 0); err != nil {
			t.Error(err)
		}
	}
	n := 0
	for _, err := range target.Logs(ctx, r.ID, deploy.LogOptions{Follow: true, Opened: gone}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if ctx.Err() != nil || n == 0 {
		t.Errorf("after %d lines the reader went on", n)
	}
	for l, err := range target.Logs(ctx, r.ID, deploy.LogOptions{Tail: 1}) { // Cloud Logging keeps them
		if err != nil || l.Text == "" {
			t.Errorf("%+v, %v", l, err)
		}
	}
}

func TestWithoutVisitorsFromEverywhereNobodyIsLetIn(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	for what, settings := range map[string]map[string]string{"not public": {"public": ""}, "internal": {"ingress": "internal"}} {
		target, r := open(t, googletest.New(t, local), settings), release(of)
		if err := roll(t.Context(), target, r, nothing); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		url, err := target.Route(t.Context(), r)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		res, err := http.Get(url + "/version")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusForbidden && res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: a visitor got %d", what, res.StatusCode)
		}
	}
}
