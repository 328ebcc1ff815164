package handlers

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/workload"
	"slipway.dev/services/workload/workloadtest"
)

// workloadToken is the credential of a run that the app trusts.
func (f *full) workloadToken() string {
	f.t.Helper()
	now := f.db.NowFunc()
	expires := now.Add(15 * time.Minute) // a test asks for every route with it
	const file = ".github/workflows/slipway-checkout.yml"
	x := &models.Exchange{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, Granted: true, Issuer: "https://issuer.example.test", Repository: "acme/shop", GitHubID: 42,
		Ref: "refs/heads/main", Event: "push", Workflow: "acme/shop/" + file + "@refs/heads/main", RunID: 9, RunAttempt: 1, ExpiresAt: &expires, CreatedAt: now}
	f.create(x)
	p := &models.Principal{Kind: models.PrincipalWorkload, ID: x.ID, Scopes: []models.Scope{}, Repository: "payments/checkout"}
	_, password, err := f.s.Registry.Credential(models.WithPrincipal(f.t.Context(), p), "payments/checkout", []string{"pull", "push"}, 15*time.Minute)
	f.must(err)
	return password
}

func TestARunsCredentialOpensNothingButItsReport(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	token := f.workloadToken()
	before := f.state()
	for _, route := range routesOf(f.fixture) {
		e := matrix[route]
		if route == "POST /api/v1/workflow-runs" || slices.Contains(streams, route) || e.need == needNothing {
			continue
		}
		a := f.request(route, e)
		a.token = token
		if w := f.send(a); w.Code < 300 || w.Code == http.StatusSeeOther && !strings.HasPrefix(w.Header().Get("Location"), "/login") {
			t.Errorf("%s is answered %d to a run", route, w.Code)
		}
	}
	if f.state() != before {
		t.Error("a run changed something")
	}
	report := ask{method: http.MethodPost, path: "/api/v1/workflow-runs", token: token,
		body: `{"commit":"` + f.Build.Commit + `","image":"` + f.host + `/payments/checkout","digest":"` + f.places["digest"] + `"}`}
	if w := f.send(report); w.Code != http.StatusCreated {
		t.Errorf("its report: %d %s", w.Code, w.Body)
	}
	report.token = f.token(f.Maintainer, models.ScopeWrite)
	if w := f.send(report); w.Code != http.StatusForbidden {
		t.Errorf("the report of a person: %d", w.Code)
	}
	system := models.WithPrincipal(t.Context(), models.System("worker"))
	_, builder, err := f.s.Registry.Credential(system, "payments/checkout", []string{"pull"}, time.Minute)
	f.must(err)
	if w := f.send(ask{path: "/api/v1/me", token: builder}); w.Code != http.StatusUnauthorized {
		t.Errorf("a build's credential at the API: %d", w.Code)
	}
	f.must(f.db.Where("app_id = ?", f.App.ID).Delete(&models.Workflow{}).Error)
	report.token = token
	if w := f.send(report); w.Code != http.StatusUnauthorized {
		t.Errorf("after the trust has ended: %d", w.Code)
	}
}

func TestTheTokenEndpointAnswersAsItsStandardsSay(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	issuer := workloadtest.New(t)
	f.s.Workloads.Issuers = []string{issuer.URL}
	f.must(f.db.Model(&models.Workflow{}).Where("app_id = ?", f.App.ID).Update("issuer", issuer.URL).Error)
	good := func() string {
		return "grant_type=" + workload.GrantType + "&subject_token_type=" + workload.TypeJWT + "&subject_token=" + issuer.Token(f.s.Workloads.External, nil)
	}
	post := func(path, body string) (int, map[string]any, http.Header) {
		t.Helper()
		w := f.send(ask{method: http.MethodPost, path: path, body: body})
		var out map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Code, out, w.Header()
	}
	status, out, header := post("/oauth/token", good())
	if status != http.StatusOK || out["token_type"] != "Bearer" || out["issued_token_type"] != workload.TypeAccessToken || out["expires_in"] != 900.0 ||
		out["scope"] != "repository:payments/checkout:pull,push" || out["access_token"] == "" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %v", status, out, header)
	}
	for _, c := range []struct{ path, body, code string }{
		{"/oauth/token", "grant_type=password", "unsupported_grant_type"},
		{"/oauth/token", "", "unsupported_grant_type"},
		{"/oauth/token", good() + "&scope=repository:payments/till:push", "invalid_scope"},
		{"/oauth/token", good() + "&resource=https://evil.example.test/x", "invalid_target"},
		{"/oauth/token", good() + "&audience=other", "invalid_target"},
		{"/oauth/token", strings.Replace(good(), "subject_token=", "subject_token=x", 1), "invalid_request"},
		{"/oauth/token", good() + "&subject_token=x", "invalid_request"},
		{"/oauth/token?" + good(), "", "unsupported_grant_type"}, // nothing is read from the address
	} {
		status, out, _ := post(c.path, c.body)
		if status != http.StatusBadRequest || out["error"] != c.code || out["access_token"] != nil || out["error_description"] == "" {
			t.Errorf("%s: %d %v, want %s", c.body, status, out, c.code)
		}
	}
	if w := f.send(ask{path: "/oauth/token"}); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
}
