package handlers

import (
	"cmp"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
)

// who is a kind of caller.
type who string

// The callers of the matrix. A reader is a maintainer's token that may only read.
const (
	nobody     who = "nobody"
	outsider   who = "outsider" // maintainer of another team
	viewer     who = "viewer"
	developer  who = "developer"
	maintainer who = "maintainer"
	admin      who = "admin"
	reader     who = "reader"
	robot      who = "robot" // a team's token with a developer's role
)

var callers = []who{nobody, outsider, viewer, developer, maintainer, admin, reader, robot}

// need says who may use a route: everyone from a role upwards.
type need string

// The needs. Every other caller is told as little as possible: strangers to
// sign in, people of other teams that there is no such thing, members that
// their role is too low.
const (
	needNothing    need = "nothing"
	needPrincipal  need = "principal"
	needViewer     need = "viewer"
	needDeveloper  need = "developer"
	needMaintainer need = "maintainer"
	needAdmin      need = "admin"
)

// entry is a route of the matrix: how it is called so that it works, and who may.
type entry struct {
	need   need
	url    string // with {places}; empty: the route's own path
	body   string
	status int         // what those who may are answered
	want   map[who]int // where the answer is another one than the need says
}

// expect is the status that the caller should be answered.
func (e entry) expect(method, path string, c who) int {
	if status, ok := e.want[c]; ok {
		return status
	}
	page := !strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/api/docs")
	allowed := cmp.Or(e.status, http.StatusOK)
	switch {
	case e.need == needNothing:
		return allowed
	case c == nobody || (page && (c == reader || c == robot)):
		if page && wantsPage(httptest.NewRequest(method, "/", nil)) && path != "/live" {
			return http.StatusSeeOther // to the sign-in page
		}
		return http.StatusUnauthorized
	case c == reader && (method != http.MethodGet || e.need == needDeveloper || e.need == needMaintainer):
		return http.StatusForbidden // what is not for every viewer needs the scope to write
	case e.need == needAdmin && c != admin:
		return http.StatusForbidden
	case e.need == needPrincipal || e.need == needAdmin || c == admin:
		return allowed
	case c == outsider:
		return http.StatusNotFound
	}
	role := models.Role(c)
	switch c {
	case reader:
		role = models.RoleMaintainer
	case robot:
		role = models.RoleDeveloper
	}
	if !role.AtLeast(models.Role(e.need)) {
		return http.StatusForbidden
	}
	return allowed
}

// matrix is every route of the portal. A route that is not here fails the test.
var matrix = func() map[string]entry {
	all := map[string]entry{}
	for _, part := range []map[string]entry{systemRoutes, apiRoutes, peopleRoutes, portalRoutes} {
		for route, e := range part {
			all[route] = e
		}
	}
	return all
}()

// streams never end by themselves; their own tests are in router_test.go and api_test.go.
var streams = []string{"GET /live", "GET /api/v1/events"}

// routesOf returns the routes that are registered.
func routesOf(f *fixture) []string {
	var out []string
	for _, r := range f.site.routes.echo.Routes() {
		if r.Method != echo.RouteNotFound {
			out = append(out, r.Method+" "+r.Path)
		}
	}
	slices.Sort(out)
	return out
}

func TestEveryRouteStandsInTheMatrix(t *testing.T) {
	t.Parallel()
	registered := routesOf(newFixture(t))
	for _, route := range registered {
		if _, ok := matrix[route]; !ok && !slices.Contains(streams, route) {
			t.Errorf("%q has no entry: say who may call it", route)
		}
	}
	for route := range matrix {
		if !slices.Contains(registered, route) {
			t.Errorf("%q is no route", route)
		}
	}
}

// caller is how a caller of the matrix shows who it is.
func (f *full) caller(c who) (cookie *http.Cookie, token string) {
	users := map[who]*models.User{outsider: f.Stranger, viewer: f.Viewer, developer: f.Developer, maintainer: f.Maintainer, admin: f.Admin}
	switch {
	case c == nobody:
		return nil, ""
	case c == reader:
		return nil, f.token(f.Maintainer, models.ScopeRead)
	case c == robot:
		return nil, f.teamToken(models.RoleDeveloper)
	}
	return f.cookie(users[c]), ""
}

// request is the entry's request as the caller sends it.
func (f *full) request(route string, e entry) ask {
	method, path, _ := strings.Cut(route, " ")
	return ask{method: method, path: f.fill(cmp.Or(e.url, path)), body: f.fill(e.body)}
}

