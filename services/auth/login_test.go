package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
	"slipway.dev/services/idp"
	"slipway.dev/services/porttest"
	"slipway.dev/services/secrets"
)

func TestAPersonSignsInAtTheEmbeddedProviderAndOutAgain(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPortal(t, db)
		p.firstAdmin()
		b := p.browser()
		res, body := b.get("/")
		mustStatus(t, res, body, http.StatusUnauthorized)
		res, body = b.signIn("/login/slipway", "ADA", password)
		mustStatus(t, res, body, http.StatusOK)
		if !strings.Contains(body, `"name":"Ada"`) || !strings.Contains(body, `"admin":true`) {
			t.Errorf("signed in as %s", body)
		}
		at, err := url.Parse(p.url)
		if err != nil {
			t.Fatal(err)
		}
		if left := b.Jar.Cookies(at); len(left) != 1 {
			t.Errorf("after the sign-in the browser keeps %v", left)
		}
		before := b.sessionCookie()
		res, body = b.do(http.MethodPost, "/logout", nil)
		mustStatus(t, res, body, http.StatusOK)
		if body != "" {
			t.Errorf("the embedded provider keeps no session of its own, yet there is one to end at %s", body)
		}
		if _, err := p.Authenticate(t.Context(), before); !models.IsCode(err, models.Unauthorized) {
			t.Errorf("the session lives on after the sign-out: %v", err)
		}
	})
}

func TestAWrongPasswordSignsNobodyIn(t *testing.T) {
	t.Parallel()
	p := newPortal(t, modelstest.DB(t))
	p.firstAdmin()
	for name, pass := range map[string]string{"ada": "wrong", "nobody": password, "": "", "ada\x00": password} {
		res, body := p.browser().signIn("/login/slipway", name, pass)
		mustStatus(t, res, body, http.StatusUnauthorized)
		if !strings.Contains(body, "user name or the password is wrong") {
			t.Errorf("%q: %s", name, body)
		}
	}
}

func TestForgedIdTokensAreRefused(t *testing.T) {
	t.Parallel()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(name string, value any) func(*fakeIssuer) {
		return func(f *fakeIssuer) { f.lie = func(c map[string]any) { c[name] = value } }
	}
	signed := func(alg jose.SignatureAlgorithm, key func(f *fakeIssuer) any, opts *jose.SignerOptions) func(*fakeIssuer) {
		return func(f *fakeIssuer) {
			f.sign = func(b []byte) string { return compact(t, alg, key(f), b, opts) }
		}
	}
	publicPEM := func(f *fakeIssuer) any {
		der, err := x509.MarshalPKIXPublicKey(f.key.Public())
		if err != nil {
			t.Error(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	for name, lie := range map[string]func(*fakeIssuer){
		"another audience":                   claim("aud", "somebody-else"),
		"no audience":                        claim("aud", []string{}),
		"one more audience and no party":     claim("aud", []string{"portal-corp", "somebody-else"}),
		"made for another party":             claim("azp", "somebody-else"),
		"another issuer":                     claim("iss", "https://evil.test"),
		"the issuer with a slash":            func(f *fakeIssuer) { f.lie = func(c map[string]any) { c["iss"] = f.URL + "/" } },
		"expired":                            claim("exp", time.Now().Add(-time.Hour).Unix()),
		"not yet valid":                      claim("nbf", time.Now().Add(time.Hour).Unix()),
		"the nonce of another attempt":       claim("nonce", "replayed"),
		"no nonce":                           func(f *fakeIssuer) { f.lie = func(c map[string]any) { delete(c, "nonce") } },
		"no subject":                         claim("sub", ""),
		"a subject with a zero byte":         claim("sub", "a\x00b"),
		"the hash of another access token":   claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"no id_token":                        func(f *fakeIssuer) { f.noToken = true },
		"a key that the issuer never showed": signed(jose.ES256, func(*fakeIssuer) any { return jose.JSONWebKey{Key: other, KeyID: "k1"} }, nil),
		"an unknown key id":                  signed(jose.ES256, func(*fakeIssuer) any { return jose.JSONWebKey{Key: other, KeyID: "k2"} }, nil),
		"the attacker's key in the header":   signed(jose.ES256, func(*fakeIssuer) any { return other }, &jose.SignerOptions{EmbedJWK: true}),
		"HS256 with the public key":          signed(jose.HS256, publicPEM, nil),
		"HS256 with the client secret":       signed(jose.HS256, func(*fakeIssuer) any { return []byte(strings.Repeat("s", 32)) }, nil),
		"no algorithm": func(f *fakeIssuer) {
			f.sign = func(b []byte) string {
				head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
				return head + "." + base64.RawURLEncoding.EncodeToString(b) + "."
			}
		},
		"not a token at all": func(f *fakeIssuer) { f.sign = func([]byte) string { return "x.y.z" } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeIssuer(t)
			p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
			f.set(lie)
			b := p.browser()
			res, body := b.get("/login/corp")
			mustStatus(t, res, body, http.StatusUnauthorized)
			if b.sessionCookie() != "" || p.count(&models.Session{}) != 0 || p.count(&models.User{}) != 0 {
				t.Error("somebody was signed in")
			}
		})
	}
}

func TestAnHonestIssuerSignsPeopleInWithPKCE(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := newFakeIssuer(t)
		p := newPortal(t, db, f.issuer("corp"))
		b := p.browser()
		res, body := b.get("/login/corp?next=/?tab=1")
		mustStatus(t, res, body, http.StatusOK)
		if res.Request.URL.RequestURI() != "/?tab=1" {
			t.Errorf("the sign-in led to %s", res.Request.URL)
		}
		if len(f.verifier) < 43 {
			t.Errorf("the code was redeemed with the verifier %q", f.verifier)
		}
		if u := p.user("Grace"); u.Issuer != f.URL || u.Subject != "1" || u.Email != "grace@corp.test" || u.Admin || u.LastLoginAt == nil {
			t.Errorf("the user is %+v", u)
		}
		f.set(func(f *fakeIssuer) { f.says["name"], f.says["email"] = "Grace Hopper", "hopper@corp.test" })
		res, body = b.get("/login/corp")
		mustStatus(t, res, body, http.StatusOK)
		if u := p.user("Grace Hopper"); u.Email != "hopper@corp.test" || p.count(&models.User{}) != 1 {
			t.Errorf("name and address are not those of the last sign-in: %+v", u)
		}
	})
}

