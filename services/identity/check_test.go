package identity_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/identity"
	"slipway.dev/services/identity/identitytest"
	"slipway.dev/services/outbound"
)

const (
	role     = "arn:aws:iam::123456789012:role/slipway-prod"
	provider = "projects/123456789012/locations/global/workloadIdentityPools/slipway/providers/target-prod"
	account  = "slipway-prod@acme-apps.iam.gserviceaccount.com"
	tenant   = "f3d1c9b7-1111-2222-3333-444455556666"
	client   = "0b5e7a94-1111-2222-3333-444455556666"
)

// trusting makes the clouds trust the target prod as the commands have it.
func (w *world) trusting() {
	both := []string{"target:prod", "target:prod:*"}
	w.clouds.AWS(role, identitytest.Trust{Issuer: w.Issuer(), Audiences: []string{"sts.amazonaws.com"}, Subjects: both})
	w.clouds.Google(provider, identitytest.Trust{Issuer: w.Issuer(), Audiences: []string{"https://iam.googleapis.com/" + provider}, Subjects: both}, account, "prod")
	w.clouds.Azure(tenant, client, identitytest.Trust{Issuer: w.Issuer(), Audiences: []string{"api://AzureADTokenExchange"}, Subjects: []string{"target:prod"}})
}

func (w *world) settings(cloud string) map[string]string {
	return map[string]map[string]string{
		"aws":    {"region": "eu-central-1", "role": role, "endpoint": w.clouds.URL},
		"google": {"project": "acme-apps", "workload_provider": provider, "service_account": account, "endpoint": w.clouds.URL},
		"azure":  {"tenant_id": tenant, "client_id": client, "authority": w.clouds.URL},
	}[cloud]
}

// look checks the trust and returns what was found beside the address.
func (w *world) look(id string) []identity.Finding {
	w.t.Helper()
	all, err := w.Check(modelstest.As(w.t, w.db, w.Admin), id)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range all {
		for _, secret := range append(w.clouds.Tokens(), "SECRET-OF-THE-SESSION", "eyJ") {
			if strings.Contains(f.Text, secret) {
				w.t.Errorf("a finding shows a credential: %s", f.Text)
			}
		}
	}
	if len(all) < 2 || all[0].Title != "Address of the portal" {
		w.t.Fatalf("found is %+v", all)
	}
	return all[1:]
}

func TestATokenIsExchangedAtEachCloud(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.trusting()
		for cloud, want := range map[string]int{"aws": 2, "google": 3, "azure": 1} {
			found := w.look(w.target(cloud, "prod", w.settings(cloud)))
			if err := db.Delete(&models.Target{}, "name = ?", "prod").Error; err != nil {
				t.Fatal(err)
			}
			if len(found) != want {
				t.Errorf("%s: %+v", cloud, found)
			}
			for _, f := range found {
				if f.State != identity.FindingPassed {
					t.Errorf("%s: %+v", cloud, f)
				}
			}
		}
	})
}

