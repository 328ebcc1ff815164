package handlers

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/forges"
	"slipway.dev/services/hooks"
)

// hooked is a fixture with a connection and the secret of its webhooks.
func hooked(t *testing.T) (f *full, id, secret string) {
	t.Helper()
	f = newFull(t)
	c, secret, err := f.s.Forges.Create(modelstest.As(t, f.db, f.Maintainer), forges.NewConnection{Team: "payments", Kind: models.ForgeGitHub, Name: "hooked"})
	f.must(err)
	return f, c.ID, secret
}

// hook is a webhook of GitHub, signed with the secret.
func hook(id, secret, body string) ask {
	mac := hmac.New(sha256.New, []byte(secret))
	io.WriteString(mac, body)
	return ask{method: "POST", path: "/hooks/" + id, body: body, header: map[string]string{"Content-Type": "application/json", "Accept": "*/*",
		"X-GitHub-Event": "push", "X-GitHub-Delivery": "d-" + fmt.Sprint(len(body)), "X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil))}}
}

func TestAWebhookIsAnsweredOnceItIsStored(t *testing.T) {
	t.Parallel()
	f, id, secret := hooked(t)
	w := f.send(hook(id, secret, `{"ref":"refs/heads/main"}`))
	var told struct{ ID, Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || w.Code != http.StatusAccepted || told.Message != "received" {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	var n int64
	if f.must(f.db.Model(&models.Delivery{}).Where("id = ?", told.ID).Count(&n).Error); n != 1 {
		t.Errorf("%d rows", n)
	}
	before := f.state()
	if w := f.send(hook(id, secret, `{"ref":"refs/heads/main"}`)); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "already received") || !strings.Contains(w.Body.String(), told.ID) {
		t.Errorf("again: %d %s", w.Code, w.Body)
	}
	if f.state() != before {
		t.Error("what was received before changed something")
	}
}

func TestAWebhookThatIsNotSignedRightChangesNothingAndLearnsNothing(t *testing.T) {
	t.Parallel()
	f, id, secret := hooked(t)
	before := f.state()
	answers := map[string]bool{}
	for name, a := range map[string]ask{
		"unsigned": {method: "POST", path: "/hooks/" + id, body: "{}"}, "wrong": hook(id, "whsec_no", "{}"), "of no connection": hook(models.NewID(), secret, "{}"),
		"of no id": hook("x", secret, "{}"), "in the query": {method: "POST", path: "/hooks/" + id + "?token=" + secret, body: "{}"},
	} {
		w := f.send(a)
		path, _, _ := strings.Cut(a.path, "?")
		answers[strings.ReplaceAll(requestID.ReplaceAllString(w.Body.String(), ""), path, "")] = true
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
	if f.state() != before {
		t.Error("something was written")
	}
}

func TestGuessingSignaturesIsSlowedDownAndRightOnesAreNot(t *testing.T) {
	t.Parallel()
	f, id, secret := hooked(t)
	slowed := false
	for range 40 {
		a := hook(id, "whsec_no", "{}")
		a.peer = "203.0.113.9:1"
		slowed = slowed || f.send(a).Code == http.StatusTooManyRequests
	}
	right := hook(id, secret, "{}")
	right.peer = "203.0.113.9:1"
	if w := f.send(right); !slowed || w.Code != http.StatusAccepted {
		t.Errorf("slowed down: %v, the right one: %d", slowed, w.Code)
	}
}

// endless is a body without end.
type endless struct{ read atomic.Int64 } // the transport reads on while the answer is looked at

func (z *endless) Read(p []byte) (int, error) {
	clear(p)
	z.read.Add(int64(len(p)))
	return len(p), nil
}

func TestAWebhookThatIsTooLargeIsRefusedInBoundedMemory(t *testing.T) {
	f, id, _ := hooked(t)
	for _, declared := range []int64{100 << 20, -1} {
		body := &endless{}
		r, err := http.NewRequest("POST", f.url+"/hooks/"+id, io.LimitReader(body, 100<<20))
		f.must(err)
		r.ContentLength = declared
		r.Header.Set("X-Hub-Signature-256", "sha256=00")
		answer, err := http.DefaultClient.Do(r)
		if n := body.read.Load(); n > 40<<20 {
			t.Errorf("declared %d: %d bytes were taken", declared, n)
		}
		if err != nil { // the server stopped listening before all was sent
			continue
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("declared %d: %d", declared, answer.StatusCode)
		}
	}
	large := bytes.Repeat([]byte(" "), hooks.MaxBody+1)
	if w := f.send(ask{method: "POST", path: "/hooks/" + id, body: string(large), header: map[string]string{"X-Hub-Signature-256": "sha256=00"}}); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("one byte too many: %d", w.Code)
	}
	if w := f.send(ask{method: "GET", path: "/hooks/" + id}); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
}

func TestTriggersThatNeedAttentionStayAsTheyWereTyped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/apps/" + f.App.ID + "/triggers"
	w := f.send(ask{method: "POST", path: path, cookie: f.cookie(f.Developer), header: form, body: "branches=main%0D%0A%5Ba&pull_requests=same"})
	if page := w.Body.String(); w.Code != http.StatusUnprocessableEntity || !strings.Contains(page, `id="f-branches-error"`) || !strings.Contains(page, "[a") {
		t.Errorf("got %d", w.Code)
	}
	if w := f.send(ask{method: "POST", path: path, cookie: f.cookie(f.Developer), header: form, body: "push=true&branches=main%0D%0Arelease%2F*&paths=&pull_requests=forks"}); w.Code != http.StatusSeeOther {
		t.Fatalf("got %d", w.Code)
	}
	var app models.App
	if err := f.db.Take(&app, "id = ?", f.App.ID).Error; err != nil {
		t.Fatal(err)
	}
	if !app.Push || app.SkipMarkers || fmt.Sprint(app.Branches, app.Paths) != "[main release/*] []" || app.PullRequests != models.PullRequestsForks {
		t.Errorf("got %+v", app.Triggers)
	}
}

func TestAnApprovalIsOfTheCommitThatThePageShows(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	page := f.send(ask{path: f.fill("/builds/{waiting build}"), cookie: f.cookie(f.Developer)}).Body.String()
	if !strings.Contains(page, `name="commit" value="`+f.Build.Commit+`"`) || !strings.Contains(page, "Needs approval") {
		t.Error("the page does not ask for an approval of the commit")
	}
	if page := f.send(ask{path: f.fill("/builds/{waiting build}"), cookie: f.cookie(f.Viewer)}).Body.String(); strings.Contains(page, "/approve\"") {
		t.Error("a viewer is offered to approve")
	}
	if home := f.send(ask{path: "/", cookie: f.cookie(f.Developer)}).Body.String(); !strings.Contains(home, "waits for approval") {
		t.Error("the first page does not tell of it")
	}
	w := f.send(ask{method: "POST", path: f.fill("/api/v1/builds/{waiting build}/approve"), cookie: f.cookie(f.Developer), body: `{"commit":"` + strings.Repeat("a", 40) + `"}`})
	if w.Code != http.StatusUnprocessableEntity {
		t.Errorf("another commit: %d %s", w.Code, w.Body)
	}
}
