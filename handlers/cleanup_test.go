package handlers

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/retention"
)

func TestADeletedImageIsTakenBackByTheUndoOfItsNotice(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	me, digest := f.cookie(f.Maintainer), f.places["spare digest"]
	page := f.send(ask{path: "/images/payments/spare@" + digest, cookie: me})
	if !strings.Contains(page.Body.String(), "/images/delete?digest=") {
		t.Fatalf("the image offers no deletion: %d", page.Code)
	}
	asked := f.send(ask{path: "/images/delete?repository=payments/spare&digest=" + digest, cookie: me})
	if body := asked.Body.String(); !strings.Contains(body, "1 manifest with 1 tag") || !strings.Contains(body, "For 7 days, under Deleted") {
		t.Errorf("the question is %d", asked.Code)
	}
	done := f.send(ask{method: "POST", path: "/images/delete/image", body: "repository=payments/spare&digest=" + digest, cookie: me})
	if done.Code != http.StatusSeeOther || done.Header().Get("Location") != "/images/payments/spare" {
		t.Fatalf("deleting: %d %s", done.Code, done.Header())
	}
	var notice *http.Cookie
	for _, c := range done.Result().Cookies() {
		if c.Name == "slipway_notice" {
			notice = c
		}
	}
	list := f.send(ask{path: "/images/payments/spare", cookie: me, header: map[string]string{"Cookie": me.String() + "; " + notice.Name + "=" + notice.Value}})
	undo := regexp.MustCompile(`action="(/images/deleted/[^"]+/restore)"`).FindStringSubmatch(list.Body.String())
	if undo == nil || !strings.Contains(list.Body.String(), "Deleted payments/spare@"+digest) {
		t.Fatalf("the notice offers no undo: %d", list.Code)
	}
	if w := f.send(ask{method: "POST", path: undo[1], cookie: me}); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/images/payments/spare@"+digest {
		t.Errorf("undo: %d %s", w.Code, w.Header())
	}
	if w := f.send(ask{path: "/images/payments/spare@" + digest, cookie: me}); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "v1") {
		t.Errorf("after the undo: %d", w.Code)
	}
}

func TestWhatRunsIsNotOfferedForDeletion(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	me, digest := f.cookie(f.Maintainer), f.places["digest"]
	w := f.send(ask{path: "/images/delete?repository=payments/checkout&digest=" + digest, cookie: me})
	if body := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(body, "The image runs in") || !strings.Contains(body, "disabled") {
		t.Errorf("the question is %d", w.Code)
	}
	w = f.send(ask{method: "POST", path: "/images/delete/image", body: "repository=payments/checkout&digest=" + digest, cookie: me})
	if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "Deploy another one there first") {
		t.Errorf("deleting it all the same: %d", w.Code)
	}
	w = f.send(ask{method: "POST", path: "/images/delete/repository", body: "repository=payments/spare&confirm=spare", cookie: me})
	if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "Type payments/spare to confirm.") {
		t.Errorf("without the name: %d", w.Code)
	}
	if w := f.send(ask{path: "/images/payments/checkout@" + digest, cookie: f.cookie(f.Developer)}); strings.Contains(w.Body.String(), "/images/delete?") {
		t.Error("a developer is offered a deletion")
	}
}

func TestAPolicyIsSavedFromItsFormAndRunFromItsPlan(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	me := f.cookie(f.Maintainer)
	const form = "repository=payments/spare&rows=3&kind-0=tags&tags-0={v*,w},main&last-0=1&kind-1=untagged&days-1=7&kind-2=&min_age_days=0&rollbacks=5"
	if w := f.send(ask{method: "POST", path: "/images/clean-up", body: strings.ReplaceAll(form, "last-0=1", "last-0=few"), cookie: me}); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "Enter a whole number.") {
		t.Errorf("a wrong number: %d", w.Code)
	}
	if w := f.send(ask{method: "POST", path: "/images/clean-up", body: form + "&enabled=true", cookie: me}); w.Code != http.StatusSeeOther {
		t.Fatalf("saving: %d %s", w.Code, w.Body)
	}
	page := f.send(ask{path: "/images/clean-up?repository=payments/spare", cookie: me}).Body.String()
	for _, text := range []string{"1 manifest of 2 would go, with 1 tag", "rule 1: keep the newest 1 image tagged {v*,w} or main", "What never goes", "5 deployments"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
	plan := regexp.MustCompile(`name="plan" value="([0-9a-f]+)"`).FindStringSubmatch(page)
	if plan == nil {
		t.Fatal("the page offers no run")
	}
	if w := f.send(ask{method: "POST", path: "/images/clean-up/run", body: "repository=payments/spare&plan=0", cookie: me}); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "has changed since you looked") {
		t.Errorf("another plan: %d", w.Code)
	}
	w := f.send(ask{method: "POST", path: "/images/clean-up/run", body: "repository=payments/spare&plan=" + plan[1], cookie: me})
	if w.Code != http.StatusSeeOther {
		t.Fatalf("running: %d", w.Code)
	}
	run := w.Header().Get("Location")
	id := run[strings.LastIndex(run, "/")+1:]
	if err := f.s.Retention.Clean(models.WithPrincipal(t.Context(), models.System("worker")), retention.CleanUp{RunID: id}); err != nil {
		t.Fatal(err)
	}
	if page := f.send(ask{path: run, cookie: me}).Body.String(); !strings.Contains(page, "1 manifest deleted, with 1 tag") {
		t.Error("the run does not say what it did")
	}
	if page := f.send(ask{path: "/images/deleted?repository=payments/spare", cookie: me}).Body.String(); !strings.Contains(page, `href="`+run+`"`) || strings.Count(page, "Delete for good") < 2 {
		t.Error("what the run deleted is not listed")
	}
}

func TestAdminsSetQuotasAndTeamsAreWarnedInTime(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	admin := f.cookie(f.Admin)
	if w := f.send(ask{method: "POST", path: "/admin/images/quota/payments", body: "gigabytes=lots", cookie: admin}); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "Enter a number of gigabytes") {
		t.Errorf("no number: %d", w.Code)
	}
	if w := f.send(ask{method: "POST", path: "/admin/images/quota/payments", body: "gigabytes=0.5", cookie: admin}); w.Code != http.StatusSeeOther {
		t.Fatalf("saving: %d", w.Code)
	}
	if page := f.send(ask{path: "/admin/images", cookie: admin}).Body.String(); !strings.Contains(page, "of 500 MB") {
		t.Error("the admin does not see the quota")
	}
	small := int64(500)
	f.must(f.s.Registry.SetQuota(modelstest.As(t, f.db, f.Admin), "payments", &small))
	f.must(f.s.Retention.Count(t.Context()))
	if page := f.send(ask{path: "/teams/payments/images", cookie: f.cookie(f.Viewer)}).Body.String(); !strings.Contains(page, "At the limit pushes and builds are refused") || !strings.Contains(page, "payments/checkout") {
		t.Error("the team is not warned")
	}
	if page := f.send(ask{path: "/admin/images", cookie: admin}).Body.String(); !strings.Contains(page, "nearly full") {
		t.Error("the admin does not see which team is nearly full")
	}
}
