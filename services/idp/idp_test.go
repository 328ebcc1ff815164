package idp_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/idp"
	"slipway.dev/services/secrets"
)

const (
	password = "seven unrelated herons"
	verifier = "0123456789012345678901234567890123456789012"
)

// server is a provider on a port of its own, with one account.
type server struct {
	*idp.Provider
	t       *testing.T
	db      *models.Database
	account *models.Account
}

func newServer(t *testing.T, db *models.Database) *server {
	t.Helper()
	box, err := secrets.Load(t.TempDir() + "/key")
	if err != nil {
		t.Fatal(err)
	}
	at := httptest.NewUnstartedServer(nil)
	s := &server{t: t, db: db, Provider: &idp.Provider{
		DB: db.DB, Box: box, ExternalURL: "http://" + at.Listener.Addr().String(), RedirectURI: "https://portal.test/login/local/callback",
		Page: func(w http.ResponseWriter, _ *http.Request, page idp.LoginPage) error {
			w.WriteHeader(page.Status)
			_, err := fmt.Fprintf(w, "%s request=%q", page.Error, page.Request)
			return err
		},
	}}
	if at.Config.Handler, err = s.Handler(); err != nil {
		t.Fatal(err)
	}
	at.Start()
	t.Cleanup(at.Close)
	if s.account, err = s.Prepare(idp.NewAccount{UserName: "ada", Name: "Ada", Email: "ada@example.test", Password: password, Again: password}); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), db.DB, s.account); err != nil {
		t.Fatal(err)
	}
	return s
}

// browser keeps cookies and follows nothing.
func (s *server) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (s *server) send(c *http.Client, method, path string, form url.Values, change ...func(*http.Request)) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.ExternalURL+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, f := range change {
		f(req)
	}
	res, err := c.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(body)
}

// asked is what the portal asks for.
func asked(s *server) url.Values {
	sum := sha256.Sum256([]byte(verifier))
	return url.Values{
		"client_id": {idp.ClientID}, "redirect_uri": {s.RedirectURI}, "response_type": {"code"}, "scope": {"openid profile email"},
		"state": {"state"}, "nonce": {"nonce"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
}

// begin starts a sign-in and returns the sealed request.
func (s *server) begin(c *http.Client) string {
	s.t.Helper()
	res, body := s.send(c, http.MethodGet, "/idp/authorize?"+asked(s).Encode(), nil)
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || to.Path != "/idp/login" {
		s.t.Fatalf("the sign-in begins with %d %s %s", res.StatusCode, to, body)
	}
	return to.Query().Get("request")
}

func signIn(request, userName, password string) url.Values {
	return url.Values{"request": {request}, "user_name": {userName}, "password": {password}}
}

// code signs Ada in and returns the code.
func (s *server) code() string {
	s.t.Helper()
	c := s.browser()
	res, body := s.send(c, http.MethodPost, "/idp/login", signIn(s.begin(c), "ada", password))
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to.String(), s.RedirectURI+"?") {
		s.t.Fatalf("signing in: %d %s %s", res.StatusCode, to, body)
	}
	q := to.Query()
	if q.Get("state") != "state" || q.Get("iss") != s.Issuer() {
		s.t.Errorf("the answer is %s", to)
	}
	return q.Get("code")
}

func (s *server) redeem(code string, change ...func(url.Values)) (*http.Response, map[string]any) {
	s.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {s.RedirectURI}, "code_verifier": {verifier}}
	secret := s.ClientSecret()
	for _, f := range change {
		f(form)
	}
	if form.Has("secret") {
		secret = form.Get("secret")
		form.Del("secret")
	}
	res, body := s.send(http.DefaultClient, http.MethodPost, "/idp/oauth/token", form, func(r *http.Request) { r.SetBasicAuth(idp.ClientID, secret) })
	answer := map[string]any{}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		s.t.Fatalf("%d %s", res.StatusCode, body)
	}
	return res, answer
}

func TestTheCodeFlowGivesTokensAndNoMoreThanItSays(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newServer(t, db)
		res, tokens := s.redeem(s.code())
		if res.StatusCode != http.StatusOK || tokens["id_token"] == "" || tokens["refresh_token"] != nil {
			t.Fatalf("%d %v", res.StatusCode, tokens)
		}
		bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+tokens["access_token"].(string)) }
		info, body := s.send(http.DefaultClient, http.MethodGet, "/idp/userinfo", nil, bearer)
		if info.StatusCode != http.StatusOK || !strings.Contains(body, `"sub":"`+s.account.ID+`"`) || !strings.Contains(body, "ada@example.test") {
			t.Errorf("userinfo: %d %s", info.StatusCode, body)
		}
		info, _ = s.send(http.DefaultClient, http.MethodGet, "/idp/userinfo?access_token="+url.QueryEscape(tokens["access_token"].(string)), nil)
		if info.StatusCode == http.StatusOK {
			t.Error("an access token in the address is taken")
		}
		if err := s.SetDisabled(db.DB, s.account.ID, true); err != nil {
			t.Fatal(err)
		}
		if info, body = s.send(http.DefaultClient, http.MethodGet, "/idp/userinfo", nil, bearer); info.StatusCode == http.StatusOK {
			t.Errorf("userinfo of a disabled account: %s", body)
		}
	})
}

