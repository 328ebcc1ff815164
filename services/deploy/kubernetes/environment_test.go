package kubernetes_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

func TestTheNamespaceOfADeletedEnvironmentGoesUnlessOthersRunInIt(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	target, id := s.open(nil)
	mine, theirs := release(), release()
	for _, r := range []deploy.Release{mine, theirs} {
		if err := target.Start(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	space := func(r deploy.Release) (path string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, call := range s.written {
			if at := strings.TrimPrefix(call, "APPLY "); strings.HasPrefix(at, "/api/v1/namespaces/") && strings.Count(at, "/") == 4 && strings.Contains(text(s.objects[at]), r.EnvironmentID) {
				path = at
			}
		}
		return path
	}
	own := map[string]any{"metadata": map[string]any{"labels": map[string]any{"slipway.target": id}}}
	s.seed(space(mine)+"/pods/mine", own)
	s.seed(space(theirs)+"/pods/theirs", map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "database"}}})
	s.seed("/api/v1/namespaces/another", map[string]any{"metadata": map[string]any{"labels": map[string]any{"slipway.target": "another portal", "slipway.environment": mine.EnvironmentID}}})
	gone, stays := space(mine), space(theirs)
	for _, environment := range []string{mine.EnvironmentID, theirs.EnvironmentID, models.NewID()} {
		if err := target.(deploy.EnvironmentKeeper).RemoveEnvironment(t.Context(), environment); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	deleted := slices.DeleteFunc(slices.Clone(s.written), func(call string) bool { return !strings.HasPrefix(call, "DELETE ") })
	if !slices.Equal(deleted, []string{"DELETE " + gone}) || s.objects[stays] == nil {
		t.Errorf("deleted were %q", deleted)
	}
}

func TestWhatIsLeftOfAReleaseWithoutADeploymentIsListed(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	target, _ := s.open(nil)
	r := release()
	s.refuse("PATCH /deployments/checkout-"+r.ID[24:], 500, "InternalError", "away")
	if err := target.Start(t.Context(), r); err == nil {
		t.Fatal("it started")
	}
	s.refuse("DELETE /configmaps/checkout-"+r.ID[24:]+"-env", 500, "InternalError", "away")
	if err := target.Remove(t.Context(), r.ID, 0); err == nil {
		t.Fatal("all was removed")
	}
	all, err := target.List(t.Context())
	if err != nil || len(all) != 1 || all[0].Release != r.ID || all[0].State != models.InstanceFailing {
		t.Errorf("listed are %+v, %v", all, err)
	}
	s.mu.Lock()
	clear(s.refused)
	s.mu.Unlock()
	if err := target.Remove(t.Context(), r.ID, 0); err != nil {
		t.Fatal(err)
	}
	if all, err := target.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("afterwards listed are %+v, %v", all, err)
	}
}

func TestTheTimeInWhichANodePullsIsNotTheReleases(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	target, id := s.open(nil)
	r := release()
	r.Scale.Replicas, r.Patience = 1, 50*time.Millisecond
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.pod(id, r, map[string]any{"phase": "Pending"})
	wait := func() error {
		_, err := target.Wait(ctx, r, func(string) {})
		return err
	}
	if err := wait(); err == nil || !strings.Contains(err.Error(), "did not become healthy in time") || ctx.Err() != nil {
		t.Errorf("without a pull: %v", err)
	}
	namespace := strings.TrimPrefix(s.written[0], "APPLY /api/v1/namespaces/")
	s.seed("/api/v1/namespaces/"+namespace+"/events/one", map[string]any{"metadata": map[string]any{"labels": map[string]any{}}, "involvedObject": map[string]any{"kind": "Pod", "name": "checkout-1"}, "reason": "Pulling", "message": "Pulling image", "count": int64(1)})
	ready := time.AfterFunc(10*r.Patience, func() {
		s.pod(id, r, map[string]any{"phase": "Running", "containerStatuses": []any{map[string]any{"name": "app", "ready": true, "started": true, "state": map[string]any{"running": map[string]any{}}}}})
	})
	defer ready.Stop()
	if err := wait(); err != nil {
		t.Errorf("with a slow pull: %v", err)
	}
}
