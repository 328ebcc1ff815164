package azure_test

import (
	"io"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azure/azuretest"
)

// versions are what a hundred visitors get.
func versions(t *testing.T, s *azuretest.Server, url string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range 100 {
		res, err := s.HTTP().Get(url + "/version")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		got[strings.TrimSpace(string(body))]++
	}
	return got
}

// start runs the release until it is healthy.
func start(t *testing.T, target deploy.Target, r deploy.Release) {
	t.Helper()
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Wait(t.Context(), r, nothing); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherWorkerGoesOnWithASplit(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	id := models.NewID()
	worker := func() deploy.Target { return open(t, s, func(c *deploy.Config) { c.ID = id }) } // none knows of what another one did
	split := func(r deploy.Release, percent int) {
		t.Helper()
		if err := worker().(deploy.Splitter).Split(t.Context(), r, percent); err != nil {
			t.Fatal(err)
		}
	}
	one, two, three := release(image, from, "VERSION=1"), release(image, from, "VERSION=2"), release(image, from, "VERSION=3")
	two.EnvironmentID, three.EnvironmentID = one.EnvironmentID, one.EnvironmentID
	url, err := roll(t.Context(), worker(), one, nothing)
	if err != nil {
		t.Fatal(err)
	}
	start(t, worker(), two)
	split(two, 20)
	split(two, 60)
	if got := versions(t, s, url); got["1"] < 15 || got["2"] < 35 {
		t.Errorf("of 100 visitors %v got each version", got)
	}
	calls := len(s.Calls(`^PATCH `))
	split(two, 60)
	if n := len(s.Calls(`^PATCH `)); n != calls {
		t.Error("what was so already was written again")
	}
	start(t, worker(), three) // two was left where it was, by a worker that never came back
	split(three, 50)
	if got := versions(t, s, url); got["1"] < 20 || got["3"] < 20 || got["2"] != 0 {
		t.Errorf("of 100 visitors %v got each version", got)
	}
	for _, r := range []deploy.Release{three, two} {
		if err := worker().Remove(t.Context(), r.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := versions(t, s, url); got["1"] != 100 {
		t.Errorf("of 100 visitors %v got each version", got)
	}
}

func TestASplitThatFailsIsSaidInWords(t *testing.T) {
	s := azuretest.New(t)
	image, from := store(t)
	target := open(t, s)
	one, two, port := release(image, from), release(image, from), release(image, from, "PORT=9090")
	two.EnvironmentID, port.EnvironmentID, port.Port = one.EnvironmentID, one.EnvironmentID, 9090
	if _, err := roll(t.Context(), target, one, nothing); err != nil {
		t.Fatal(err)
	}
	splitter := target.(deploy.Splitter)
	says := func(err error, words ...string) {
		t.Helper()
		f := failure(t, err)
		for _, w := range words {
			if f.Stage != deploy.StageTarget || !strings.Contains(f.Message, w) {
				t.Errorf("%s: the message has no %q: %s", f.Stage, w, f.Message)
			}
		}
	}
	says(splitter.Split(t.Context(), two, 20), "is gone", "Deploy again")
	if err := splitter.Split(t.Context(), two, 0); err != nil {
		t.Errorf("visitors of what is gone: %v", err)
	}
	if err := target.Start(t.Context(), port); err != nil {
		t.Fatal(err)
	}
	checks, err := target.(deploy.Inspector).Inspect(t.Context(), port)
	if err != nil || !slices.ContainsFunc(checks, func(c deploy.Check) bool { return c.OK && strings.Contains(c.Message, "can't move to it in steps") }) {
		t.Errorf("%+v, %v", checks, err)
	}
	says(splitter.Split(t.Context(), port, 20), "from 8080 to 9090", "without")
	if err := splitter.Split(t.Context(), port, 0); err != nil {
		t.Errorf("visitors of another port: %v", err)
	}
	start(t, target, two)
	s.Fail(azuretest.Fault{Call: `^PATCH `, Times: 1, Status: 409, Code: "ContainerAppOperationInProgress", Message: "There is an ongoing provisioning operation."})
	if err := splitter.Split(t.Context(), two, 20); err != nil {
		t.Errorf("while Azure does something else: %v", err)
	}
	s.Deny("Microsoft.App/containerApps/write")
	says(splitter.Split(t.Context(), two, 40), "Microsoft.App/containerApps/write", "docs/azure.md")
}
