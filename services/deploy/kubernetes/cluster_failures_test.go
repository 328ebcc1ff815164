//go:build kubernetes

package kubernetes_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// rollOut does what a rollout does up to the switch.
func rollOut(t *testing.T, target deploy.Target, r deploy.Release, patience time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := target.Start(ctx, r)
	if err == nil {
		_, err = target.Wait(ctx, r, func(string) {})
	}
	return err
}

func wantFailure(t *testing.T, err error, stage string, words ...string) {
	t.Helper()
	f, ok := errors.AsType[*deploy.Failure](err)
	if !ok || f.Stage != stage || !strings.HasSuffix(f.Message, ".") {
		t.Errorf("the failure is %v", err)
		return
	}
	for _, word := range words {
		if !strings.Contains(f.Message, word) {
			t.Errorf("%q has no %q", f.Message, word)
		}
	}
}

// ofTests is a release of the test server.
func ofTests(image deploy.Image, from deploy.Source) deploy.Release {
	r := release()
	r.Image, r.From, r.Scale = image, from, models.Scale{Replicas: 1}
	return r
}

// space is the namespace that the target made.
func space(t *testing.T, id string) string {
	t.Helper()
	all, err := admin.Resource(namespaces).List(t.Context(), metav1.ListOptions{LabelSelector: "slipway.target=" + id})
	if err != nil || len(all.Items) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	return all.Items[0].GetName()
}

func TestAQuotaWithoutRoomIsNamed(t *testing.T) {
	image, from := store(t)
	target, id := open(t, nil)
	r := ofTests(image, from)
	if err := rollOut(t, target, r, time.Minute); err != nil {
		t.Fatal(err)
	}
	quotas := schema.GroupVersionResource{Version: "v1", Resource: "resourcequotas"}
	quota := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": map[string]any{"name": "small", "namespace": space(t, id)},
		"spec": map[string]any{"hard": map[string]any{"pods": "1"}}}}
	made, err := admin.Resource(quotas).Namespace(space(t, id)).Create(t.Context(), quota, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Object["status"] = map[string]any{"hard": map[string]any{"pods": "1"}, "used": map[string]any{"pods": "1"}} // no controller here counts
	if _, err := admin.Resource(quotas).Namespace(space(t, id)).UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	next := ofTests(image, from)
	next.EnvironmentID = r.EnvironmentID
	wantFailure(t, rollOut(t, target, next, time.Minute), deploy.StageStart, "quota small", "raise the quota")
}

func TestAPodSecurityStandardIsNamed(t *testing.T) {
	image, from := store(t)
	target, id := open(t, nil)
	r := ofTests(image, from)
	if err := rollOut(t, target, r, time.Minute); err != nil {
		t.Fatal(err)
	}
	strict := []byte(`{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}`)
	if _, err := admin.Resource(namespaces).Patch(t.Context(), space(t, id), types.MergePatchType, strict, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	next := ofTests(image, from)
	next.EnvironmentID = r.EnvironmentID
	wantFailure(t, rollOut(t, target, next, time.Minute), deploy.StageStart, "restricted", "runAsNonRoot")
}

func TestAPodThatNoNodeTakesIsExplained(t *testing.T) {
	image, from := store(t)
	target, _ := open(t, nil)
	r := ofTests(image, from)
	r.Scale.Memory = 64 << 30
	wantFailure(t, rollOut(t, target, r, 10*time.Second), deploy.StageStart, "No node", "Insufficient memory")
}

func TestARegistryThatRefusesTheNodesIsNamed(t *testing.T) {
	image, from := store(t)
	target, _ := open(t, nil)
	from.Credential = func(context.Context) (string, string, error) { return user, "wrong", nil }
	r := ofTests(image, from)
	wantFailure(t, rollOut(t, target, r, time.Minute), deploy.StageImage, "refuses the credential")
}

func TestAnAccountWithoutRightsIsToldWhichAreMissing(t *testing.T) {
	image, from := store(t)
	target, _ := openAs(t, "slipway:nobody", nil)
	_, err := target.Check(t.Context())
	wantFailure(t, err, deploy.StageTarget, "patch deployments.apps", "create jobs.batch", "docs/kubernetes.md")
	wantFailure(t, target.Start(t.Context(), ofTests(image, from)), deploy.StageTarget, "get namespaces", "docs/kubernetes.md")
	own, _ := open(t, nil)
	info, err := own.Check(t.Context())
	if err != nil || info.Version != "Kubernetes 1.37.2" || info.CPU != 8000 || !info.Autoscales {
		t.Errorf("with the rights of the documentation: %+v, %v", info, err)
	}
}

func TestWhatSomebodyChangedInTheClusterIsDrift(t *testing.T) {
	image, from := store(t)
	opened, id := open(t, nil)
	target := opened.(deploy.Drifter)
	r := ofTests(image, from)
	r.Scale = models.Scale{Replicas: 1, CPU: 250, Max: 3, CPUTarget: 70}
	if err := rollOut(t, opened, r, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := opened.Route(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if found, err := target.Drift(t.Context(), r); err != nil || len(found) != 0 {
		t.Fatalf("nobody changed anything: %+v, %v", found, err)
	}
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	change := []byte(`{"metadata": {"annotations": {"theirs": "1"}}, "spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}}`)
	if _, err := admin.Resource(deployments).Namespace(space(t, id)).Patch(t.Context(), "checkout-"+r.ID[24:], types.MergePatchType, change, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := admin.Resource(services).Namespace(space(t, id)).Delete(t.Context(), "checkout", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	found, err := target.Drift(t.Context(), r)
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	if err := target.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if found, err := target.Drift(t.Context(), r); err != nil || len(found) != 0 {
		t.Errorf("after putting it back: %+v, %v", found, err)
	}
}