func TestACodeWorksOnceAndAMisuseEndsIt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newServer(t, db)
		set := func(name, value string) func(url.Values) { return func(v url.Values) { v.Set(name, value) } }
		for name, change := range map[string]func(url.Values){
			"another verifier":     set("code_verifier", strings.Repeat("x", 43)),
			"no verifier":          func(v url.Values) { v.Del("code_verifier") },
			"another redirect URI": set("redirect_uri", "https://evil.test/"),
			"a wrong secret":       set("secret", "wrong"),
			"no secret":            set("secret", ""),
		} {
			code := s.code()
			if res, answer := s.redeem(code, change); res.StatusCode == http.StatusOK {
				t.Errorf("%s: %v", name, answer)
			}
			if res, answer := s.redeem(code); res.StatusCode == http.StatusOK {
				t.Errorf("%s: the code works afterwards: %v", name, answer)
			}
		}
		code := s.code()
		_, tokens := s.redeem(code)
		if res, _ := s.redeem(code); res.StatusCode == http.StatusOK {
			t.Error("the code worked twice")
		}
		info, _ := s.send(http.DefaultClient, http.MethodGet, "/idp/userinfo", nil, func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+tokens["access_token"].(string))
		})
		if info.StatusCode == http.StatusOK {
			t.Error("the access token outlives the replay of its code")
		}
		if res, _ := s.redeem("nonsense"); res.StatusCode == http.StatusOK {
			t.Error("a made-up code works")
		}
	})
}

func TestASignInGoesOnOnlyInTheBrowserThatBeganIt(t *testing.T) {
	t.Parallel()
	s := newServer(t, modelstest.DB(t))
	attacker, victim := s.browser(), s.browser()
	request := s.begin(attacker)
	s.begin(victim) // a sign-in of the victim's own does not help
	if res, body := s.send(victim, http.MethodGet, "/idp/login?request="+request, nil); res.StatusCode != http.StatusBadRequest || strings.Contains(body, request) {
		t.Errorf("the form: %d %s", res.StatusCode, body)
	}
	if res, body := s.send(victim, http.MethodPost, "/idp/login", signIn(request, "ada", password)); res.StatusCode != http.StatusBadRequest {
		t.Errorf("the sign-in: %d %s", res.StatusCode, body)
	}
	for _, c := range []*http.Client{attacker, victim} {
		if res, _ := s.send(c, http.MethodGet, "/idp/authorize/callback?id="+request, nil); res.StatusCode != http.StatusNotFound {
			t.Errorf("the library's own callback is open: %d", res.StatusCode)
		}
	}
	var n int64
	if err := s.db.Model(&models.Authorization{}).Count(&n).Error; err != nil || n != 0 {
		t.Errorf("%d codes were made, %v", n, err)
	}
	if res, _ := s.send(attacker, http.MethodPost, "/idp/login", signIn(request, "ada", password)); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the browser that began it: %d", res.StatusCode)
	}
}

func TestRequestsWithoutAProofOrToElsewhereAreRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, modelstest.DB(t))
	for name, change := range map[string]func(url.Values){
		"no challenge":            func(v url.Values) { v.Del("code_challenge"); v.Del("code_challenge_method") },
		"a plain challenge":       func(v url.Values) { v.Set("code_challenge_method", "plain") },
		"no method":               func(v url.Values) { v.Del("code_challenge_method") },
		"an empty challenge":      func(v url.Values) { v.Set("code_challenge", "") },
		"another redirect URI":    func(v url.Values) { v.Set("redirect_uri", "https://evil.test/") },
		"a longer redirect URI":   func(v url.Values) { v.Set("redirect_uri", s.RedirectURI+"/x") },
		"a query on the URI":      func(v url.Values) { v.Set("redirect_uri", s.RedirectURI+"?x=1") },
		"an unknown client":       func(v url.Values) { v.Set("client_id", "somebody") },
		"the implicit flow":       func(v url.Values) { v.Set("response_type", "id_token token") },
		"an answer by form":       func(v url.Values) { v.Set("response_mode", "form_post") },
		"an answer by fragment":   func(v url.Values) { v.Set("response_mode", "fragment") },
		"no interaction":          func(v url.Values) { v.Set("prompt", "none") },
		"a request object":        func(v url.Values) { v.Set("request", "eyJhbGciOiJub25lIn0.e30.") },
		"an endless state":        func(v url.Values) { v.Set("state", strings.Repeat("s", 5000)) },
		"parameters that are odd": func(v url.Values) { v.Set("max_age", "\x00") },
	} {
		q := asked(s)
		change(q)
		res, body := s.send(s.browser(), http.MethodGet, "/idp/authorize?"+q.Encode(), nil)
		to := res.Header.Get("Location")
		if strings.HasPrefix(to, "/idp/login") || strings.Contains(to, "evil.test") || to != "" && !strings.HasPrefix(to, s.RedirectURI+"?") && !strings.HasPrefix(to, s.RedirectURI+"#") {
			t.Errorf("%s: %d %s %s", name, res.StatusCode, to, body)
		}
	}
	var n int64
	if err := s.db.Model(&models.Authorization{}).Count(&n).Error; err != nil || n != 0 {
		t.Errorf("a GET wrote %d rows, %v", n, err)
	}
}