func TestTheCallbackOfASignInFromAnotherBrowserIsRefused(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
	attacker, victim := p.browser().stopping(), p.browser().stopping()
	res, _ := attacker.get("/login/corp")
	res, _ = attacker.get(res.Header.Get("Location"))
	callback := res.Header.Get("Location")
	if !strings.Contains(callback, "/login/corp/callback?") {
		t.Fatalf("no callback: %s", callback)
	}
	res, body := victim.get(callback)
	mustStatus(t, res, body, http.StatusBadRequest)
	victim.get("/login/corp") // an attempt of the victim's own does not help
	res, body = victim.get(callback)
	mustStatus(t, res, body, http.StatusBadRequest)

	res, body = attacker.get(callback)
	mustStatus(t, res, body, http.StatusSeeOther)
	res, body = attacker.get(callback)
	mustStatus(t, res, body, http.StatusBadRequest)
	if n := p.count(&models.Session{}); n != 1 {
		t.Errorf("%d sessions, want the attacker's own", n)
	}
}

func TestAnAnswerOfOneIssuerIsNotTakenForAnothers(t *testing.T) {
	t.Parallel()
	good, evil := newFakeIssuer(t), newFakeIssuer(t)
	p := newPortal(t, modelstest.DB(t), good.issuer("good"), evil.issuer("evil"))
	b := p.browser().stopping()
	res, _ := b.get("/login/good")
	res, _ = b.get(res.Header.Get("Location"))
	mixed := strings.Replace(res.Header.Get("Location"), "/login/good/", "/login/evil/", 1)
	res, body := b.get(mixed)
	mustStatus(t, res, body, http.StatusBadRequest)

	good.set(func(f *fakeIssuer) { f.answer = func(q url.Values) { q.Set("iss", evil.URL) } })
	res, body = p.browser().get("/login/good")
	mustStatus(t, res, body, http.StatusUnauthorized)
}

func TestAnIssuerThatSaysItNamesItselfMust(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	f.meta = func(m map[string]any) { m["authorization_response_iss_parameter_supported"] = true }
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
	res, body := p.browser().get("/login/corp")
	mustStatus(t, res, body, http.StatusUnauthorized)
	f.set(func(f *fakeIssuer) { f.answer = func(q url.Values) { q.Set("iss", f.URL) } })
	res, body = p.browser().get("/login/corp")
	mustStatus(t, res, body, http.StatusOK)
}

