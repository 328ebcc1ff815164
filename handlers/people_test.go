package handlers

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/auth"
)

const goodPassword = "seven unrelated herons"

// visitor is a browser without scripts: it keeps cookies, follows redirects and fills in forms.
type visitor struct {
	*http.Client
	f *fixture
}

// newPortal starts a portal whose people sign in with accounts of its own, and has no admin yet.
func newPortal(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t, func(s *Services, _ *Options) { s.Auth.Issuers = []*auth.Issuer{auth.Local(s.Accounts)} })
	if err := f.db.Model(&models.User{}).Where("admin").UpdateColumn("admin", false).Error; err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return &visitor{&http.Client{Jar: jar}, f}
}

func (v *visitor) open(path string) (*http.Response, string) {
	v.f.t.Helper()
	return v.send(http.MethodGet, path, nil)
}

// fill sends a form, as the page at the path would.
func (v *visitor) fill(path string, fields ...string) (*http.Response, string) {
	v.f.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return v.send(http.MethodPost, path, form)
}

func (v *visitor) send(method, path string, form url.Values) (*http.Response, string) {
	v.f.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = v.f.url + path
	}
	req, err := http.NewRequestWithContext(v.f.t.Context(), method, path, strings.NewReader(form.Encode()))
	if err != nil {
		v.f.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Origin", v.f.url)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := v.Do(req)
	if err != nil {
		v.f.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.f.t.Fatal(err)
	}
	return res, string(body)
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// signIn fills in the form of the embedded provider.
func (v *visitor) signIn(userName, password string) (*http.Response, string) {
	v.f.t.Helper()
	res, page := v.open("/login")
	found := requestField.FindStringSubmatch(page)
	if found == nil {
		v.f.t.Fatalf("no form at %s: %d %s", res.Request.URL, res.StatusCode, page)
	}
	return v.fill("/idp/login", "request", found[1], "user_name", userName, "password", password)
}

// see fails unless the page has the status and holds all the texts.
func see(t testing.TB, res *http.Response, page string, status int, texts ...string) {
	t.Helper()
	if res.StatusCode != status {
		t.Fatalf("%s answers %d, want %d: %s", res.Request.URL, res.StatusCode, status, page)
	}
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Fatalf("%s does not show %q: %s", res.Request.URL, text, page)
		}
	}
}

func TestTheFirstAdminSetsThePortalUpSignsInAndOutAgain(t *testing.T) {
	t.Parallel()
	f := newPortal(t)
	token, err := f.s.Auth.SetupToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := f.visitor()
	res, page := v.open("/account")
	see(t, res, page, 200, "This portal has no admin yet")
	for range 2 {
		res, page = v.open("/setup/" + token)
		see(t, res, page, 200, "Set up Slipway", "Create admin")
	}
	res, page = v.open("/setup/wrong")
	see(t, res, page, 404, "used or replaced")
	res, page = v.fill("/setup/"+token, "name", "Ada L.", "user_name", "ada", "password", "tooshort1", "password_again", "tooshort1")
	see(t, res, page, 422, "at least 12 characters", `value="Ada L."`)
	if strings.Contains(page, "tooshort1") {
		t.Error("the page sends the password back")
	}
	res, page = v.fill("/setup/"+token, "name", "Ada L.", "user_name", "ada", "password", goodPassword, "password_again", goodPassword)
	see(t, res, page, 200, "<h1>Sign in</h1>", "Password")
	res, page = v.open("/setup/" + token)
	see(t, res, page, 404)

	res, page = v.signIn("ada", "a wrong password")
	see(t, res, page, 401, "The user name or the password is wrong.", `value="ada"`)
	res, page = v.signIn("ada", goodPassword)
	if res.StatusCode != 200 && res.StatusCode != 404 || res.Request.URL.Path != "/" { // the home page is not this test's
		t.Fatalf("signing in led to %d %s %s", res.StatusCode, res.Request.URL, page)
	}
	res, page = v.open("/account")
	see(t, res, page, 200, "Ada L.", "Site admin", "this browser", "Slipway account")
	res, page = v.fill("/logout")
	see(t, res, page, 200, "You are signed out")
	res, page = v.open("/account")
	see(t, res, page, 200, "<h1>Sign in</h1>")
}