func TestDiscoveryNamesWhatWorksAndTheRestIsClosed(t *testing.T) {
	t.Parallel()
	s := newServer(t, modelstest.DB(t))
	_, body := s.send(http.DefaultClient, http.MethodGet, "/idp/.well-known/openid-configuration", nil)
	for _, odd := range []string{"implicit", "refresh", "device", "introspect", "revoc", "end_session", "jwt-bearer", "plain", "none\"", "HS256", "fragment"} {
		if strings.Contains(body, odd) {
			t.Errorf("discovery speaks of %s: %s", odd, body)
		}
	}
	for _, at := range regexp.MustCompile(`"(?:\w+_endpoint|jwks_uri)":"([^"]+)"`).FindAllStringSubmatch(body, -1) {
		method := http.MethodGet
		if strings.HasSuffix(at[1], "/token") {
			method = http.MethodPost
		}
		if res, _ := s.send(s.browser(), method, strings.TrimPrefix(at[1], s.ExternalURL), nil); res.StatusCode == http.StatusNotFound || res.StatusCode >= 500 {
			t.Errorf("%s answers %d", at[1], res.StatusCode)
		}
	}
	for _, path := range []string{"/oauth/introspect", "/revoke", "/end_session", "/device_authorization", "/healthz", "/ready", "/authorize/callback"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if res, _ := s.send(s.browser(), method, "/idp"+path, nil); res.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s is open: %d", method, path, res.StatusCode)
			}
		}
	}
	for _, grant := range []string{"refresh_token", "client_credentials", "password", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:device_code", ""} {
		if res, answer := s.redeem("x", func(v url.Values) { v.Set("grant_type", grant) }); res.StatusCode == http.StatusOK || res.StatusCode >= 500 {
			t.Errorf("the grant %q: %d %v", grant, res.StatusCode, answer)
		}
	}
}

func TestAFormOfAnotherSiteSignsNobodyIn(t *testing.T) {
	t.Parallel()
	s := newServer(t, modelstest.DB(t))
	c := s.browser()
	request := s.begin(c)
	for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"} {
		res, _ := s.send(c, http.MethodPost, "/idp/login", signIn(request, "ada", password), func(r *http.Request) { r.Header.Set(header, value) })
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s answers %d", header, value, res.StatusCode)
		}
	}
}

