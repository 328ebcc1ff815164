//go:build kubernetes

package kubernetes_test

import (
	"context"
	"errors"
	"slices"
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

// others changes an object of the target's namespace, as somebody with kubectl.
func others(t *testing.T, id string, r schema.GroupVersionResource, name, change string) {
	t.Helper()
	if _, err := admin.Resource(r).Namespace(space(t, id)).Patch(t.Context(), name, types.MergePatchType, []byte(change), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		t.Fatal(err)
	}
}

func TestWhatSomebodyDidToDomainsVolumesAndCredentialsInTheClusterIsDrift(t *testing.T) {
	image, from := store(t)
	opened, id := open(t, nil)
	target, keeper := opened.(deploy.Drifter), opened.(deploy.DomainKeeper)
	r := ofTests(image, from)
	r.AppID, r.Volumes = models.NewID(), []models.VolumeMount{{Name: "uploads", Path: "/data"}}
	chain, key := certificate(t, "shop.example.org")
	sites := []deploy.Site{{Host: "docs.example.org", Path: "/"}, {Host: "shop.example.org", Path: "/cart", Chain: chain, Key: key}}
	if err := opened.Start(t.Context(), r); err != nil { // nothing makes volumes here, so that its pod waits for one
		t.Fatal(err)
	}
	drift := func() (all []deploy.Drift) {
		t.Helper()
		for _, look := range []func() ([]deploy.Drift, error){
			func() ([]deploy.Drift, error) { return target.Drift(t.Context(), r) },
			func() ([]deploy.Drift, error) { return keeper.DomainDrift(t.Context(), r, sites) },
		} {
			found, err := look()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, found...)
		}
		return all
	}
	putBack := func() {
		t.Helper()
		if err := target.Restore(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := keeper.KeepDomains(t.Context(), r, sites); err != nil {
			t.Fatal(err)
		}
		wantDrift(t, drift(), nil)
	}
	putBack() // as if it served: the Service and all Ingresses were gone
	secrets := schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	own := "checkout-" + r.ID[24:]
	claims := schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	kept, err := admin.Resource(claims).Namespace(space(t, id)).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(kept.Items) != 1 {
		t.Fatalf("%v, %v", kept, err)
	}
	claim := kept.Items[0].GetName()
	others(t, id, claims, claim, `{"metadata": {"labels": {"slipway.volume": null}}}`)
	others(t, id, secrets, own+"-pull", `{"data": {".dockerconfigjson": "`+encode([]byte(`{"auths": {}}`))+`"}}`)
	others(t, id, secrets, "checkout.shop.example.org", `{"data": {"tls.key": "`+encode([]byte("theirs"))+`"}}`)
	others(t, id, ingresses, "checkout", `{"spec": {"rules": [{"host": "evil.example.org"}]}}`)
	others(t, id, ingresses, "checkout.shop.example.org", `{"spec": {"tls": null}}`)
	if err := admin.Resource(ingresses).Namespace(space(t, id)).Delete(t.Context(), "checkout.docs.example.org", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	found := drift()
	for _, want := range []deploy.Drift{
		{Object: "PersistentVolumeClaim " + claim, Field: "metadata.labels.slipway.volume", Want: "uploads", Have: "nothing"},
		{Object: "Secret " + own + "-pull", Field: "data..dockerconfigjson", Want: "as deployed", Have: "another value"},
		{Object: "Secret checkout.shop.example.org", Field: "data.tls.key", Want: "as deployed", Have: "another value"},
		{Object: "Ingress checkout", Field: "spec.rules[0].host", Want: r.Hosts("apps.test")[0], Have: "evil.example.org"},
		{Object: "Ingress checkout.docs.example.org", Want: "there", Have: "gone"},
	} {
		if !slices.Contains(found, want) {
			t.Errorf("%+v is not among %+v", want, found)
		}
	}
	if !slices.ContainsFunc(found, func(d deploy.Drift) bool {
		return d.Object == "Ingress checkout.shop.example.org" && d.Field == "spec.tls"
	}) {
		t.Errorf("the certificate that an Ingress lost is not among %+v", found)
	}
	putBack()
	if err := admin.Resource(secrets).Namespace(space(t, id)).Delete(t.Context(), own+"-pull", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantDrift(t, drift(), nil, deploy.Drift{Object: "Secret " + own + "-pull", Want: "there", Have: "gone"})
	putBack()
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
