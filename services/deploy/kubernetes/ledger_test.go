package kubernetes_test

import (
	"strings"
	"testing"

	"slipway.dev/services/deploy"
)

func TestWhatWasMadeForAReleaseIsListedAndWhatHappenedToItTold(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	target, _ := s.open(nil)
	mine, other := release(), release()
	other.EnvironmentID = mine.EnvironmentID
	for _, r := range []deploy.Release{mine, other} {
		if err := target.Start(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	made, err := target.(deploy.Ledger).Resources(t.Context(), mine.ID)
	if err != nil || len(made) < 4 || made[0].Kind != "Namespace" {
		t.Fatalf("made were %+v, %v", made, err)
	}
	kinds := map[string]int{}
	for _, r := range made {
		if kinds[r.Kind]++; r.Kind != "Namespace" && !strings.Contains(r.Name, mine.ID[24:]) {
			t.Errorf("%s %s is not the release's", r.Kind, r.Name)
		}
	}
	if kinds["Deployment"] != 1 || kinds["ConfigMap"] != 1 || kinds["Secret"] == 0 {
		t.Errorf("made were %+v", made)
	}
	event := func(name, object, kind string, count int64, at string) {
		s.seed("/api/v1/namespaces/"+made[0].Name+"/events/"+name, map[string]any{"metadata": map[string]any{"labels": map[string]any{}}, "type": kind, "reason": "Seen", "message": "something\x1b happened",
			"involvedObject": map[string]any{"kind": "Pod", "name": object}, "count": count, "lastTimestamp": at})
	}
	event("one", "checkout-"+mine.ID[24:]+"-5d4f-x2x", "Normal", 1, "2026-11-26T08:00:00Z")
	event("two", "checkout-"+mine.ID[24:]+"-5d4f-x2y", "Warning", 3, "2026-11-26T09:00:00Z")
	event("three", "checkout-"+other.ID[24:]+"-5d4f-x2z", "Warning", 1, "2026-11-26T09:30:00Z")
	said, err := target.(deploy.Reporter).Events(t.Context(), mine.ID)
	if err != nil || len(said) != 2 || !said[0].Warning || said[1].Warning || said[0].Text != "Seen: something happened (3 times)" || said[1].Object != "Pod checkout-"+mine.ID[24:]+"-5d4f-x2x" {
		t.Errorf("the events are %+v, %v", said, err)
	}
	if err := target.Remove(t.Context(), mine.ID, 0); err != nil {
		t.Fatal(err)
	}
	if made, err := target.(deploy.Ledger).Resources(t.Context(), mine.ID); err != nil || len(made) != 0 {
		t.Errorf("of what is gone there are %+v, %v", made, err)
	}
	if said, err := target.(deploy.Reporter).Events(t.Context(), mine.ID); err != nil || len(said) != 0 {
		t.Errorf("of what is gone it tells %+v, %v", said, err)
	}
}
