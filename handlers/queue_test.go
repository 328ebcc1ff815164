package handlers

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"slipway.dev/models"
)

func TestAPageAndTheAPISayTheSameOfABuildThatWaits(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	cookie := f.cookie(f.Admin)
	f.must(f.db.Model(f.Build).Update("state", models.BuildCanceled).Error)
	for _, step := range []struct {
		change func() error
		want   string
	}{
		{func() error { return nil }, "A worker takes this build in a moment."},
		{func() error { return f.db.Model(f.Build).Update("state", models.BuildQueued).Error },
			"1 build goes before this one: checkout #1; workers take them in a moment."},
		{func() error {
			return f.db.Model(&models.Worker{}).Where("id = ?", f.places["worker"]).Update("draining", true).Error
		},
			"Every worker drains, so nothing takes this build until an admin resumes one or starts another."},
		{func() error { return f.db.Model(f.App).UpdateColumn("worker_labels", models.Labels{"gpu"}).Error },
			"No running worker has the label gpu that the app asks for: start one with SLIPWAY_WORKER_LABELS=gpu, or change the app's settings."},
		{func() error { return f.db.Exec("DELETE FROM workers").Error },
			"No worker is running, so nothing takes this build: start one with slipway worker, or slipway serve without --workers=false."},
	} {
		f.must(step.change())
		f.saysEverywhere(cookie, step.want)
	}
}

// words is the text of a page, as a reader sees it.
func words(t testing.TB, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.TextNode {
			text.WriteString(n.Data)
		}
	}
	return strings.Join(strings.Fields(text.String()), " ")
}

// saysEverywhere looks for the reason on the build's page, on the queue's, and in both calls.
func (f *full) saysEverywhere(cookie *http.Cookie, reason string) {
	f.t.Helper()
	id := f.places["queued build"]
	for _, path := range []string{"/builds/" + id, "/admin/queue"} {
		w := f.send(ask{path: path, cookie: cookie})
		if text := words(f.t, w.Body.String()); w.Code != http.StatusOK || !strings.Contains(text, reason) {
			f.t.Errorf("%s answers %d and does not say %q:\n%s", path, w.Code, reason, text)
		}
	}
	var build struct {
		WaitingFor string `json:"waiting_for"`
	}
	w := f.send(ask{path: "/api/v1/builds/" + id, cookie: cookie})
	if err := json.Unmarshal(w.Body.Bytes(), &build); err != nil || build.WaitingFor != reason {
		f.t.Errorf("the API says %q, error %v, not %q", build.WaitingFor, err, reason)
	}
	var queue struct {
		Waiting []struct {
			ID         string `json:"id"`
			WaitingFor string `json:"waiting_for"`
		} `json:"waiting"`
	}
	w = f.send(ask{path: "/api/v1/queue", cookie: cookie})
	f.must(json.Unmarshal(w.Body.Bytes(), &queue))
	for _, q := range queue.Waiting {
		if q.ID == id && q.WaitingFor == reason {
			return
		}
	}
	f.t.Errorf("the queue in the API does not say %q: %s", reason, w.Body)
}

func TestAnAdminActsOnTheQueueFromItsPage(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	cookie := f.cookie(f.Admin)
	post := func(path, body string) int {
		t.Helper()
		return f.send(ask{method: http.MethodPost, path: f.fill(path), body: f.fill(body), cookie: cookie}).Code
	}
	if code := post("/admin/workers/{worker}", "builds=7&labels=gpu%2C+arm64"); code != http.StatusSeeOther {
		t.Errorf("changing a worker: %d", code)
	}
	if code := post("/admin/workers/{worker}", "builds=0&labels="); code != http.StatusUnprocessableEntity {
		t.Errorf("a worker without builds: %d", code)
	}
	if code := post("/admin/queue/limits/{team}", "builds=9999"); code != http.StatusUnprocessableEntity {
		t.Errorf("a limit that is too high: %d", code)
	}
	for _, path := range []string{"/admin/workers/{worker}/drain", "/admin/workers/{worker}/prune", "/admin/queue/builds/{queued build}/front"} {
		if code := post(path, ""); code != http.StatusSeeOther {
			t.Errorf("%s: %d", path, code)
		}
	}
	w, err := f.s.Builds.Worker(models.WithPrincipal(t.Context(), models.System("test")), f.places["worker"])
	f.must(err)
	if w.Builds != 7 || w.Labels.String() != "arm64,gpu" || !w.Draining || w.PruneAskedAt == nil {
		t.Errorf("the worker is %+v", w)
	}
	page := f.send(ask{path: "/admin/queue", cookie: cookie}).Body.String()
	for _, want := range []string{"Draining", "Resume", "moved to the front", "is pruned in a moment", "arm64", "0 of 7 builds"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if _, err := f.s.Builds.MoveToFront(models.WithPrincipal(t.Context(), models.System("test")), f.places["ended build"]); !models.IsCode(err, models.Conflict) {
		t.Errorf("an ended build was moved to the front: %v", err)
	}
}
