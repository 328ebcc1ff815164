package handlers

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/identity"
)

func TestTheIssuerForCloudsIsPublishedApartFromSignIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	raw, err := f.s.Deploy.Identity("prod")(t.Context(), "sts.amazonaws.com", deploy.Subject{Team: "payments", Environment: "live", App: "checkout"})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := oidc.NewProvider(t.Context(), f.url+"/identity")
	if err != nil {
		t.Fatal(err)
	}
	token, err := issuer.Verifier(&oidc.Config{ClientID: "sts.amazonaws.com"}).Verify(t.Context(), raw)
	if err != nil || token.Subject != "target:prod:team:payments:environment:live:app:checkout" {
		t.Fatalf("the token of %v: %v", token, err)
	}
	signIn, err := oidc.NewProvider(t.Context(), f.url+"/idp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signIn.Verifier(&oidc.Config{SkipClientIDCheck: true, SkipIssuerCheck: true, SupportedSigningAlgs: []string{"RS256", "ES256"}}).Verify(t.Context(), raw); err == nil {
		t.Error("the keys of sign-in are good for tokens of targets")
	}
	for _, path := range []string{identity.DiscoveryPath, identity.KeysPath} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := f.send(ask{method: method, path: path})
			if w.Code != 200 || w.Header().Get("Cache-Control") != "public, max-age=3600" || w.Header().Get("Set-Cookie") != "" || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
				t.Errorf("%s %s: %d %v", method, path, w.Code, w.Header())
			}
		}
	}
	keys := f.send(ask{path: identity.KeysPath}).Body.String()
	if strings.Contains(keys, `"d"`) || !strings.Contains(keys, `"RS256"`) {
		t.Errorf("published is %s", keys)
	}
	for _, access := range []string{"/api/v1/me", "/v2/"} {
		if w := f.send(ask{path: access, token: raw}); w.Code != http.StatusUnauthorized {
			t.Errorf("a token for a cloud opens %s here: %d", access, w.Code)
		}
	}
}

func TestThePageOfATrustShowsCommandsForExactlyThisTarget(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	cookie := f.cookie(f.Admin)
	get := func(path string) *httptest.ResponseRecorder { return f.send(ask{path: path, cookie: cookie}) }
	at := "/admin/targets/" + f.places["cloud target"]
	if w := get(at); w.Code != 200 || !strings.Contains(w.Body.String(), at+"/trust") {
		t.Errorf("the target's page does not lead there: %d", w.Code)
	}
	if w := get("/admin/targets/" + f.places["unused target"]); strings.Contains(w.Body.String(), "/trust") {
		t.Error("a target without a cloud leads to the trust")
	}
	if w := get("/admin/targets/" + f.places["unused target"] + "/trust"); w.Code != 404 {
		t.Errorf("there is a trust without a cloud: %d", w.Code)
	}
	w := get(at + "/trust")
	for _, part := range []string{"aws iam create-open-id-connect-provider", f.url + "/identity", "target:cloud:*", "aws_iam_role_policy", "Check the trust", "https alone", `value="123456789012"`} {
		if w.Code != 200 || !strings.Contains(w.Body.String(), part) {
			t.Errorf("the page lacks %q: %d", part, w.Code)
		}
	}
	w = get(at + "/trust?" + url.Values{"account": {"$(touch pwned)"}, "region": {"eu-central-1"}}.Encode())
	if w.Code != 400 && w.Code != 422 || !strings.Contains(w.Body.String(), "twelve digits") {
		t.Errorf("a hostile account: %d", w.Code)
	}
	if strings.Contains(w.Body.String(), "aws iam create") {
		t.Error("there are commands for an account that is none")
	}
	if w = get(at + "/trust?role="); strings.Contains(w.Body.String(), "create-role") {
		t.Error("there are commands without a role")
	}
	w = f.send(ask{method: "POST", path: at + "/trust/check", cookie: cookie})
	if w.Code != 200 || !strings.Contains(w.Body.String(), "Missing") || !strings.Contains(w.Body.String(), "has no address") {
		t.Errorf("a check that reaches nothing: %d", w.Code)
	}
}