// TestWhatIsMissingIsSaidInWords breaks one thing of a trust at a time, at clouds that look for themselves.
func TestWhatIsMissingIsSaidInWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	both := []string{"target:prod", "target:prod:*"}
	gone := identitytest.Trust{Issuer: "http://127.0.0.1:1", Audiences: []string{"x"}}
	cases := []struct {
		cloud, title string
		change       func(settings map[string]string)
		want         string // of the last finding
	}{
		{"aws", "no provider", func(map[string]string) { w.clouds.AWS(role, identitytest.Trust{}) }, "The account 123456789012 does not know this portal."},
		{"aws", "unreachable", func(map[string]string) { w.clouds.AWS(role, gone) }, "AWS can't read the portal's keys"},
		{"aws", "audience", func(map[string]string) {
			w.clouds.AWS(role, identitytest.Trust{Issuer: w.Issuer(), Audiences: []string{"x"}, Subjects: both})
		}, "The audience does not match"},
		{"aws", "subject", func(map[string]string) {
			w.clouds.AWS(role, identitytest.Trust{Issuer: w.Issuer(), Audiences: []string{"sts.amazonaws.com"}, Subjects: []string{"target:other"}})
		}, "the subject has to be target:prod"},
		{"aws", "releases", func(map[string]string) {
			w.clouds.AWS(role, identitytest.Trust{Issuer: w.Issuer(), Audiences: []string{"sts.amazonaws.com"}, Subjects: []string{"target:prod"}})
		}, "Allow target:prod:* too"},
		{"aws", "no role", func(s map[string]string) { s["role"] = "" }, "The target has no role."},
		{"aws", "another role", func(s map[string]string) { s["role"] += "-x" }, "Either there is no such role"},
		{"aws", "bad role", func(s map[string]string) { s["role"] = "admin" }, "role or region is none"},
		{"google", "no provider", func(s map[string]string) {
			s["workload_provider"] = strings.Replace(provider, "target-prod", "other", 1)
		}, "Google knows no provider"},
		{"google", "empty", func(s map[string]string) { s["workload_provider"] = "" }, "has no workload identity provider"},
		{"google", "unreachable", func(map[string]string) { w.clouds.Google(provider, gone, account, "prod") }, "Google can't read the portal's keys"},
		{"google", "issuer", func(map[string]string) { w.clouds.Google(provider, identitytest.Trust{}, account, "prod") }, "The issuer does not match"},
		{"google", "audience", func(map[string]string) {
			w.clouds.Google(provider, identitytest.Trust{Issuer: w.Issuer(), Audiences: []string{"x"}, Subjects: both}, account, "prod")
		}, "The audience does not match"},
		{"google", "condition", func(map[string]string) {
			w.clouds.Google(provider, identitytest.Trust{Issuer: w.Issuer(), Audiences: []string{"https://iam.googleapis.com/" + provider}, Subjects: []string{"target:x"}}, account, "prod")
		}, "attribute condition refuses target:prod"},
		{"google", "binding", func(map[string]string) {
			w.clouds.Google(provider, identitytest.Trust{Issuer: w.Issuer(), Audiences: []string{"https://iam.googleapis.com/" + provider}, Subjects: both}, account, "other")
		}, "iam.serviceAccounts.getAccessToken is missing"},
		{"google", "account", func(s map[string]string) { s["service_account"] = "none@acme-apps.iam.gserviceaccount.com" }, "There is no service account none@"},
		{"google", "no account", func(s map[string]string) { s["service_account"] = "" }, "The target acts as no service account"},
		{"azure", "tenant", func(s map[string]string) { s["tenant_id"] = "acme.example" }, "There is no tenant acme.example."},
		{"azure", "application", func(s map[string]string) { s["client_id"] = tenant }, "has no application " + tenant},
		{"azure", "empty", func(s map[string]string) { s["client_id"] = "" }, "The target has no application."},
		{"azure", "bad", func(s map[string]string) { s["tenant_id"] = "../x" }, "tenant or application is none"},
		{"azure", "issuer", func(map[string]string) { w.clouds.Azure(tenant, client, identitytest.Trust{}) }, "The issuer does not match"},
		{"azure", "unreachable", func(map[string]string) { w.clouds.Azure(tenant, client, gone) }, "Entra ID can't read the portal's keys"},
		{"azure", "audience", func(map[string]string) {
			w.clouds.Azure(tenant, client, identitytest.Trust{Issuer: w.Issuer(), Audiences: []string{"x"}, Subjects: both})
		}, "The audience does not match"},
		{"azure", "subject", func(map[string]string) {
			w.clouds.Azure(tenant, client, identitytest.Trust{Issuer: w.Issuer(), Audiences: []string{"api://AzureADTokenExchange"}, Subjects: []string{"target:Prod"}})
		}, "The subject does not match"},
		{"aws", "nobody answers", func(s map[string]string) { s["endpoint"] = "http://127.0.0.1:1" }, "127.0.0.1:1 does not answer"},
		{"google", "not allowed", func(s map[string]string) { s["endpoint"] = "http://10.1.2.3" }, "10.1.2.3 is a private address"},
		{"azure", "no cloud", func(s map[string]string) { s["authority"] = w.ExternalURL }, "is not Microsoft Entra ID (status 404)"},
	}
	for _, c := range cases {
		w.trusting()
		settings := w.settings(c.cloud)
		c.change(settings)
		found := w.look(w.target(c.cloud, "prod", settings))
		if err := w.db.Delete(&models.Target{}, "name = ?", "prod").Error; err != nil {
			t.Fatal(err)
		}
		last := found[len(found)-1]
		if !strings.Contains(last.Text, c.want) || last.State == identity.FindingPassed {
			t.Errorf("%s, %s: %+v", c.cloud, c.title, found)
		}
	}
}