func TestPeopleAreKnownByIssuerAndSubjectAndNeverByAnAddress(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		one, two := newFakeIssuer(t), newFakeIssuer(t)
		p := newPortal(t, db, one.issuer("one"), two.issuer("two"))
		p.browser().get("/login/one")
		victim := p.user("Grace")
		p.db.Model(victim).UpdateColumn("admin", true)
		for name, says := range map[string]map[string]any{
			"another subject, same address":    {"sub": "2", "name": "Mallory", "email": victim.Email, "email_verified": true},
			"the address not verified":         {"sub": "3", "name": "Mallory", "email": victim.Email, "email_verified": false},
			"another case":                     {"sub": "4", "name": "Mallory", "email": strings.ToUpper(victim.Email)},
			"two at signs":                     {"sub": "5", "name": "Mallory", "email": "evil@x.test@corp.test"},
			"a look-alike":                     {"sub": "6", "name": "Mallory", "email": "grаce@corp.test"},
			"the subject of another case":      {"sub": "GRACE", "name": "Mallory"},
			"the subject with a space":         {"sub": " 1", "name": "Mallory"},
			"the subject of the other issuers": nil,
		} {
			f, id := one, "one"
			if says == nil {
				f, id, says = two, "two", map[string]any{"sub": victim.Subject, "name": "Mallory", "email": victim.Email}
			}
			f.set(func(f *fakeIssuer) { f.says = says })
			res, body := p.browser().get("/login/" + id)
			mustStatus(t, res, body, http.StatusOK)
			if strings.Contains(body, victim.ID) || strings.Contains(body, `"admin":true`) {
				t.Errorf("%s: signed in as the victim: %s", name, body)
			}
		}
		if n := p.count(&models.User{}, "email = ?", victim.Email); n != 3 { // the victim's, a verified one, the other issuer's
			t.Errorf("%d people show the address", n)
		}
	})
}

func TestADisabledUserStaysOutAndIsNotEnabledBySigningIn(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
	admin := p.firstAdmin()
	b := p.browser()
	b.get("/login/corp")
	if err := p.SetDisabled(modelstest.As(t, p.db, admin), p.user("Grace").ID, true); err != nil {
		t.Fatal(err)
	}
	res, body := b.get("/")
	mustStatus(t, res, body, http.StatusUnauthorized)
	res, body = p.browser().get("/login/corp")
	mustStatus(t, res, body, http.StatusForbidden)
	if p.user("Grace").DisabledAt == nil || p.count(&models.Session{}) != 0 {
		t.Error("signing in enabled the user")
	}
	if p.count(&models.AuditEntry{}, "action = ?", "session.refuse") != 1 {
		t.Error("the refusal is not in the audit log")
	}
}

func TestOnlyVerifiedAddressesOfTheOrganizationEnterWhereItIsSet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		email    string
		verified any
		want     int
	}{
		{"grace@corp.test", true, http.StatusOK},
		{"grace@CORP.test", "true", http.StatusOK},
		{"grace@corp.test", false, http.StatusForbidden},
		{"grace@corp.test", nil, http.StatusForbidden},
		{"grace@corp.test.evil.test", true, http.StatusForbidden},
		{"grace@evil.test", true, http.StatusForbidden},
		{"a@evil.test@corp.test", true, http.StatusForbidden},
		{"@corp.test", true, http.StatusForbidden},
		{"", true, http.StatusForbidden},
	} {
		f := newFakeIssuer(t)
		issuer := f.issuer("corp")
		issuer.Domains = []string{"corp.test"}
		p := newPortal(t, modelstest.DB(t), issuer)
		f.set(func(f *fakeIssuer) { f.says["email"], f.says["email_verified"] = c.email, c.verified })
		res, _ := p.browser().get("/login/corp")
		if res.StatusCode != c.want {
			t.Errorf("%q verified %v: %d, want %d", c.email, c.verified, res.StatusCode, c.want)
		}
	}
}

func TestUserinfoFillsWhatTheIdTokenLeavesOutAndMustBeOfTheSamePerson(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	f.says = map[string]any{"sub": "1"}
	f.userinfo = map[string]any{"sub": "1", "name": "Grace\u202e\x07 Hopper", "email": "grace@corp.test"}
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
	res, body := p.browser().get("/login/corp")
	mustStatus(t, res, body, http.StatusOK)
	if u := p.user("Grace Hopper"); u.Email != "grace@corp.test" {
		t.Errorf("the user is %+v", u)
	}
	f.set(func(f *fakeIssuer) { f.userinfo["sub"] = "2" })
	res, body = p.browser().get("/login/corp")
	mustStatus(t, res, body, http.StatusUnauthorized)
}

func TestAnIssuerThatWasDownIsAskedAgain(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	f.down = true
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"), &auth.Issuer{ID: "gone", Name: "Gone", URL: "http://" + porttest.Address(t), ClientID: "x"})
	res, body := p.browser().get("/login/corp")
	mustStatus(t, res, body, http.StatusServiceUnavailable)
	f.set(func(f *fakeIssuer) { f.down = false })
	res, body = p.browser().get("/login/corp")
	mustStatus(t, res, body, http.StatusOK)
	res, body = p.browser().get("/login/gone")
	mustStatus(t, res, body, http.StatusServiceUnavailable)
	res, body = p.browser().get("/login/unknown")
	mustStatus(t, res, body, http.StatusNotFound)
}

