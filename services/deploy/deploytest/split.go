package deploytest

import (
	"testing"
	"time"

	"slipway.dev/services/deploy"
)

// turning is how long visitors may take to follow what a target was told.
const turning = time.Minute

// splits moves visitors to a new release in steps, and back.
func (s Suite) splits(t *testing.T) {
	if s.Routed == nil {
		return // Slipway's proxy does, and has its own tests
	}
	target := s.Open(t)
	splitter, ok := target.(deploy.Splitter)
	if !ok {
		t.Skip("the target sends visitors to one release alone")
	}
	one, two, three := s.release("VERSION=one"), s.release("VERSION=two"), s.release("VERSION=three")
	two.EnvironmentID, three.EnvironmentID = one.EnvironmentID, one.EnvironmentID
	split := func(r deploy.Release, percent int) {
		t.Helper()
		for range 2 { // the second time after a worker died
			if err := splitter.Split(t.Context(), r, percent); err != nil {
				t.Fatalf("%d%% of the visitors to %s: %v", percent, r.Env["VERSION"], err)
			}
		}
	}
	route := func(r deploy.Release) string {
		t.Helper()
		url, err := target.Route(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return url
	}
	s.up(t, target, one)
	split(one, 30) // nothing served before
	at := route(one)
	s.everyone(t, at, "one")

	s.up(t, target, two)
	split(two, 30)
	s.share(t, at, "two", 5, 65)
	split(two, 70)
	s.share(t, at, "two", 35, 95)
	split(two, 0)
	s.everyone(t, at, "one")
	split(two, 70)
	if url := route(two); url != at {
		t.Errorf("the address went from %s to %s", at, url)
	}
	s.everyone(t, at, "two")
	if err := target.Remove(t.Context(), one.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	s.everyone(t, at, "two")

	s.up(t, target, three)
	split(three, 50)
	s.share(t, at, "three", 20, 80)
	split(three, 0)
	if err := target.Remove(t.Context(), three.ID, 0); err != nil {
		t.Fatal(err)
	}
	s.everyone(t, at, "two")
}

// everyone waits until all visitors of the address get the version.
func (s Suite) everyone(t *testing.T, at, version string) {
	t.Helper()
	deadline := time.Now().Add(turning)
	for {
		got := s.visitors(t, at, 25)
		if got[version] == 25 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("of 25 visitors %v got each version, want all %s", got, version)
		}
	}
}

// share waits until the version gets at least and at most so many of a hundred visitors. The bounds are wide: targets
// choose by chance.
func (s Suite) share(t *testing.T, at, version string, least, most int) {
	t.Helper()
	deadline := time.Now().Add(turning)
	for {
		got := s.visitors(t, at, 100)
		if n := got[version]; n >= least && n <= most && len(got) == 2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("of 100 visitors %v got each version, want %d to %d for %s", got, least, most, version)
		}
	}
}

// visitors are so many at the address, by the version that they get.
func (s Suite) visitors(t *testing.T, at string, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		got[s.Routed(t, at)]++
	}
	return got
}