func TestARefusedSignInStandsStillAndSaysWhy(t *testing.T) {
	t.Parallel()
	f := newPortal(t)
	res, page := f.visitor().open("/login/slipway/callback?state=made-up&code=x")
	see(t, res, page, 422, "begun in another browser", `href="/login/slipway"`)
	res, page = f.visitor().open("/login/slipway/callback?error=access_denied&error_description=Call+555-0100")
	see(t, res, page, 422)
	if strings.Contains(page, "555-0100") {
		t.Error("a stranger's words stand on our page")
	}
	res, page = f.visitor().open("/idp/login?request=made-up")
	see(t, res, page, 400, "Begin again")
	res, page = f.visitor().open("/idp/authorize?client_id=slipway")
	see(t, res, page, 400, "Begin again")
}

func TestASignInLeadsBackToThePageThatAskedForIt(t *testing.T) {
	t.Parallel()
	f := newPortal(t)
	v := f.signedUp("bob")
	res, _ := v.open("/login?next=/tokens")
	if res.Request.URL.Path != "/tokens" {
		t.Errorf("somebody who is signed in was led to %s", res.Request.URL)
	}
	v.fill("/logout")
	for next, want := range map[string]string{"/teams?cursor=x": "/teams?cursor=x", "//evil.test": "/", "https://evil.test/": "/"} {
		_, page := v.open("/login/slipway?next=" + url.QueryEscape(next))
		found := requestField.FindStringSubmatch(page)
		if found == nil {
			t.Fatal(page)
		}
		res, _ = v.fill("/idp/login", "request", found[1], "user_name", "bob", "password", goodPassword)
		if got := res.Request.URL; got.RequestURI() != want || got.Host != f.host {
			t.Errorf("%q led to %s", next, got)
		}
	}
}

func TestWhoseSessionEndedComesBackToTheFormThatWasSent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	form := "/environments/" + f.Environment.ID + "/variables?name=A"
	for from, want := range map[string]string{
		"http://" + f.host + form:  "/login?next=" + url.QueryEscape(form),
		"http://evil.test" + form:  "/login",
		"":                         "/login",
		"http://" + f.host + "/":   "/login",
		"http://" + f.host + ":%%": "/login",
	} {
		w := f.send(ask{method: "POST", path: "/environments/" + f.Environment.ID + "/variables", body: "name=A&value=b", header: map[string]string{"Referer": from}})
		if got := w.Header().Get("Location"); w.Code != 303 || got != want {
			t.Errorf("from %q: %d to %s, want %s", from, w.Code, got, want)
		}
	}
}

// signedUp returns the browser of a person whom an admin invited and who is signed in.
func (f *fixture) signedUp(userName string) *visitor {
	f.t.Helper()
	admin := &visitor{f.visitor().Client, f}
	f.db.Model(f.Admin).UpdateColumn("admin", true)
	admin.have(f.cookie(f.Admin))
	res, page := admin.fill("/admin/users", "name", strings.ToUpper(userName), "user_name", userName)
	see(f.t, res, page, 201, "Pass this link on")
	link := regexp.MustCompile(regexp.QuoteMeta(f.url) + `/invites/[\w-]+`).FindString(page)
	res, page = admin.open("/admin/users")
	see(f.t, res, page, 200, strings.ToUpper(userName))
	if strings.Contains(page, "/invites/") {
		f.t.Error("the list shows the link")
	}
	v := f.visitor()
	for range 2 {
		res, page = v.open(link)
		see(f.t, res, page, 200, "Welcome to Slipway", userName)
	}
	res, page = v.fill(link, "password", goodPassword, "password_again", goodPassword)
	see(f.t, res, page, 200, "<h1>Sign in</h1>")
	res, page = v.open(link)
	see(f.t, res, page, 404)
	v.signIn(userName, goodPassword)
	res, page = v.open("/account")
	see(f.t, res, page, 200, strings.ToUpper(userName))
	return v
}

// have gives the browser a cookie.
func (v *visitor) have(c *http.Cookie) {
	at, err := url.Parse(v.f.url)
	if err != nil {
		v.f.t.Fatal(err)
	}
	v.Jar.SetCookies(at, []*http.Cookie{c})
}

