package handlers

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/logs"
)

func TestABodyWithoutALengthIsCutAtTheLimit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, headers := range []map[string]string{{}, {"Idempotency-Key": "k"}} {
		// So little is too much that all of it is sent: a client that still writes when the server hangs up may miss the answer.
		r, err := http.NewRequestWithContext(t.Context(), "POST", f.url+"/api/v1/teams", io.LimitReader(zeros{}, maxBody+64<<10))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+f.token(f.Viewer, models.ScopeRead, models.ScopeWrite))
		r.Header.Set("Content-Type", "application/json")
		for name, value := range headers {
			r.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("with %v: %d", headers, resp.StatusCode)
		}
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// decode reads an answer's JSON.
func decode[T any](t *testing.T, b []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

func TestListsArePagedByACursor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.token(f.Admin, models.ScopeRead, models.ScopeWrite, models.ScopeAdmin)
	path, seen := "/api/v1/users?limit=2", map[string]bool{}
	for range 3 {
		w := f.send(ask{path: path, token: token})
		list := decode[struct {
			Items []struct{ ID string }
			Next  string
		}](t, w.Body.Bytes())
		if w.Code != 200 || len(list.Items) == 0 || len(list.Items) > 2 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		for _, u := range list.Items {
			seen[u.ID] = true
		}
		path = "/api/v1/users?limit=2&cursor=" + list.Next
		if list.Next == "" {
			break
		}
	}
	if len(seen) != 5 {
		t.Errorf("saw %d users", len(seen))
	}
	for _, bad := range []string{"limit=0", "limit=101", "limit=x", "sort=hash", "cursor=" + strings.Repeat("x", 300)} {
		if w := f.send(ask{path: "/api/v1/users?" + bad, token: token}); w.Code != 422 || !strings.Contains(w.Body.String(), "query.") {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
}

func TestBadBodiesAreAnsweredWithTheFieldThatIsWrong(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.token(f.Maintainer, models.ScopeRead, models.ScopeWrite)
	for _, c := range []struct {
		name, path, body string
		status           int
		contains         string
	}{
		{"not JSON", "/api/v1/teams", `{"slug":`, 400, `"location":"body"`},
		{"no body", "/api/v1/teams", "", 400, "needs a JSON body"},
		{"an unknown field", "/api/v1/teams", `{"slug":"a","colour":"red"}`, 422, `"location":"body.colour"`},
		{"a missing field", "/api/v1/teams", `{"name":"a"}`, 422, `slug`},
		{"a wrong type", "/api/v1/apps", `{"repository_id":"x","port":"CANARY"}`, 422, `"location":"body.port"`},
		{"what the service refuses", "/api/v1/teams", `{"slug":"NOT A SLUG"}`, 422, `"location":"body.slug"`},
		{"what exists", "/api/v1/teams", `{"slug":"payments"}`, 409, `"code":"conflict"`},
	} {
		w := f.send(ask{method: "POST", path: c.path, body: c.body, token: token})
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.contains) || strings.Contains(w.Body.String(), "CANARY") {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	w := f.send(ask{method: "POST", path: "/api/v1/teams", body: "slug=a", token: token, header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}})
	if w.Code != 415 {
		t.Errorf("a form: %d %s", w.Code, w.Body)
	}
}

func TestWhatHasNotChangedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := ask{path: "/api/v1/teams/payments", token: f.token(f.Viewer, models.ScopeRead)}
	first := f.send(a)
	tag := first.Header().Get("ETag")
	if first.Code != 200 || tag == "" {
		t.Fatalf("%d %v", first.Code, first.Header())
	}
	for _, have := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
		a.header = map[string]string{"If-None-Match": have}
		if w := f.send(a); w.Code != 304 || w.Body.Len() != 0 || w.Header().Get("ETag") != tag {
			t.Errorf("having %s: %d %s", have, w.Code, w.Body)
		}
	}
	if err := f.db.Model(f.Team).Update("name", "Money").Error; err != nil {
		t.Fatal(err)
	}
	a.header = map[string]string{"If-None-Match": tag}
	if w := f.send(a); w.Code != 200 || w.Header().Get("ETag") == tag {
		t.Errorf("after a change: %d %v", w.Code, w.Header())
	}
}

func TestARepeatedPOSTStartsNothingTwice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.token(f.Maintainer, models.ScopeRead, models.ScopeWrite)
	post := func(key, body string) (int, string, string) {
		w := f.send(ask{method: "POST", path: "/api/v1/teams", body: body, token: token, header: map[string]string{"Idempotency-Key": key}})
		return w.Code, w.Body.String(), w.Header().Get("Idempotency-Replayed")
	}
	code, first, _ := post("one", `{"slug":"crew"}`)
	if code != 201 {
		t.Fatalf("%d %s", code, first)
	}
	if code, again, replayed := post("one", `{"slug":"crew"}`); code != 201 || again != first || replayed != "true" {
		t.Errorf("the same call: %d %s %s", code, again, replayed)
	}
	if code, body, _ := post("one", `{"slug":"gang"}`); code != 422 {
		t.Errorf("another body: %d %s", code, body)
	}
	if code, body, _ := post("two", `{"slug":"crew"}`); code != 409 {
		t.Errorf("another key: %d %s", code, body)
	}
	if code, body, _ := post("two", `{"slug":"bunch"}`); code != 201 {
		t.Errorf("a key whose first call failed: %d %s", code, body)
	}
	var teams int64
	if f.db.Model(&models.Team{}).Count(&teams); teams != 4 {
		t.Errorf("%d teams", teams)
	}
}

