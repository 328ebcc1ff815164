package handlers

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

// variablesPage is the pages of variables as a developer uses them.
type variablesPage struct {
	*full
	cookie *http.Cookie
	at     string
}

func (p *variablesPage) get(path string) string {
	p.t.Helper()
	w := p.send(ask{path: p.at + path, cookie: p.cookie})
	if w.Code != http.StatusOK {
		p.t.Fatalf("%s: %d %.300s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// post sends the form and returns what comes then: the page, or where it leads.
func (p *variablesPage) post(want int, path string, form url.Values) string {
	p.t.Helper()
	w := p.send(ask{method: http.MethodPost, path: path, body: form.Encode(), cookie: p.cookie})
	if w.Code != want {
		p.t.Fatalf("%s: %d %.300s", path, w.Code, w.Body)
	}
	return w.Body.String() + w.Header().Get("Location")
}

// field is the value of the page's first input of the name.
func (p *variablesPage) field(page, name string) string {
	p.t.Helper()
	found := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(page)
	if found == nil {
		p.t.Fatalf("the page has no %s", name)
	}
	return html.UnescapeString(found[1])
}

func TestAPersonEditsVariablesSeesWhatWaitsAndPutsThemBack(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	for fresh, at := range map[string]string{"FRESH_HERE": "/environments/" + f.Environment.ID + "/variables", "FRESH_IN_ALL": "/teams/payments/variables"} {
		name := "LEVEL_" + fresh
		p := &variablesPage{f, f.cookie(f.Developer), at}
		p.post(303, at, url.Values{"name": {name}, "value": {"info\r\nmore"}, "revision": {""}})
		page := p.get("")
		for _, want := range []string{name, "info\nmore", "not rolled out yet", "Deploy", "secret", "KEY"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s does not say %q", at, want)
			}
		}
		edit := p.get("?name=" + name)
		old := p.field(edit, "revision")
		p.post(303, at, url.Values{"name": {name}, "value": {"debug"}, "revision": {old}})
		again := p.post(409, at, url.Values{"name": {name}, "value": {"trace"}, "revision": {old}})
		if !strings.Contains(again, "was changed since you looked") || !strings.Contains(again, "trace") || p.field(again, "revision") == old {
			t.Errorf("%s: a second person is told %.200s", at, again)
		}
		if twice := p.post(409, at, url.Values{"name": {name}, "value": {"x"}, "revision": {""}}); !strings.Contains(twice, "Change "+name) {
			t.Errorf("%s: adding what is there shows %.200s", at, twice)
		}
		history := p.get("/history?name=" + name)
		change := regexp.MustCompile(`/variable-changes/[^/"]+/undo`).FindString(history)
		p.post(409, change, url.Values{"revision": {old}})
		p.post(303, change, url.Values{"revision": {p.field(history, "revision")}})
		if page := p.get("?q=level"); !strings.Contains(page, "info\nmore") || strings.Contains(page, ">KEY<") {
			t.Errorf("%s: put back it shows %.300s", at, page)
		}
		if text := p.get("/export"); !strings.Contains(text, name+"=\"info\\nmore\"\n") || !strings.Contains(text, "# KEY is a secret") || strings.Contains(text, canary) {
			t.Errorf("%s: the export is %q", at, text)
		}
		seen := p.post(200, at+"/preview", url.Values{"text": {p.get("/export") + fresh + "=1\nKEY=" + canary}, "delete": {"true"}})
		if !strings.Contains(seen, fresh) || strings.Contains(seen, canary) {
			t.Errorf("%s: the preview is %.300s", at, seen)
		}
		p.post(303, at+"/import", url.Values{"sealed": {p.field(seen, "sealed")}})
		p.post(409, at+"/import", url.Values{"sealed": {p.field(seen, "sealed")}})
		if page := p.get(""); !strings.Contains(page, fresh) {
			t.Errorf("%s: what was imported is not there", at)
		}
		p.cookie = f.cookie(f.Maintainer)
		p.post(303, at+"/forget", url.Values{"name": {name}})
		if history := p.get("/history?name=" + name); !strings.Contains(history, "values forgotten") {
			t.Errorf("%s: after forgetting the history is %.300s", at, history)
		}
	}
}

func TestATextThatNeedsAttentionIsKeptUnlessItMayHoldASecret(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	p := &variablesPage{f, f.cookie(f.Developer), "/teams/payments/variables"}
	if page := p.post(422, p.at+"/preview", url.Values{"text": {"A=typed\nbad"}}); !strings.Contains(page, "A=typed") || !strings.Contains(page, "Line 2") {
		t.Errorf("it shows %.300s", page)
	}
	for _, form := range []url.Values{{"text": {"KEY=typed\nbad"}}, {"text": {"A=typed\nbad"}, "secrets": {"true"}}} {
		if page := p.post(422, p.at+"/preview", form); strings.Contains(page, "typed") || !strings.Contains(page, "not sent back") {
			t.Errorf("%v comes back", form)
		}
	}
}

func TestTheAPITellsWhatAnAppGetsAndChangesOnlyWhatWasLookedAt(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	ctx := modelstest.As(t, f.db, f.Developer)
	for _, in := range []deploy.VariableInput{{TeamID: f.Team.ID, Name: "LEVEL", Value: "info"}, {EnvironmentID: f.Environment.ID, AppID: f.App.ID, Name: "LEVEL", Value: "debug"}} {
		_, err := f.s.Deploy.SetVariable(ctx, in)
		f.must(err)
	}
	cookie, call := f.cookie(f.Developer), "/api/v1/environments/"+f.Environment.ID
	w := f.send(ask{path: call + "/settings?q=level&app_id=" + f.App.ID, cookie: cookie})
	for _, want := range []string{`"level":"app"`, `"value":"debug"`, `"overrides":[{`, `"value":"info"`, `"not_rolled_out":["` + f.App.ID + `"]`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("it does not say %s: %s", want, w.Body)
		}
	}
	for body, want := range map[string]int{`{"value":"1","revision":""}`: 409, `{"value":"1","revision":"other"}`: 409, `{"value":"1"}`: 200} {
		if w := f.send(ask{method: "PUT", path: "/api/v1/teams/payments/variables/LEVEL", body: body, cookie: cookie}); w.Code != want {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if w := f.send(ask{method: "DELETE", path: "/api/v1/teams/payments/variables/LEVEL?revision=other", cookie: cookie}); w.Code != 409 {
		t.Errorf("deleting another revision: %d", w.Code)
	}
	if w := f.send(ask{method: "POST", path: call + "/variables", body: `{"text":"NEW=1","dry_run":true}`, cookie: cookie}); !strings.Contains(w.Body.String(), `"change":"added"`) {
		t.Errorf("a dry run: %s", w.Body)
	}
	if w := f.send(ask{path: call + "/variables", cookie: cookie}); strings.Contains(w.Body.String(), `"NEW"`) {
		t.Error("the dry run has set it")
	}
}