func TestATokenIsShownOnceAndRevoked(t *testing.T) {
	t.Parallel()
	f := newPortal(t)
	v := f.signedUp("bob")
	res, page := v.fill("/tokens", "name", "", "days", "30")
	see(t, res, page, 422, "what the token is for", "Choose at least one")
	res, page = v.fill("/tokens", "name", "my <ci>", "scopes", "read", "scopes", "write", "days", "30", "team_id", f.Team.ID, "role", "maintainer")
	see(t, res, page, 201, "my &lt;ci&gt;")
	if res.Header.Get("Cache-Control") != "no-store" {
		t.Error("the page with the token may be cached")
	}
	secret := regexp.MustCompile(`slp_\w{46}`).FindString(page)
	who, err := f.s.Auth.AuthenticateToken(t.Context(), secret)
	if err != nil || who.Name != "BOB" || len(who.Teams) != 0 {
		t.Fatalf("%v, %v", who, err)
	}
	res, page = v.open("/tokens")
	see(t, res, page, 200, "my &lt;ci&gt;", "read, write")
	if strings.Contains(page, secret) {
		t.Error("the list shows the token")
	}
	res, page = v.fill("/tokens/" + who.ID + "/revoke")
	see(t, res, page, 200, "Token revoked")
	if _, err := f.s.Auth.AuthenticateToken(t.Context(), secret); err == nil {
		t.Error("it still works")
	}
}

func TestAPersonMakesATeamAndAddsMembers(t *testing.T) {
	t.Parallel()
	f := newPortal(t)
	v := f.signedUp("bob")
	res, page := v.fill("/teams", "name", "Ops", "slug", "Not A Slug")
	see(t, res, page, 422, models.NameHelp, `value="Ops"`)
	res, page = v.fill("/teams", "name", "Ops", "slug", "ops")
	see(t, res, page, 200, "BOB", "Team Ops created")
	res, page = v.open("/teams/ops?q=viewe")
	see(t, res, page, 200, "/teams/ops/members/"+f.Viewer.ID)
	res, page = v.fill("/teams/ops/members/"+f.Viewer.ID, "role", "developer")
	see(t, res, page, 200, "viewer is a developer now")
	bob := regexp.MustCompile(`id="member-([\w-]+)"`).FindStringSubmatch(page)[1]
	res, page = v.fill("/teams/ops/members/" + bob + "/remove")
	see(t, res, page, 409, "last maintainer")
	res, page = v.fill("/teams/ops/tokens", "name", "ci", "role", "developer", "scopes", "read", "days", "7")
	see(t, res, page, 201, "slp_")
	res, page = v.open("/teams/ops/audit")
	see(t, res, page, 200, "team.create", "member.set", "token.create")
	res, page = v.fill("/teams/ops/settings", "name", "Operations")
	see(t, res, page, 200, `value="Operations"`)

	other := f.visitor()
	other.have(f.cookie(f.Viewer))
	res, page = other.open("/teams/ops")
	see(t, res, page, 200, "Operations")
	if strings.Contains(page, "Remove") {
		t.Error("a developer is offered what only maintainers may")
	}
	for _, path := range []string{"/teams/ops/tokens", "/teams/ops/audit", "/teams/ops/settings"} {
		res, page = other.open(path)
		see(t, res, page, 403)
	}
	other.have(f.cookie(f.Stranger))
	res, page = other.open("/teams/ops")
	see(t, res, page, 404)
}

func TestAnAdminLetsPeopleInAndOut(t *testing.T) {
	t.Parallel()
	f := newPortal(t)
	bob := f.signedUp("bob")
	var user models.User
	if err := f.db.Where("name = ?", "BOB").Take(&user).Error; err != nil {
		t.Fatal(err)
	}
	at := "/admin/users/" + user.ID
	res, page := bob.open(at)
	see(t, res, page, 403)
	admin := f.visitor()
	admin.have(f.cookie(f.Admin))
	res, page = admin.fill("/admin/users/" + f.Admin.ID + "/disable")
	see(t, res, page, 409, "only admin")
	res, page = admin.fill(at + "/admin")
	see(t, res, page, 200, "Made an admin")
	res, page = bob.open(at)
	see(t, res, page, 200)
	res, page = admin.fill(at + "/admin/revoke")
	see(t, res, page, 200, "No admin any more")
	res, page = admin.fill(at + "/sessions/end")
	see(t, res, page, 200, "Sessions ended")
	res, page = bob.open("/account")
	see(t, res, page, 200, "<h1>Sign in</h1>")
	res, page = admin.fill(at + "/disable")
	see(t, res, page, 200, "Disabled", "Enable")
	res, page = bob.signIn("bob", goodPassword)
	see(t, res, page, 403, "disabled")
	res, page = admin.fill(at + "/enable")
	see(t, res, page, 200)
	bob.signIn("bob", goodPassword)
	res, page = bob.open("/account")
	see(t, res, page, 200, "BOB")
	res, page = admin.fill(at + "/invite")
	see(t, res, page, 201, "Pass this link on")
	res, page = admin.open("/admin/audit?subject=user:" + user.ID)
	see(t, res, page, 200, "user.disable", "user.make_admin", "session.end_all", "session.start")
}