func TestATrustCanBeSetUpBeforeItsTarget(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	cookie := f.cookie(f.Admin)
	for cloud, c := range map[string]struct{ inputs, command string }{
		"aws":    {"account=123456789012&region=eu-central-1", "aws iam create-role"},
		"google": {"project=acme-apps&project_number=123456789012&run_as=apps@acme-apps.iam.gserviceaccount.com&upload=true", "--jwk-json-path slipway-keys.json"},
		"azure":  {"tenant_id=acme.example&subscription_id=6a1f0c52-1111-2222-3333-444455556666&resource_group=apps", "az ad app federated-credential create"},
	} {
		first := f.send(ask{path: "/admin/targets/trust?kind=still-" + cloud, cookie: cookie})
		if first.Code != 200 || strings.Contains(first.Body.String(), "target:new") || !strings.Contains(first.Body.String(), `name="name"`) || strings.Contains(first.Body.String(), "slipway-new") {
			t.Errorf("%s: %d", cloud, first.Code)
		}
		if named := f.send(ask{path: "/admin/targets/trust?kind=still-" + cloud + "&name=next", cookie: cookie}).Body.String(); !strings.Contains(named, "slipway-next") {
			t.Errorf("%s proposes nothing that is of the target's name:\n%s", cloud, named)
		}
		w := f.send(ask{path: "/admin/targets/trust?kind=still-" + cloud + "&name=next&" + c.inputs, cookie: cookie})
		if w.Code != 200 || !strings.Contains(w.Body.String(), c.command) || !strings.Contains(w.Body.String(), "target:next") {
			t.Errorf("%s: %d\n%s", cloud, w.Code, w.Body)
		}
		if bad := f.send(ask{path: "/admin/targets/trust?kind=still-" + cloud + "&name=a:b&" + c.inputs, cookie: cookie}); bad.Code == 200 || strings.Contains(bad.Body.String(), c.command) {
			t.Errorf("%s has commands for a name that is none: %d", cloud, bad.Code)
		}
		call := f.send(ask{path: "/api/v1/targets/trust?kind=still-" + cloud + "&name=next&" + c.inputs, cookie: cookie})
		var said struct {
			Cloud   string
			Missing []string
			Inputs  []struct{ Name string }
			Parts   []struct{ Language, Text string }
		}
		if err := json.Unmarshal(call.Body.Bytes(), &said); err != nil || said.Cloud != cloud || len(said.Missing) != 0 || len(said.Parts) < 3 {
			t.Errorf("%s: %d %s %v", cloud, call.Code, call.Body, err)
		}
		for _, in := range said.Inputs {
			if bad := f.send(ask{path: "/api/v1/targets/trust?kind=still-" + cloud + "&name=next&" + in.Name + "=%24(x)", cookie: cookie}); bad.Code == 200 || !strings.Contains(bad.Body.String(), in.Name) {
				t.Errorf("%s: the call takes no %s: %d", cloud, in.Name, bad.Code)
			}
		}
		for _, part := range said.Parts {
			if !strings.Contains(w.Body.String(), strings.TrimSpace(strings.SplitN(part.Text, "\n", 2)[0])) && part.Language == "hcl" {
				t.Errorf("%s: the page lacks what the call says: %s", cloud, part.Text)
			}
		}
	}
	if w := f.send(ask{path: "/admin/targets/trust?kind=docker", cookie: cookie}); w.Code != 404 {
		t.Errorf("a kind without a cloud: %d", w.Code)
	}
}

func TestAnAdminSeesTheKeysOfTheIssuerAndReplacesThem(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	cookie := f.cookie(f.Admin)
	look := func() string { return f.send(ask{path: "/admin/keys", cookie: cookie}).Body.String() }
	if first := look(); !strings.Contains(first, f.url+"/identity/keys") || strings.Contains(first, "signs later") || !strings.Contains(first, "Signs") {
		t.Errorf("the page does not say which key signs:\n%s", first)
	}
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	if w := f.send(ask{method: "POST", path: "/admin/keys/issuer", cookie: cookie, header: form}); w.Code != 303 || w.Header().Get("Location") != "/admin/keys" {
		t.Errorf("a new key: %d %s", w.Code, w.Body)
	}
	if next := look(); !strings.Contains(next, "signs later") {
		t.Errorf("the page does not say when the next key signs:\n%s", next)
	}
	if w := f.send(ask{method: "POST", path: "/admin/keys/issuer", cookie: cookie, header: form, body: "leaked=true"}); w.Code != 303 {
		t.Errorf("keys that leaked: %d %s", w.Code, w.Body)
	}
	keys, err := f.s.Identity.KeyList(modelstest.As(t, f.db, f.Admin))
	if err != nil || len(keys) != 1 || keys[0].SignsFrom != nil {
		t.Errorf("after they leaked: %v %v", keys, err)
	}
}
