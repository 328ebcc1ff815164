package kubernetes_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// keeping is a release with a volume.
func keeping() deploy.Release {
	r := release()
	r.AppID, r.Scale = models.NewID(), models.Scale{Replicas: 1}
	r.Volumes = []models.VolumeMount{{Name: "uploads", Path: "/data", ReadOnly: true}}
	return r
}

func TestAVolumeIsAClaimThatStaysAsItWasMade(t *testing.T) {
	s := newStub(t)
	target, id := s.open(map[string]string{"storage_class": "fast", "volume_size": "3Gi"})
	r := keeping()
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	all, err := target.(deploy.VolumeKeeper).Volumes(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != "uploads" || all[0].AppID != r.AppID || all[0].EnvironmentID != r.EnvironmentID || all[0].Size != -1 || !slices.Equal(all[0].UsedBy, []string{r.ID}) {
		t.Fatalf("kept are %+v, %v", all, err)
	}
	_, name, _ := strings.Cut(all[0].ID, "/")
	for end, wants := range map[string][]string{
		"/persistentvolumeclaims/" + name:    {`"storageClassName":"fast"`, `"storage":"3Gi"`, `"ReadWriteOnce"`, `"slipway.target":"` + id + `"`},
		"/deployments/checkout-" + r.ID[24:]: {`"claimName":"` + name + `"`, `"mountPath":"/data","name":"` + name + `","readOnly":true`, `"fsGroup":65532`, `"type":"Recreate"`},
	} {
		for _, want := range wants {
			if got := text(s.get(end)); !strings.Contains(got, want) {
				t.Errorf("%s has no %s: %s", end, want, got)
			}
		}
	}
	next := r
	next.ID, next.App = models.NewID(), "renamed"
	wrote := len(s.written)
	if err := target.Start(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(s.written[wrote:], func(c string) bool { return strings.Contains(c, "persistentvolumeclaims") }) {
		t.Errorf("what was there is written again: %v", s.written[wrote:])
	}
	if err := target.(deploy.VolumeKeeper).RemoveVolume(t.Context(), all[0].ID); !models.IsCode(err, models.Conflict) {
		t.Errorf("removing what is in use gives %v", err)
	}
}

func TestAnEnvironmentThatIsGoneLeavesItsVolumes(t *testing.T) {
	s := newStub(t)
	target, _ := s.open(nil)
	r := keeping()
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := target.Remove(t.Context(), r.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := target.(deploy.EnvironmentKeeper).RemoveEnvironment(t.Context(), r.EnvironmentID); err != nil {
		t.Fatal(err)
	}
	for _, call := range s.written {
		parts := strings.Split(call, "/") // DELETE /api/v1/namespaces/NAME/…
		if strings.HasPrefix(call, "DELETE ") && (len(parts) == 5 || strings.Contains(call, "persistentvolumeclaims")) {
			t.Errorf("data was deleted: %s", call)
		}
	}
	keeper := target.(deploy.VolumeKeeper)
	all, err := keeper.Volumes(t.Context())
	if err != nil || len(all) != 1 || len(all[0].UsedBy) != 0 {
		t.Fatalf("left are %+v, %v", all, err)
	}
	for range 2 { // the second time it is gone already
		if err := keeper.RemoveVolume(t.Context(), all[0].ID); err != nil {
			t.Error(err)
		}
	}
	if err := target.(deploy.EnvironmentKeeper).RemoveEnvironment(t.Context(), r.EnvironmentID); err != nil {
		t.Fatal(err)
	}
	if last := s.written[len(s.written)-1]; !strings.HasPrefix(last, "DELETE /api/v1/namespaces/") {
		t.Errorf("without its data the namespace stays: %s", last)
	}
}

func TestAVolumeOfOthersIsNotTouched(t *testing.T) {
	s := newStub(t)
	target, _ := s.open(nil)
	s.seed("/api/v1/namespaces/other/persistentvolumeclaims/data", map[string]any{"metadata": map[string]any{"labels": map[string]any{}}})
	if err := target.(deploy.VolumeKeeper).RemoveVolume(t.Context(), "other/data"); err == nil || !strings.Contains(err.Error(), "not Slipway's") {
		t.Errorf("another's claim: %v", err)
	}
}