func TestWhoMayCallWhat(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	cookies, tokens := map[who]*http.Cookie{}, map[who]string{}
	for _, c := range callers {
		cookies[c], tokens[c] = f.caller(c)
	}
	changed, sent := f.watch(), 0
	for _, route := range routesOf(f.fixture) {
		e, ok := matrix[route]
		if !ok {
			continue
		}
		method, path, _ := strings.Cut(route, " ")
		for _, c := range callers {
			a := f.request(route, e)
			a.cookie, a.token = cookies[c], tokens[c]
			sent++
			a.peer = fmt.Sprintf("198.51.%d.%d:9", sent/250, sent%250) // limits by address are not the matter here
			w := f.send(a)
			want := e.expect(method, path, c)
			if w.Code != want {
				t.Errorf("%s as %s: got %d, want %d: %.300s", route, c, w.Code, want, w.Body)
			}
			if changed() && (method == http.MethodGet || w.Code >= 400 || !allows(e, method, path, c)) {
				t.Errorf("%s as %s was answered %d and changed what is stored", route, c, w.Code)
			}
		}
	}
}

// allows tells whether the caller is one of those who may.
func allows(e entry, method, path string, c who) bool {
	if _, ok := e.want[c]; ok {
		return true
	}
	return e.need == needNothing || c == admin || (c != nobody && c != outsider || e.need == needPrincipal) && e.expect(method, path, c) < 400
}

func TestNoRouteThatWritesTakesARequestOfAnotherSite(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	cookie, _ := f.caller(admin)
	before := f.state()
	for _, route := range routesOf(f.fixture) {
		a := f.request(route, matrix[route])
		if a.method == http.MethodGet {
			continue
		}
		a.cookie = cookie
		for _, header := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.test"}, {"Origin": "null"}} {
			a.header = header
			if w := f.send(a); w.Code != http.StatusForbidden {
				t.Errorf("%s with %v: %d", route, header, w.Code)
			}
		}
	}
	if f.state() != before {
		t.Error("something was changed")
	}
}

var requestID = regexp.MustCompile(`[A-Z2-7]{16}`)

func TestWhatIsForbiddenAndWhatIsNotThereLookTheSame(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	cookie, _ := f.caller(outsider)
	for _, route := range routesOf(f.fixture) {
		e := matrix[route]
		if !slices.Contains([]need{needViewer, needDeveloper, needMaintainer}, e.need) || e.want[outsider] != 0 {
			continue
		}
		a := f.request(route, e)
		a.cookie = cookie
		there := f.send(a)
		gone := a
		for place, value := range f.places {
			if strings.Contains(cmp.Or(e.url, route), "{"+place+"}") {
				gone.path = strings.ReplaceAll(gone.path, value, absent(value))
			}
		}
		if gone.path == a.path {
			continue
		}
		missing := f.send(gone)
		plain := func(w *httptest.ResponseRecorder, path string) string {
			path, query, _ := strings.Cut(path, "?")
			body := strings.ReplaceAll(w.Body.String(), path, "")
			if query != "" { // pages keep it for the way back
				body = strings.ReplaceAll(body, html.EscapeString(query), "")
			}
			return fmt.Sprint(w.Code, requestID.ReplaceAllString(body, ""))
		}
		if x, y := plain(there, a.path), plain(missing, gone.path); x != y {
			t.Errorf("%s: what another team has:\n%s\nwhat nobody has:\n%s", route, x, y)
		}
	}
}

// absent is a name of the same form that nothing has.
func absent(value string) string {
	if strings.HasPrefix(value, "sha256:") {
		return "sha256:" + strings.Repeat("0", 64)
	}
	if len(value) == 36 {
		return models.NewID()
	}
	return "nothing"
}

func TestNoAnswerHoldsASecret(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	for _, c := range callers {
		cookie, token := f.caller(c)
		for _, route := range routesOf(f.fixture) {
			a := f.request(route, matrix[route])
			if a.method != http.MethodGet || slices.Contains(streams, route) {
				continue
			}
			a.cookie, a.token = cookie, token
			w := f.send(a)
			if strings.Contains(w.Body.String()+fmt.Sprint(w.Header()), canary) {
				t.Errorf("%s as %s tells a secret", route, c)
			}
		}
	}
	a := ask{path: f.fill("/api/v1/repositories/{private repository}"), cookie: f.cookie(f.Admin)}
	if w := f.send(a); w.Code != 200 || strings.Contains(w.Body.String(), canary) {
		t.Errorf("a repository with a credential: %d %s", w.Code, w.Body)
	}
}
