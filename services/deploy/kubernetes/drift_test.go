package kubernetes_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// inside is the map at the path of fields.
func inside(o map[string]any, path ...string) map[string]any {
	for _, name := range path {
		o = o[name].(map[string]any)
	}
	return o
}

// ruleOf is the first rule of an Ingress.
func ruleOf(o map[string]any) map[string]any {
	return inside(o, "spec")["rules"].([]any)[0].(map[string]any)
}

// wantDrift compares what is told with what has to be, whatever the order.
func wantDrift(t *testing.T, found []deploy.Drift, err error, wants ...deploy.Drift) {
	t.Helper()
	if err != nil || len(found) != len(wants) {
		t.Errorf("told are %+v, %v", found, err)
	}
	for _, want := range wants {
		if !slices.Contains(found, want) {
			t.Errorf("%+v is not among %+v", want, found)
		}
	}
}

func TestWhatOthersDidToATeamsDomainIsToldAndPutBack(t *testing.T) {
	s := newStub(t)
	opened, _ := s.open(map[string]string{"cluster_issuer": "letsencrypt"})
	target, r := opened.(deploy.DomainKeeper), release()
	sites := []deploy.Site{
		{Host: "docs.example.org", Path: "/"}, {Host: "news.example.org", Path: "/"}, {Host: "old.example.org", Path: "/"},
		{Host: "shop.example.org", Path: "/cart", Chain: []byte("chain"), Key: []byte("key")},
	}
	if err := target.KeepDomains(t.Context(), r, sites); err != nil {
		t.Fatal(err)
	}
	found, err := target.DomainDrift(t.Context(), r, sites)
	wantDrift(t, found, err)
	s.forget("/ingresses/checkout.docs.example.org")
	s.edit("/ingresses/checkout.shop.example.org", func(o map[string]any) { ruleOf(o)["host"] = "evil.example.org" })
	s.edit("/secrets/checkout.shop.example.org", func(o map[string]any) { inside(o, "data")["tls.key"] = encode([]byte("theirs")) })
	s.edit("/ingresses/checkout.old.example.org", func(o map[string]any) { delete(inside(o, "metadata"), "labels") })
	s.refuse("PATCH /ingresses/checkout.news.example.org", 400, "BadRequest", `admission webhook "validate.nginx.ingress.kubernetes.io" denied the request: host "news.example.org" and path "/" is already defined in ingress other/x`)
	found, err = target.DomainDrift(t.Context(), r, sites)
	i := slices.IndexFunc(found, func(d deploy.Drift) bool { return d.Object == "Ingress checkout.news.example.org" })
	if i < 0 || !strings.Contains(found[i].Have, "already defined in ingress other/x") {
		t.Fatalf("what the cluster objects to is not among %+v, %v", found, err)
	}
	wantDrift(t, slices.Delete(found, i, i+1), err,
		deploy.Drift{Object: "Ingress checkout.docs.example.org", Want: "there", Have: "gone"},
		deploy.Drift{Object: "Ingress checkout.shop.example.org", Field: "spec.rules[0].host", Want: "shop.example.org", Have: "evil.example.org"},
		deploy.Drift{Object: "Secret checkout.shop.example.org", Field: "data.tls.key", Want: "as deployed", Have: "another value"},
		deploy.Drift{Object: "Ingress checkout.old.example.org", Want: "as deployed", Have: "another one, without Slipway's labels"},
	)
	delete(s.refused, "PATCH /ingresses/checkout.news.example.org")
	s.forget("/ingresses/checkout.old.example.org")
	if err := target.KeepDomains(t.Context(), r, sites); err != nil {
		t.Fatal(err)
	}
	found, err = target.DomainDrift(t.Context(), r, sites)
	wantDrift(t, found, err)
}

func TestVolumesAndWhatTheNodesPullWithAreComparedToo(t *testing.T) {
	s := newStub(t)
	opened, _ := s.open(nil)
	target, r := opened.(deploy.Drifter), keeping()
	r.Scale = models.Scale{Replicas: 1, CPU: 500, Max: 3, CPUTarget: 70}
	if err := opened.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := target.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	all, err := opened.(deploy.VolumeKeeper).Volumes(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	_, claim, _ := strings.Cut(all[0].ID, "/")
	own := "checkout-" + r.ID[24:]
	storage := func(o map[string]any) map[string]any { return inside(o, "spec", "resources", "requests") }
	s.edit("/persistentvolumeclaims/"+claim, func(o map[string]any) { storage(o)["storage"] = "20Gi" }) // a volume that grew is nobody's fault
	found, err := target.Drift(t.Context(), r)
	wantDrift(t, found, err)

	s.edit("/persistentvolumeclaims/"+claim, func(o map[string]any) { delete(inside(o, "metadata", "labels"), "slipway.volume") })
	s.edit("/secrets/"+own+"-pull", func(o map[string]any) { inside(o, "data")[".dockerconfigjson"] = encode([]byte("theirs")) })
	s.edit("/horizontalpodautoscalers/"+own, func(o map[string]any) { inside(o, "spec")["maxReplicas"] = 50.0 })
	s.edit("/configmaps/"+own+"-env", func(o map[string]any) { inside(o, "data")["GREETING"] = "theirs" })
	s.edit("/ingresses/checkout", func(o map[string]any) { ruleOf(o)["host"] = "evil.example.org" })
	found, err = target.Drift(t.Context(), r)
	wantDrift(t, found, err,
		deploy.Drift{Object: "PersistentVolumeClaim " + claim, Field: "metadata.labels.slipway.volume", Want: "uploads", Have: "nothing"},
		deploy.Drift{Object: "Secret " + own + "-pull", Field: "data..dockerconfigjson", Want: "as deployed", Have: "another value"},
		deploy.Drift{Object: "HorizontalPodAutoscaler " + own, Field: "spec.maxReplicas", Want: "3", Have: "50"},
		deploy.Drift{Object: "ConfigMap " + own + "-env", Field: "data.GREETING", Want: "hello", Have: "theirs"},
		deploy.Drift{Object: "Ingress checkout", Field: "spec.rules[0].host", Want: r.Hosts("apps.example.com")[0], Have: "evil.example.org"},
	)
	if err := target.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	found, err = target.Drift(t.Context(), r)
	wantDrift(t, found, err)
	if got := storage(s.get("/persistentvolumeclaims/" + claim))["storage"]; got != "20Gi" {
		t.Errorf("a volume was made %v again", got)
	}

	s.forget("/persistentvolumeclaims/" + claim)
	s.forget("/secrets/" + own + "-pull")
	s.edit("/horizontalpodautoscalers/"+own, func(o map[string]any) { inside(o, "metadata")["deletionTimestamp"] = "2026-01-01T00:00:00Z" })
	found, err = target.Drift(t.Context(), r)
	wantDrift(t, found, err,
		deploy.Drift{Object: "PersistentVolumeClaim " + claim, Want: "there", Have: "gone"},
		deploy.Drift{Object: "Secret " + own + "-pull", Want: "there", Have: "gone"},
		deploy.Drift{Object: "HorizontalPodAutoscaler " + own, Want: "there", Have: "being deleted"},
	)
	s.forget("/horizontalpodautoscalers/" + own)
	if err := target.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	found, err = target.Drift(t.Context(), r)
	wantDrift(t, found, err)
	s.forget("/secrets/" + own + "-pull")
	r.From.Credential = func(context.Context) (string, string, error) { return "", "", nil } // anybody may pull
	found, err = target.Drift(t.Context(), r)
	wantDrift(t, found, err)
}
