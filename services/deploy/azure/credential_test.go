package azure_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azure"
	"slipway.dev/services/deploy/azure/azuretest"
)

func TestSlipwaySignsInByATokenOfItsOwn(t *testing.T) {
	s := azuretest.New(t)
	portal := newIssuer(t, s)
	federated := func(c *deploy.Config) { c.Secrets, c.Identity = nil, portal.identity }
	if _, err := open(t, s, federated).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(portal.asked, []deploy.Subject{{}}) {
		t.Errorf("it spoke for %+v, and Azure matches one subject alone", portal.asked)
	}
	for what, change := range map[string]func(){
		"another subject":     func() { portal.subject = "target:other" },
		"another issuer":      func() { portal.subject = s.Trust.Subject; s.Trust.Issuer = "https://other.example.com" },
		"a key that is wrong": func() { s.Trust.Key = newIssuer(t, azuretest.New(t)).key.Public() },
	} {
		keep := s.Trust
		change()
		_, err := open(t, s, federated).Check(t.Context())
		want := "trusts no token of this portal"
		if what == "a key that is wrong" {
			want = "could not check the token of this portal"
		}
		if f := failure(t, err); !strings.Contains(f.Message, want) {
			t.Errorf("%s: %s", what, f.Message)
		}
		s.Trust, portal.subject = keep, keep.Subject
	}
	silent := func(c *deploy.Config) {
		c.Secrets = nil
		c.Identity = func(context.Context, string, deploy.Subject) (string, error) {
			return "", models.Errorf(models.Conflict, "The portal has no public address.")
		}
	}
	if _, err := open(t, s, silent).Check(t.Context()); !strings.Contains(failure(t, err).Message, "The portal has no public address.") {
		t.Errorf("a portal that makes no tokens: %v", err)
	}
}

func TestATokenThatHasExpiredIsRenewedOnce(t *testing.T) {
	s := azuretest.New(t)
	target := open(t, s)
	for range 2 {
		if _, err := target.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.SignIns(); n != 1 {
		t.Errorf("it signed in %d times", n)
	}
	s.Expire()
	for range 2 {
		if _, err := target.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.SignIns(); n != 2 {
		t.Errorf("it signed in %d times", n)
	}
	s.Fail(azuretest.Fault{Call: `/managedEnvironments/`, Status: 401, Code: "InvalidAuthenticationTokenTenant", Message: "The access token is from the wrong issuer."})
	before := len(s.Calls(`/managedEnvironments/`))
	_, err := target.Check(t.Context())
	if f := failure(t, err); !strings.Contains(f.Message, "does not accept the token") || !strings.Contains(f.Message, "wrong issuer") {
		t.Errorf("a token that is never good: %s", f.Message)
	}
	if n := len(s.Calls(`/managedEnvironments/`)) - before; n != 2 {
		t.Errorf("it was asked %d times", n)
	}
}

func TestSettingsThatCanNotBeAreRefused(t *testing.T) {
	s := azuretest.New(t)
	for field, v := range map[string]string{
		"subscription_id": "mine", "resource_group": "a/b", "environment": "/subscriptions/x", "tenant_id": "not a tenant", "client_id": "me", "registry_identity": "pull",
		"workload_profile": "a b", "ingress": "perhaps", "endpoint": "http://management.azure.com", "authority": "ftp://x",
	} {
		in := s.Settings()
		in[field] = v
		_, err := azure.Kind().Open(deploy.Config{ID: "t", Settings: in, Secrets: map[string]string{"client_secret": "x"}})
		if wrong, ok := errors.AsType[*models.Error](err); !ok || wrong.Fields[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	for what, c := range map[string]struct {
		field  string
		change func(*deploy.Config)
	}{
		"no secret, no issuer": {"client_secret", func(c *deploy.Config) { c.Secrets = nil }},
		"nobody":               {"tenant_id", func(c *deploy.Config) { c.Settings["tenant_id"] = "" }},
		"no application":       {"client_id", func(c *deploy.Config) { c.Settings["client_id"] = "" }},
		"two ways":             {"default_credentials", func(c *deploy.Config) { c.Settings["default_credentials"] = "true" }},
	} {
		config := deploy.Config{ID: "t", Settings: s.Settings(), Secrets: map[string]string{"client_secret": "x"}}
		c.change(&config)
		_, err := azure.Kind().Open(config)
		if wrong, ok := errors.AsType[*models.Error](err); !ok || wrong.Fields[c.field] == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	machine := func(c *deploy.Config) {
		c.Secrets, c.Settings["default_credentials"], c.Settings["tenant_id"], c.Settings["client_id"] = nil, "true", "", ""
	}
	open(t, s, machine)
}

func TestNoTokenFollowsARedirect(t *testing.T) {
	s := azuretest.New(t)
	reached := make(chan string, 1)
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached <- r.Header.Get("Authorization") }))
	t.Cleanup(elsewhere.Close)
	s.Fail(azuretest.Fault{Call: `/managedEnvironments/`, Redirect: elsewhere.URL})
	if _, err := open(t, s).Check(t.Context()); err == nil {
		t.Error("a redirect was taken for an answer")
	}
	select {
	case token := <-reached:
		t.Errorf("another address was called with %q", token)
	default:
	}
}
