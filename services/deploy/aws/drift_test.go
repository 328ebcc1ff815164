package aws_test

import (
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