func TestWhatAnIssuerSaysIsNotShownInOurName(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	f.answer = func(q url.Values) {
		q.Del("code")
		q.Set("error", "access_denied")
		q.Set("error_description", "Call 555-0100")
	}
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
	b := p.browser()
	res, body := b.get("/login/corp")
	mustStatus(t, res, body, http.StatusForbidden)
	var message string
	_, err := p.Finish(t.Context(), "corp", auth.Callback{}, auth.Browser{})
	if e, ok := err.(*models.Error); ok {
		message = e.Message
	}
	if strings.Contains(message, "555") {
		t.Errorf("the page says %q", message)
	}
}

func TestTwoTabsSignInSideBySide(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
	b := p.browser().stopping()
	var callbacks []string
	for range 2 {
		res, _ := b.get("/login/corp")
		res, _ = b.get(res.Header.Get("Location"))
		callbacks = append(callbacks, res.Header.Get("Location"))
	}
	for _, c := range callbacks {
		res, body := b.get(c)
		mustStatus(t, res, body, http.StatusSeeOther)
	}
}

func TestABrowserKeepsFewAttempts(t *testing.T) {
	t.Parallel()
	f := newFakeIssuer(t)
	p := newPortal(t, modelstest.DB(t), f.issuer("corp"))
	b := p.browser().stopping()
	for range 30 {
		b.get("/login/corp")
	}
	u, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b.Jar.Cookies(u)); n > 6 {
		t.Errorf("the browser sends %d cookies", n)
	}
}

func TestCookiesAreHostOnlyAndNotForScripts(t *testing.T) {
	t.Parallel()
	for external, secure := range map[string]bool{"http://localhost:8080": false, "https://portal.test": true} {
		f := newFakeIssuer(t)
		box, err := secrets.Load(t.TempDir() + "/key")
		if err != nil {
			t.Fatal(err)
		}
		s := &auth.Service{DB: modelstest.DB(t).DB, Box: box, ExternalURL: external, Issuers: []*auth.Issuer{f.issuer("corp")}}
		to, err := s.Begin(t.Context(), "corp", "/", auth.Browser{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range append(to.Cookies, s.ClearSessionCookie()) {
			if c.Secure != secure || strings.HasPrefix(c.Name, "__Host-") != secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Domain != "" || c.Path != "/" {
				t.Errorf("%s: the cookie is %s", external, c)
			}
		}
		if !strings.HasPrefix(to.URL, f.URL+"/authorize?") || !strings.Contains(to.URL, "code_challenge_method=S256") {
			t.Errorf("the sign-in goes to %s", to.URL)
		}
	}
}

func TestASecondProviderElsewhereSignsPeopleInSideBySide(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		box, err := secrets.Load(t.TempDir() + "/key")
		if err != nil {
			t.Fatal(err)
		}
		elsewhere := httptest.NewUnstartedServer(nil)
		at := "http://" + elsewhere.Listener.Addr().String()
		remote := &auth.Issuer{ID: "remote", Name: "Remote", URL: at + idp.Path, ClientID: idp.ClientID, Client: elsewhere.Client()}
		p := newPortal(t, db, remote)
		provider := newProvider(modelstest.DB(t), box, at, p.url+"/login/remote/callback")
		if elsewhere.Config.Handler, err = provider.Handler(); err != nil {
			t.Fatal(err)
		}
		elsewhere.Start()
		t.Cleanup(elsewhere.Close)
		remote.ClientSecret = provider.ClientSecret()
		account, err := provider.Prepare(idp.NewAccount{UserName: "ada", Name: "Ada elsewhere", Password: password, Again: password})
		if err != nil {
			t.Fatal(err)
		}
		if err := provider.Create(t.Context(), provider.DB, account); err != nil {
			t.Fatal(err)
		}
		p.firstAdmin()
		res, here := p.browser().signIn("/login/slipway", "ada", password)
		mustStatus(t, res, here, http.StatusOK)
		res, there := p.browser().signIn("/login/remote", "ada", password)
		mustStatus(t, res, there, http.StatusOK)
		if !strings.Contains(here, `"admin":true`) || strings.Contains(there, `"admin":true`) || p.count(&models.User{}) != 2 {
			t.Errorf("the two are mixed up: %s and %s", here, there)
		}
	})
}
