package auth_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/auth"
	"slipway.dev/services/idp"
	"slipway.dev/services/secrets"
)

// portal is as much of Slipway as signing in needs, on a port of its own.
type portal struct {
	*auth.Service
	t   *testing.T
	db  *models.Database
	url string
}

// newPortal starts a portal with the embedded provider and the issuers.
func newPortal(t *testing.T, db *models.Database, issuers ...*auth.Issuer) *portal {
	t.Helper()
	box, err := secrets.Load(t.TempDir() + "/key")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	p := &portal{t: t, db: db, url: "http://" + server.Listener.Addr().String()}
	accounts := newProvider(db, box, p.url, auth.LocalRedirect(p.url))
	p.Service = &auth.Service{DB: db.DB, Box: box, ExternalURL: p.url, Accounts: accounts}
	p.Issuers = append(p.Issuers, auth.Local(accounts))
	p.Issuers = append(p.Issuers, issuers...)
	server.Config.Handler = p.routes()
	server.Start()
	t.Cleanup(server.Close)
	return p
}

func newProvider(db *models.Database, box *secrets.Box, url, redirect string) *idp.Provider {
	return &idp.Provider{DB: db.DB, Box: box, ExternalURL: url, RedirectURI: redirect,
		Page: func(w http.ResponseWriter, _ *http.Request, page idp.LoginPage) error {
			w.WriteHeader(page.Status)
			_, err := fmt.Fprintf(w, "<form action=%q><input name=request value=%q></form><p>%s</p>", page.Action, page.Request, page.Error)
			return err
		}}
}

func (p *portal) routes() http.Handler {
	provider, err := p.Accounts.Handler()
	if err != nil {
		p.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/idp/", provider)
	mux.HandleFunc("GET /login/{issuer}", func(w http.ResponseWriter, r *http.Request) {
		to, err := p.Begin(r.Context(), r.PathValue("issuer"), r.FormValue("next"), browserOf(p.Service, r))
		p.follow(w, r, to, err)
	})
	mux.HandleFunc("GET /login/{issuer}/callback", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		answer := auth.Callback{State: q.Get("state"), Code: q.Get("code"), Issuer: q.Get("iss"), Error: q.Get("error"), ErrorDescription: q.Get("error_description")}
		to, err := p.Finish(r.Context(), r.PathValue("issuer"), answer, browserOf(p.Service, r))
		p.follow(w, r, to, err)
	})
	mux.HandleFunc("GET /setup/{token}/{issuer}", func(w http.ResponseWriter, r *http.Request) {
		to, err := p.BeginSetup(r.Context(), r.PathValue("token"), r.PathValue("issuer"), browserOf(p.Service, r))
		p.follow(w, r, to, err)
	})
	mux.HandleFunc("POST /logout", p.signedIn(func(w http.ResponseWriter, r *http.Request) {
		to, err := p.End(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		http.SetCookie(w, p.ClearSessionCookie())
		io.WriteString(w, p.LogoutURL(to))
	}))
	mux.HandleFunc("GET /{$}", p.signedIn(func(w http.ResponseWriter, r *http.Request) {
		who := models.PrincipalFrom(r.Context())
		json.NewEncoder(w).Encode(map[string]any{"user": who.UserID, "name": who.Name, "admin": who.Admin, "teams": who.Teams, "session": who.ID})
	}))
	return mux
}

func browserOf(s *auth.Service, r *http.Request) auth.Browser {
	return auth.Browser{Cookies: r.Cookies(), Session: s.SessionCookie(r), UserAgent: r.UserAgent()}
}

func (p *portal) follow(w http.ResponseWriter, r *http.Request, to auth.Redirect, err error) {
	for _, c := range to.Cookies {
		http.SetCookie(w, c)
	}
	if err != nil {
		status := http.StatusInternalServerError
		for code, s := range map[models.Code]int{models.Invalid: 400, models.Unauthorized: 401, models.Denied: 403, models.NotFound: 404, models.Unavailable: 503, models.TooMany: 429} {
			if models.IsCode(err, code) {
				status = s
			}
		}
		http.Error(w, err.Error(), status)
		return
	}
	http.Redirect(w, r, to.URL, http.StatusSeeOther)
}

func (p *portal) signedIn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := p.Authenticate(r.Context(), p.SessionCookie(r))
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		next(w, r.WithContext(models.WithPrincipal(r.Context(), who)))
	}
}

// browser keeps cookies and follows redirects.
type browser struct {
	*http.Client
	p *portal
}

func (p *portal) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return &browser{Client: &http.Client{Jar: jar}, p: p}
}

// stopping returns the same browser, that does not follow redirects.
func (b *browser) stopping() *browser {
	c := *b.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{Client: &c, p: b.p}
}

func (b *browser) get(path string) (*http.Response, string) {
	b.p.t.Helper()
	return b.do(http.MethodGet, path, nil)
}

func (b *browser) do(method, path string, form url.Values) (*http.Response, string) {
	b.p.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = b.p.url + path
	}
	req, err := http.NewRequestWithContext(b.p.t.Context(), method, path, strings.NewReader(form.Encode()))
	if err != nil {
		b.p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := b.Do(req)
	if err != nil {
		b.p.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		b.p.t.Fatal(err)
	}
	return res, string(body)
}

var hidden = regexp.MustCompile(`name=request value="([^"]*)"`)

// signIn goes the whole way with a user name and a password, and returns the last answer.
func (b *browser) signIn(from, userName, password string) (*http.Response, string) {
	b.p.t.Helper()
	res, page := b.get(from)
	found := hidden.FindStringSubmatch(page)
	if found == nil || found[1] == "" {
		b.p.t.Fatalf("no sign-in form at %s: %d %s", res.Request.URL, res.StatusCode, page)
	}
	action := *res.Request.URL
	action.RawQuery = ""
	return b.do(http.MethodPost, action.String(), url.Values{"request": {found[1]}, "user_name": {userName}, "password": {password}})
}

// sessionCookie returns the value of the browser's session cookie.
func (b *browser) sessionCookie() string {
	u, err := url.Parse(b.p.url)
	if err != nil {
		b.p.t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(u) {
		if c.Name == "slipway_session" {
			return c.Value
		}
	}
	return ""
}

const password = "seven unrelated herons"

// firstAdmin sets the portal up and returns the admin's context.
func (p *portal) firstAdmin() *models.User {
	p.t.Helper()
	token, err := p.SetupToken(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	in := idp.NewAccount{UserName: "ada", Name: "Ada", Email: "ada@example.test", Password: password, Again: password}
	if err := p.Setup(p.t.Context(), token, in); err != nil {
		p.t.Fatal(err)
	}
	return p.user("Ada")
}

func (p *portal) user(name string) *models.User {
	p.t.Helper()
	var u models.User
	if err := p.db.Where("name = ?", name).Take(&u).Error; err != nil {
		p.t.Fatalf("the user %s: %v", name, err)
	}
	return &u
}

func (p *portal) count(model any, where ...any) int64 {
	p.t.Helper()
	var n int64
	q := p.db.Model(model)
	if len(where) > 0 {
		q = q.Where(where[0], where[1:]...)
	}
	if err := q.Count(&n).Error; err != nil {
		p.t.Fatal(err)
	}
	return n
}

func mustStatus(t *testing.T, res *http.Response, body string, want int) {
	t.Helper()
	if res.StatusCode != want {
		t.Fatalf("%s answers %d, want %d: %s", res.Request.URL, res.StatusCode, want, body)
	}
}