// TestEachCodeOfAProviderHasItsSentence reads what the providers document, and repeats nothing of an answer but a code.
func TestEachCodeOfAProviderHasItsSentence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	ids := map[string]string{}
	for i, cloud := range []string{"aws", "google", "azure"} {
		ids[cloud] = w.target(cloud, fmt.Sprintf("prod-%d", i), w.settings(cloud))
	}
	sts := func(code, message string) string {
		return "<ErrorResponse><Error><Type>Sender</Type><Code>" + code + "</Code><Message>" + message + " LEAK</Message></Error></ErrorResponse>"
	}
	oauth := func(code, text string) string {
		return fmt.Sprintf(`{"error": %q, "error_description": %q}`, code, text+" LEAK")
	}
	for _, c := range []struct {
		cloud  string
		status int
		body   string
		want   string
	}{
		{"aws", 400, sts("InvalidIdentityToken", "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint"), "thumbprint"},
		{"aws", 400, sts("IDPCommunicationError", "x"), "can't read the portal's keys"},
		{"aws", 400, sts("InvalidIdentityToken", "something new"), "does not take the token"},
		{"aws", 400, sts("ExpiredTokenException", "x"), "clock"},
		{"aws", 403, sts("IDPRejectedClaim", "x"), "claims"},
		{"aws", 403, sts("RegionDisabledException", "x"), "turned off for the region eu-central-1"},
		{"aws", 400, sts("Throttling", "x"), "too many calls"},
		{"aws", 500, sts("InternalFailure", "x"), "(InternalFailure)"},
		{"aws", 500, sts("&lt;b>LEAK&lt;/b>", "x"), "(without a code)"},
		{"aws", 500, sts("a b LEAK", "x"), "(without a code)"},
		{"aws", 200, "<html>LEAK</html>", "is not AWS STS (status 200)"},
		{"google", 400, oauth("invalid_grant", "The ID Token is expired."), "clock"},
		{"google", 400, oauth("invalid_grant", "The size of mapped attribute google.subject exceeds the 127 bytes limit."), "too long"},
		{"google", 400, oauth("invalid_grant", "Unable to find a JWK with the kid."), "upload them again"},
		{"google", 400, oauth("invalid_request", "The mapped attribute is missing."), "mapping"},
		{"google", 503, oauth("backend_error", "x"), "(backend_error)"},
		{"google", 200, "{}", "is not Google's token service"},
		{"azure", 400, oauth("invalid_client", "AADSTS7002138: No matching record"), "letter by letter"},
		{"azure", 401, oauth("invalid_client", "AADSTS7000215: Invalid client secret"), "client secret"},
		{"azure", 400, oauth("invalid_client", "AADSTS7000229: no service principal"), "az ad sp create"},
		{"azure", 400, oauth("invalid_client", "AADSTS7000112: disabled"), "turned off"},
		{"azure", 400, oauth("invalid_client", "AADSTS700024: not within its valid time range"), "clock"},
		{"azure", 400, oauth("access_denied", "AADSTS53003: blocked"), "conditional access"},
		{"azure", 400, oauth("invalid_client", "AADSTS123456: new"), "(AADSTS123456)"},
		{"azure", 400, oauth("invalid_client", "no code"), "(invalid_client)"},
		{"azure", 502, "LEAK", "is not Microsoft Entra ID (status 502)"},
	} {
		w.clouds.Say(c.status, c.body)
		found := w.look(ids[c.cloud])
		last := found[len(found)-1]
		if last.State != identity.FindingFailed || !strings.Contains(last.Text, c.want) || strings.Contains(last.Text, "LEAK") {
			t.Errorf("%s answers %s: %+v", c.cloud, c.body, last)
		}
	}
}

