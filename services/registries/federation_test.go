package registries_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/registries"
)

// lends is a portal whose targets have credentials of their clouds.
func lends(w *world, asked *[]string) {
	w.Federation = func(_ context.Context, target, account string) (registries.CloudCredential, error) {
		*asked = append(*asked, target+" "+account)
		end := time.Now().Add(time.Hour)
		switch target {
		case "aws":
			return registries.CloudCredential{Cloud: "aws", AccessKeyID: accessKey, SecretAccessKey: secretKey, SessionToken: "session", Expires: end}, nil
		case "google":
			return registries.CloudCredential{Cloud: "google", AccessToken: "ya29.of-" + account, Expires: end}, nil
		case "azure":
			return registries.CloudCredential{Cloud: "azure", AccessToken: "entra", Tenant: "acme.example", Expires: end}, nil
		}
		return registries.CloudCredential{}, models.Errorf(models.Unavailable, "AWS does not give the role.")
	}
}

func TestARegistryOfACloudUsesTheTrustOfATarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	var asked []string
	lends(w, &asked)
	api := startECR(t, w)
	acr := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/oauth2/exchange" || r.PostFormValue("grant_type") != "access_token" || r.PostFormValue("service") != "acmeapps.azurecr.io" || r.PostFormValue("access_token") != "entra" || r.PostFormValue("tenant") != "acme.example" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"refresh_token": "of-the-registry"}`)
	}))
	t.Cleanup(acr.Close)
	w.Endpoints.ACR = acr.URL
	for _, c := range []struct{ kind, host, target, account, user, password string }{
		{registries.KindECR, ecrHost, "aws", "", "AWS", "login-1"},
		{registries.KindGAR, "europe-west3-docker.pkg.dev", "google", "images@acme.iam.gserviceaccount.com", "oauth2accesstoken", "ya29.of-images@acme.iam.gserviceaccount.com"},
		{registries.KindACR, "acmeapps.azurecr.io", "azure", "", "00000000-0000-0000-0000-000000000000", "of-the-registry"},
	} {
		r, err := w.Create(admin(t), registries.Input{Name: c.kind, Kind: c.kind, Host: c.host, AllTeams: models.RegistryPush, Settings: map[string]string{"target": c.target, "service_account": c.account}})
		if err != nil {
			t.Fatalf("%s: %v", c.kind, err)
		}
		for range 2 {
			if user, password, err := credential(t, w, r); err != nil || user != c.user || password != c.password {
				t.Errorf("%s: %s %s, %v", c.kind, user, password, err)
			}
		}
	}
	if got := strings.Join(asked, ", "); !strings.Contains(got, "google images@acme.iam.gserviceaccount.com") || strings.Count(got, "azure") != 1 {
		t.Errorf("asked was for %s", got)
	}
	if strings.Contains(strings.Join(api.calls, " "), "Create") {
		t.Errorf("the calls were %v", api.calls)
	}
}

func TestATrustThatDoesNotFitIsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	var asked []string
	connect := func(kind, host, target string) (*models.Registry, error) {
		return w.Create(admin(t), registries.Input{Name: kind + " " + target, Kind: kind, Host: host, AllTeams: models.RegistryPush, Settings: map[string]string{"target": target}})
	}
	if _, err := connect(registries.KindGAR, "europe-west3-docker.pkg.dev", "google"); !models.IsCode(err, models.Invalid) {
		t.Errorf("a registry of Google without an account: %v", err)
	}
	r, err := connect(registries.KindECR, ecrHost, "google")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := credential(t, w, r); err == nil || !strings.Contains(err.Error(), "gives no tokens") {
		t.Errorf("without an issuer: %v", err)
	}
	lends(w, &asked)
	if _, _, err := credential(t, w, r); err == nil || !strings.Contains(err.Error(), "another cloud") {
		t.Errorf("another cloud: %v", err)
	}
	if r, err = connect(registries.KindACR, "acmeapps.azurecr.io", "unknown"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := credential(t, w, r); err == nil || !strings.Contains(err.Error(), "does not give the role") {
		t.Errorf("a refusal: %v", err)
	}
	acr := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(acr.Close)
	w.Endpoints.ACR = acr.URL
	if r, err = connect(registries.KindACR, "acmeapps.azurecr.io", "azure"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := credential(t, w, r); err == nil || !strings.Contains(err.Error(), "AcrPull or AcrPush") {
		t.Errorf("a registry that does not take it: %v", err)
	}
}