func TestGuessingPasswordsIsSlowedDownByPeerAndByAccount(t *testing.T) {
	t.Parallel()
	s := newServer(t, modelstest.DB(t))
	handler, err := s.Handler()
	if err != nil {
		t.Fatal(err)
	}
	c := s.browser()
	request := s.begin(c)
	at, err := url.Parse(s.ExternalURL)
	if err != nil {
		t.Fatal(err)
	}
	try := func(ip, userName, password string) int {
		r := httptest.NewRequest(http.MethodPost, s.ExternalURL+"/idp/login", strings.NewReader(signIn(request, userName, password).Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Forwarded-For", models.NewID()) // what a stranger says of themselves changes nothing
		for _, cookie := range c.Jar.Cookies(at) {
			r.AddCookie(cookie)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(models.WithRequest(r.Context(), models.Request{IP: ip})))
		return w.Code
	}
	const tries = 12
	var last int
	for range tries {
		last = try("192.0.2.1", "ada", "wrong")
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("after %d guesses at one account: %d", tries, last)
	}
	if got := try("192.0.2.1", "ada", password); got != http.StatusTooManyRequests {
		t.Errorf("the right password among too many: %d", got)
	}
	if got := try("192.0.2.2", "ada", password); got != http.StatusSeeOther {
		t.Errorf("the person elsewhere is locked out: %d", got)
	}
	var refused atomic.Int32
	var guesses sync.WaitGroup
	for i := range 60 { // at once: one after the other they may be slower than the limit lets through
		guesses.Go(func() {
			if try("192.0.2.3", fmt.Sprintf("user%d", i), "wrong") == http.StatusTooManyRequests {
				refused.Add(1)
			}
		})
	}
	guesses.Wait()
	if refused.Load() == 0 {
		t.Error("one peer may guess at many accounts")
	}
}

func TestNewPasswordsAreLongAndNoGuessersFirst(t *testing.T) {
	t.Parallel()
	s := newServer(t, modelstest.DB(t))
	for _, weak := range []string{
		"", "short", "elevenchars", "aaaaaaaaaaaaaaaa", "123456789012", "abcdefghijkl", "passwordpassword", "password1234", "Password2026!", "qwerty123456", "administrator1", "ababababababab", "slipway12345",
		"my name is bob99", strings.Repeat("long", 100), "invalid \xff bytes here",
	} {
		if _, err := s.Prepare(idp.NewAccount{UserName: "bob99", Password: weak, Again: weak}); !models.IsCode(err, models.Invalid) {
			t.Errorf("%.30q is taken: %v", weak, err)
		}
	}
	for _, good := range []string{password, "correct horse battery", "Tr0ub4dor&3xyz", "äöü motorrad 77 см"} {
		if _, err := s.Prepare(idp.NewAccount{UserName: "bob99", Password: good, Again: good}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, name := range []string{"", "a b", "-x", "x-", "Ä", "../x", "a\x00", strings.Repeat("a", 41), "a@b"} {
		if _, err := s.Prepare(idp.NewAccount{UserName: name, Password: password, Again: password}); !models.IsCode(err, models.Invalid) {
			t.Errorf("the user name %.30q is taken: %v", name, err)
		}
	}
}

func TestARotatedKeySignsAndTheOldOneIsStillKnown(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newServer(t, db)
		kid := func() string {
			_, tokens := s.redeem(s.code())
			head, _, _ := strings.Cut(tokens["id_token"].(string), ".")
			raw, err := base64.RawURLEncoding.DecodeString(head)
			if err != nil {
				t.Fatal(err)
			}
			var h struct{ Kid, Alg string }
			if err := json.Unmarshal(raw, &h); err != nil || h.Alg != "ES256" {
				t.Fatalf("%s: %v", raw, err)
			}
			return h.Kid
		}
		before := kid()
		if err := s.RotateOld(t.Context()); err != nil || kid() != before {
			t.Errorf("a young key was replaced: %v", err)
		}
		if err := s.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := kid()
		_, keys := s.send(http.DefaultClient, http.MethodGet, "/idp/keys", nil)
		if before == after || !strings.Contains(keys, before) || !strings.Contains(keys, after) || strings.Contains(keys, `"d":`) {
			t.Errorf("%s became %s; the keys are %s", before, after, keys)
		}
		var row models.SigningKey
		if err := db.Where("id = ?", after).Take(&row).Error; err != nil || strings.Contains(string(row.Private), "PRIVATE") || len(row.Private) < 150 {
			t.Errorf("the key is not sealed: %v", err)
		}
		old := db.NowFunc().AddDate(0, 0, -2)
		db.Model(&models.SigningKey{}).Where("id = ?", before).UpdateColumn("retired_at", old)
		if _, keys = s.send(http.DefaultClient, http.MethodGet, "/idp/keys", nil); strings.Contains(keys, before) {
			t.Error("a key retired two days ago is still known")
		}
	})
}

func TestTheClientWithinTheProcessReachesTheProviderAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newServer(t, modelstest.DB(t))
	res, err := s.Client().Get(s.Issuer() + "/.well-known/openid-configuration")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", res, err)
	}
	res.Body.Close()
	for _, at := range []string{s.ExternalURL + "/", s.ExternalURL + "/idpx/keys", "https" + strings.TrimPrefix(s.ExternalURL, "http") + "/idp/keys", "http://evil.test/idp/keys"} {
		if res, err := s.Client().Get(at); err == nil {
			res.Body.Close()
			t.Errorf("%s was reached", at)
		}
	}
}

func TestWhatIsOverIsPruned(t *testing.T) {
	t.Parallel()
	s := newServer(t, modelstest.DB(t))
	s.code()
	s.db.Model(&models.Authorization{}).Where("1 = 1").UpdateColumn("expires_at", s.db.NowFunc().AddDate(0, 0, -1))
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n int64
	if err := s.db.Model(&models.Authorization{}).Count(&n).Error; err != nil || n != 0 {
		t.Errorf("%d stay, %v", n, err)
	}
}