func TestTheAddressIsLookedAtFromHere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.trusting()
	id := w.target("azure", "prod", w.settings("azure"))
	admin := modelstest.As(t, w.db, w.Admin)
	for external, want := range map[string]string{
		w.ExternalURL:                       "clouds take issuers by https alone",
		"https://portal.example.com:8443":   "names a port",
		"https://private.example.com":       "private.example.com is a private address",
		"https://nowhere.example.com":       "has no address",
		"https://portal.public.example.com": "could not be read from here",
	} {
		s, asked := w.replica(), 0
		s.ExternalURL = external
		s.Guard = &outbound.Guard{Allow: w.Guard.Allow}
		s.Guard.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			switch host {
			case "private.example.com":
				return []netip.Addr{netip.MustParseAddr("10.0.0.7")}, nil
			case "portal.public.example.com":
				if asked++; asked == 1 {
					return []netip.Addr{netip.MustParseAddr("93.184.215.14")}, nil
				}
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil // where nothing answers by HTTPS
			}
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		found, err := s.Check(admin, id)
		if err != nil || found[0].State != identity.FindingNote || !strings.Contains(found[0].Text, want) {
			t.Errorf("%s: %+v, %v", external, found, err)
		}
	}
}

func TestOnlyAdminsSeeAndTryTheTrust(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	id := w.target("aws", "prod", w.settings("aws"))
	plain := w.target("", "plain", nil)
	admin, other := modelstest.As(t, w.db, w.Admin), modelstest.As(t, w.db, w.Maintainer)
	for name, call := range map[string]func(ctx context.Context, id string) error{
		"set-up": func(ctx context.Context, id string) error { _, err := w.Setup(ctx, id, nil); return err },
		"check":  func(ctx context.Context, id string) error { _, err := w.Check(ctx, id); return err },
		"new one": func(ctx context.Context, _ string) error {
			_, err := w.SetupNew(ctx, "kind-aws", "next", nil)
			return err
		},
	} {
		if err := call(other, id); !models.IsCode(err, models.Denied) {
			t.Errorf("%s for a maintainer: %v", name, err)
		}
		if err := call(admin, id); err != nil {
			t.Errorf("%s for an admin: %v", name, err)
		}
		if err := call(admin, plain); name != "new one" && !models.IsCode(err, models.NotFound) {
			t.Errorf("%s of a target without a cloud: %v", name, err)
		}
	}
	if len(w.clouds.Tokens()) != 1 {
		t.Errorf("%d tokens were sent", len(w.clouds.Tokens()))
	}
}

func TestACredentialIsLentInTheNameOfATarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.trusting()
	for cloud, want := range map[string]string{"aws": "ASIAFAKE", "google": "SECRET-OF-THE-SESSION", "azure": "SECRET-OF-THE-SESSION"} {
		w.target(cloud, "prod", w.settings(cloud))
		got, err := w.Credential(t.Context(), "prod", "")
		if err != nil || got.Cloud != cloud || got.AccessKeyID+got.AccessToken != want || got.Expires.IsZero() {
			t.Errorf("%s lends %+v, %v", cloud, got, err)
		}
		if cloud == "google" {
			if _, err := w.Credential(t.Context(), "prod", "other@acme-apps.iam.gserviceaccount.com"); !models.IsCode(err, models.Unavailable) || !strings.Contains(err.Error(), "other@acme-apps") {
				t.Errorf("another account: %v", err)
			}
		}
		if err := w.db.Delete(&models.Target{}, "name = ?", "prod").Error; err != nil {
			t.Fatal(err)
		}
	}
	w.target("aws", "bare", nil)
	w.target("", "plain", nil)
	for name, code := range map[string]models.Code{"bare": models.Unavailable, "plain": models.NotFound, "none": models.NotFound} {
		if _, err := w.Credential(t.Context(), name, ""); !models.IsCode(err, code) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
