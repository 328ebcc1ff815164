package google_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/google/googletest"
)

// versioned is the release with another version.
func versioned(r deploy.Release, version string) deploy.Release {
	r.Env["VERSION"], r.Plain = version, append(r.Plain, "VERSION")
	return r
}

// versions are what a hundred visitors get.
func versions(t *testing.T, url string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range 100 {
		got[visit(t, url)]++
	}
	return got
}

// percents are the service's shares, without those who have none.
func percents(t *testing.T, cloud *googletest.Cloud, target deploy.Target) []int64 {
	t.Helper()
	all, err := target.List(t.Context())
	if err != nil || len(all) == 0 {
		t.Fatalf("%v, %v", all, err)
	}
	revision, _, _ := strings.Cut(all[0].ID, "/")
	shares := cloud.Traffic(revision[:strings.LastIndexByte(revision, '-')])
	maps.DeleteFunc(shares, func(_ string, n int64) bool { return n == 0 })
	return slices.Sorted(maps.Values(shares))
}

func TestAnotherWorkerGoesOnWithASplit(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	id := models.NewID()
	worker := func() deploy.Target { return openAs(t, cloud, id, nil) } // none knows of what another one did
	split := func(r deploy.Release, percent int) {
		t.Helper()
		if err := worker().(deploy.Splitter).Split(t.Context(), r, percent); err != nil {
			t.Fatal(err)
		}
	}
	one := release(of)
	two, three := versioned(after(one), "2"), versioned(after(one), "3")
	if err := roll(t.Context(), worker(), one, nothing); err != nil {
		t.Fatal(err)
	}
	url, err := worker().Route(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	if err := roll(t.Context(), worker(), two, nothing); err != nil {
		t.Fatal(err)
	}
	split(two, 20)
	split(two, 60)
	if got := versions(t, url); got["1"] < 15 || got["2"] < 35 {
		t.Errorf("of 100 visitors %v got each version", got)
	}
	calls := cloud.Calls("run.services.update")
	split(two, 60)
	if n := cloud.Calls("run.services.update"); n != calls {
		t.Error("what was so already was written again")
	}
	if got := percents(t, cloud, worker()); !slices.Equal(got, []int64{40, 60}) {
		t.Errorf("the shares are %v", got)
	}
	if err := roll(t.Context(), worker(), three, nothing); err != nil { // two was left where it was, by a worker that never came back
		t.Fatal(err)
	}
	split(three, 50)
	if got := versions(t, url); got["1"] < 20 || got["3"] < 20 || got["2"] != 0 {
		t.Errorf("of 100 visitors %v got each version", got)
	}
	for _, r := range []deploy.Release{three, two} {
		if err := worker().Remove(t.Context(), r.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := versions(t, url); got["1"] != 100 {
		t.Errorf("of 100 visitors %v got each version", got)
	}
}

func TestASplitThatFailsIsSaidInWords(t *testing.T) {
	t.Parallel()
	of, _, local := image(t)
	cloud := googletest.New(t, local)
	target, one := open(t, cloud, nil), release(of)
	if err := roll(t.Context(), target, one, nothing); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Route(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	two := versioned(after(one), "2")
	splitter := target.(deploy.Splitter)
	refused(t, "a revision that is gone", splitter.Split(t.Context(), two, 20), deploy.StageTarget, "removed the revision")
	if err := splitter.Split(t.Context(), two, 0); err != nil {
		t.Errorf("visitors of what is gone: %v", err)
	}
	if err := roll(t.Context(), target, two, nothing); err != nil {
		t.Fatal(err)
	}
	cloud.Fail("run.services.update", 5, throttled)
	refused(t, "too many calls", splitter.Split(t.Context(), two, 20), deploy.StageTarget, "asked too often")
	cloud.Fail("run.services.update", 1, fault)
	if err := splitter.Split(t.Context(), two, 20); err == nil {
		t.Error("a fault of Google's is none")
	}
	cloud.Deny("run.services.update")
	refused(t, "a permission", splitter.Split(t.Context(), two, 20), deploy.StageTarget, "run.services.update", "roles/run.admin")
	if got := percents(t, cloud, target); !slices.Equal(got, []int64{100}) {
		t.Errorf("the shares are %v", got)
	}
}
