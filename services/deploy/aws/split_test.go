package aws_test

import (
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/aws/awstest"
)

// versions are what a hundred visitors get.
func versions(t *testing.T, cloud *awstest.Cloud, url string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range 100 {
		_, body := cloud.Visit(t, url, "/version")
		got[body]++
	}
	return got
}

func TestAnotherWorkerGoesOnWithASplitWhichIsNoDrift(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	id := models.NewID()
	worker := func() deploy.Target { return openAs(t, cloud, id, nil, nil) } // none knows of what another one did
	split := func(r deploy.Release, percent int) {
		t.Helper()
		if err := worker().(deploy.Splitter).Split(t.Context(), r, percent); err != nil {
			t.Fatal(err)
		}
	}
	one, two, three := release(at, from, "VERSION=1"), release(at, from, "VERSION=2"), release(at, from, "VERSION=3")
	two.EnvironmentID, three.EnvironmentID = one.EnvironmentID, one.EnvironmentID
	up(t, worker(), one)
	url, err := worker().Route(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	up(t, worker(), two)
	split(two, 20)
	split(two, 60)
	if got := versions(t, cloud, url); got["1"] < 15 || got["2"] < 35 {
		t.Errorf("of 100 visitors %v got each version", got)
	}
	calls := cloud.Calls("elasticloadbalancing:ModifyRule")
	split(two, 60)
	if n := cloud.Calls("elasticloadbalancing:ModifyRule"); n != calls {
		t.Error("what was so already was written again")
	}
	drifter := worker().(deploy.Drifter)
	if found, err := drifter.Drift(t.Context(), one); err != nil || len(found) != 0 {
		t.Errorf("the split is told as %+v, %v", found, err)
	}
	if err := drifter.Restore(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if got := versions(t, cloud, url); got["2"] == 0 {
		t.Error("putting back what others changed ended the split")
	}
	up(t, worker(), three) // two was left where it was, by a worker that never came back
	split(three, 50)
	if got := versions(t, cloud, url); got["1"] < 20 || got["3"] < 20 || got["2"] != 0 {
		t.Errorf("of 100 visitors %v got each version", got)
	}
	for _, r := range []deploy.Release{three, two} {
		if err := worker().Remove(t.Context(), r.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := versions(t, cloud, url); got["1"] != 100 {
		t.Errorf("of 100 visitors %v got each version", got)
	}
	if found, err := drifter.Drift(t.Context(), one); err != nil || len(found) != 0 {
		t.Errorf("after the split there is %+v, %v", found, err)
	}
}

func TestASplitThatFailsIsSaidInWords(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	target := open(t, cloud, nil)
	one, two := release(at, from), release(at, from)
	two.EnvironmentID = one.EnvironmentID
	up(t, target, one)
	if _, err := target.Route(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	gone := release(at, from)
	gone.EnvironmentID = one.EnvironmentID
	up(t, target, two)
	split := func(r deploy.Release, percent int, words ...string) {
		t.Helper()
		f := failure(t, target.(deploy.Splitter).Split(t.Context(), r, percent))
		for _, w := range words {
			if f.Stage != deploy.StageTarget || !strings.Contains(f.Message, w) {
				t.Errorf("%s: the message has no %q: %s", f.Stage, w, f.Message)
			}
		}
	}
	split(gone, 20, "removed the target group")
	if err := target.(deploy.Splitter).Split(t.Context(), gone, 0); err != nil {
		t.Errorf("visitors of what is gone: %v", err)
	}
	cloud.Deny("elasticloadbalancing:ModifyRule")
	split(two, 20, "the permission elasticloadbalancing:ModifyRule is missing")
	cloud.Allow("elasticloadbalancing:ModifyRule")
	cloud.Fail("elasticloadbalancing:ModifyRule", 10, "ThrottlingException", "Rate exceeded")
	split(two, 20, "takes no more calls", "some of the visitors of")
	cloud = awstest.New(t)
	target = open(t, cloud, public)
	split(two, 20, "no load balancer", "without steps")
	if err := target.(deploy.Splitter).Split(t.Context(), two, 0); err != nil {
		t.Errorf("visitors without a load balancer: %v", err)
	}
}