func TestTheOpenAPIDocumentDescribesEveryCall(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.send(ask{path: "/api/openapi.json", token: f.token(f.Viewer, models.ScopeRead)})
	doc := decode[struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Summary     string
			Responses   map[string]any
		}
	}](t, w.Body.Bytes())
	if w.Code != 200 || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%d, OpenAPI %s", w.Code, doc.OpenAPI)
	}
	ids := map[string]bool{}
	for _, r := range f.site.routes.echo.Routes() {
		if !strings.HasPrefix(r.Path, "/api/v1/") {
			continue
		}
		op, ok := doc.Paths[openPath(r.Path)][strings.ToLower(r.Method)]
		if !ok || op.Summary == "" || op.Responses["default"] == nil || ids[op.OperationID] {
			t.Errorf("%s %s is not described: %+v", r.Method, r.Path, op)
		}
		ids[op.OperationID] = true
	}
	if strings.Contains(w.Body.String(), "ErrorModel") {
		t.Error("the document describes errors in a form that is never sent")
	}
}

// openPath writes :id as {id}.
func openPath(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.Join(parts, "/")
}

// writeLog writes lines to the seeded build's log.
func (f *fixture) writeLog(text ...string) *logs.Writer {
	f.t.Helper()
	w, err := f.s.Builds.Logs.Open(f.t.Context(), f.Build.ID, logs.KindBuild, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, line := range text {
		w.Write("step", logs.Stdout, time.Now(), []byte(line+"\n"))
	}
	return w
}

func TestALogIsReadWholeOrFollowedAndResumedByLine(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.token(f.Viewer, models.ScopeRead)
	path := "/api/v1/builds/" + f.Build.ID + "/logs"
	w := f.writeLog("one", "two \x1b[31mred\x1b[0m")
	s := follow(t, f, path, map[string]string{"Authorization": "Bearer " + token, "Accept": "text/event-stream", "Last-Event-ID": "1"})
	if id, _, data, _ := s.next(); id != "2" || data != "two \x1b[31mred\x1b[0m" {
		t.Errorf("the line after the first: %q %q", id, data)
	}
	w.Write("step", logs.Stdout, time.Now(), []byte("three\n"))
	w.Close(t.Context())
	if id, _, data, _ := s.next(); id != "3" || data != "three" {
		t.Errorf("what came later: %q %q", id, data)
	}
	if _, event, data, _ := s.next(); event != "end" || data != "queued" {
		t.Errorf("the end: %q %q", event, data)
	}
	if _, _, _, ok := s.next(); ok {
		t.Error("the stream goes on after its end")
	}
	whole := f.send(ask{path: path, token: token})
	if whole.Code != 200 || whole.Body.String() != "one\ntwo \x1b[31mred\x1b[0m\nthree\n" || whole.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("whole: %d %v %q", whole.Code, whole.Header(), whole.Body)
	}
	again := follow(t, f, path+"?after=2&format=json", map[string]string{"Authorization": "Bearer " + token, "Accept": "text/event-stream"})
	if id, _, data, _ := again.next(); id != "3" || !strings.Contains(data, `"text":"three"`) {
		t.Errorf("in JSON: %q %q", id, data)
	}
}

func TestALogStreamIsRefusedToThoseWhoMayNotSeeTheBuildAndEndsWithTheRight(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(_ *Services, o *Options) { o.Recheck = 50 * time.Millisecond })
	path := "/api/v1/builds/" + f.Build.ID + "/logs"
	for name, c := range map[string]struct {
		token  string
		status int
	}{
		"a stranger":        {"", 401},
		"another team":      {f.token(f.Stranger, models.ScopeRead), 404},
		"a registry token":  {f.token(f.Viewer, models.ScopeRegistryRead), 403},
		"a token that ends": {"slp_ended", 401},
	} {
		for _, last := range []string{"", "1"} {
			w := f.send(ask{path: path, token: c.token, header: map[string]string{"Accept": "text/event-stream", "Last-Event-ID": last}})
			if w.Code != c.status || !strings.Contains(w.Header().Get("Content-Type"), "problem+json") {
				t.Errorf("%s resuming after %q: %d %s", name, last, w.Code, w.Body)
			}
		}
	}
	open := f.writeLog("one")
	defer open.Close(t.Context())
	s := follow(t, f, path, map[string]string{"Authorization": "Bearer " + f.token(f.Viewer, models.ScopeRead), "Accept": "text/event-stream"})
	if _, _, data, ok := s.next(); !ok || data != "one" {
		t.Fatalf("the first line: %q %v", data, ok)
	}
	if err := f.db.Where("user_id = ?", f.Viewer.ID).Delete(&models.Member{}).Error; err != nil {
		t.Fatal(err)
	}
	if _, event, _, ok := s.next(); ok {
		t.Errorf("the stream went on with %q after its reader left the team", event)
	}
}
