package kubernetes_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/services/deploy"
)

func TestEachHostOfATeamGetsAnIngressWithItsPathsAndItsCertificate(t *testing.T) {
	s := newStub(t)
	opened, id := s.open(map[string]string{"cluster_issuer": "letsencrypt", "ingress_class": "nginx"})
	target, r := opened.(deploy.DomainKeeper), release()
	sites := []deploy.Site{
		{Host: "docs.example.org", Path: "/"},
		{Host: "shop.example.org", Path: "/api", Chain: []byte("chain"), Key: []byte("key")},
		{Host: "shop.example.org", Path: "/cart", Chain: []byte("chain"), Key: []byte("key")},
	}
	if err := target.KeepDomains(t.Context(), r, sites); err != nil {
		t.Fatal(err)
	}
	for end, wants := range map[string][]string{
		"/ingresses/checkout.docs.example.org": {`"host":"docs.example.org"`, `"path":"/"`, `"cert-manager.io/cluster-issuer":"letsencrypt"`, `"secretName":"checkout.docs.example.org-tls"`, `"ingressClassName":"nginx"`},
		"/ingresses/checkout.shop.example.org": {`"path":"/api"`, `"path":"/cart"`, `"pathType":"Prefix"`, `"name":"checkout","port":{"name":"http"}`, `"secretName":"checkout.shop.example.org"`, `"slipway.deployment":"` + r.ID + `"`, `"slipway.target":"` + id + `"`},
		"/secrets/checkout.shop.example.org":   {`"type":"kubernetes.io/tls"`, encode([]byte("chain")), encode([]byte("key"))},
	} {
		for _, want := range wants {
			if got := text(s.get(end)); !strings.Contains(got, want) {
				t.Errorf("%s has no %s: %s", end, want, got)
			}
		}
	}
	if strings.Contains(text(s.get("/ingresses/checkout.shop.example.org")), "cert-manager") {
		t.Error("cert-manager would write over a certificate that was given")
	}
	if err := target.KeepDomains(t.Context(), r, sites[:1]); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"/ingresses/checkout.shop.example.org", "/secrets/checkout.shop.example.org"} {
		if !slices.ContainsFunc(s.written, func(c string) bool { return strings.HasPrefix(c, "DELETE ") && strings.HasSuffix(c, gone) }) {
			t.Errorf("%s stays: %v", gone, s.written)
		}
	}
	next := r
	next.ID = "0198c0de-0000-7000-8000-0123456789ab"
	if err := target.KeepDomains(t.Context(), next, sites[:1]); err != nil {
		t.Fatal(err)
	}
	if err := opened.Remove(t.Context(), r.ID, 0); err != nil {
		t.Fatal(err)
	}
	s.get("/ingresses/checkout.docs.example.org") // it is the next release's by now
	if err := opened.Remove(t.Context(), next.ID, 0); err != nil {
		t.Fatal(err)
	}
	if last := s.written[len(s.written)-1]; !strings.HasSuffix(last, "/ingresses/checkout.docs.example.org") || !strings.HasPrefix(last, "DELETE") {
		t.Errorf("the last release's removal ends with %s", last)
	}
}

func TestAHostThatTheClusterRefusesKeepsNoOtherOneAway(t *testing.T) {
	s := newStub(t)
	opened, _ := s.open(nil)
	s.refuse("PATCH /ingresses/checkout.a.example.org", 400, "BadRequest", `admission webhook "validate.nginx.ingress.kubernetes.io" denied the request: host "a.example.org" and path "/" is already defined in ingress other/x`)
	err := opened.(deploy.DomainKeeper).KeepDomains(t.Context(), release(), []deploy.Site{{Host: "a.example.org", Path: "/"}, {Host: "b.example.org", Path: "/"}})
	if f, ok := err.(*deploy.Failure); !ok || !strings.Contains(f.Message, "already defined in ingress other/x") {
		t.Errorf("what was refused is said so: %v", err)
	}
	if got := text(s.get("/ingresses/checkout.b.example.org")); strings.Contains(got, `"tls"`) {
		t.Errorf("nobody gives a certificate: %s", got)
	}
}
