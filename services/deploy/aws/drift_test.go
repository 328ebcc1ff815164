package aws_test

import (
	"strings"
	"testing"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/aws/awstest"
)

func TestWhatOthersChangedIsToldAndPutBack(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	target := open(t, cloud, nil)
	drifter := target.(deploy.Drifter)
	r := release(at, from, "VERSION=1")
	up(t, target, r)
	url, err := target.Route(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := drifter.Drift(t.Context(), r); err != nil || len(found) != 0 {
		t.Fatalf("nobody changed anything: %+v, %v", found, err)
	}
	cloud.Meddle(r.ID)
	found, err := drifter.Drift(t.Context(), r)
	if err != nil || len(found) != 3 || found[0].Want != "1" || found[0].Have != "2" || found[1].Have != "theirs:3" || found[2].Have != "none" {
		t.Fatalf("%+v, %v", found, err)
	}
	if err := drifter.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if status, _ := cloud.Visit(t, url, "/version"); status != 200 {
		t.Errorf("a visitor got %d", status)
	}
	newer := release(at, from, "VERSION=2")
	newer.EnvironmentID = r.EnvironmentID
	up(t, target, newer)
	if _, err := target.Route(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	if err := drifter.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, body := cloud.Visit(t, url, "/version"); body != "2" {
		t.Errorf("visitors of a newer release were taken back: %q", body)
	}
	if err := target.Remove(t.Context(), r.ID, 0); err != nil {
		t.Fatal(err)
	}
	if found, err := drifter.Drift(t.Context(), r); err != nil || len(found) != 3 || found[0].Have != "gone" {
		t.Errorf("of what is gone: %+v, %v", found, err)
	}
}

func TestAnImageIsLookedForInItsRegistry(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	finder := open(t, cloud, nil).(deploy.Finder)
	found, err := finder.Find(t.Context(), at, from)
	if err != nil || len(found.Platforms) != 1 || !strings.HasPrefix(found.Platforms[0], "linux/") {
		t.Errorf("%+v, %v", found, err)
	}
	gone := at
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	if f := failure(t, second(finder.Find(t.Context(), gone, from))); f.Stage != deploy.StageImage || !strings.Contains(f.Message, "not in the registry any more") {
		t.Errorf("%+v", f)
	}
}
