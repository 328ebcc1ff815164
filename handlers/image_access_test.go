package handlers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
)

// pushTo pushes a new image to the tag of payments/checkout and returns its digest.
func (f *full) pushTo(tag string) string {
	f.t.Helper()
	user, password, err := f.s.Registry.Credential(models.WithPrincipal(f.t.Context(), models.System("worker")), "payments/checkout", []string{"pull", "push"}, time.Minute)
	f.must(err)
	image, err := random.Image(64, 1)
	f.must(err)
	ref, err := name.ParseReference(f.host+"/payments/checkout:"+tag, name.Insecure)
	f.must(err)
	f.must(remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: user, Password: password})))
	digest, err := image.Digest()
	f.must(err)
	return digest.String()
}

// shows fails where the page does not hold every one of the texts.
func (f *full) shows(path string, as *models.User, texts ...string) {
	f.t.Helper()
	w := f.send(ask{path: path, cookie: f.cookie(as)})
	if w.Code != http.StatusOK {
		f.t.Errorf("%s as %s: %d", path, as.Name, w.Code)
	}
	for _, text := range texts {
		if !strings.Contains(w.Body.String(), text) {
			f.t.Errorf("%s as %s does not show %q", path, as.Name, text)
		}
	}
}

// posts sends the form and returns the status and the page.
func (f *full) posts(path string, as *models.User, form url.Values) (int, string) {
	f.t.Helper()
	w := f.send(ask{method: "POST", path: path, cookie: f.cookie(as), body: form.Encode()})
	return w.Code, w.Body.String()
}

func TestARepositorysSettingsAreSeenByMembersAndChangedByMaintainers(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	const page = "/images/payments/checkout/-/settings"
	f.shows("/images/payments/checkout", f.Viewer, `href="`+page+`"`)
	f.shows(page, f.Viewer, "Only with a login", "A maintainer of")
	f.shows(page, f.Maintainer, "Who may pull", "Which tags stay", "Anybody", "/api/v1/image-repositories/settings?repository=payments%2Fcheckout")
	if w := f.send(ask{path: page, cookie: f.cookie(f.Stranger)}); w.Code != http.StatusNotFound {
		t.Errorf("a stranger: %d", w.Code)
	}
	form := url.Values{"repository": {"payments/checkout"}, "anonymous_pull": {"yes"}, "tags_from": {"own"}, "immutable_tags": {"v*\r\n\r\nrelease-*"}}
	if code, _ := f.posts("/image-settings", f.Maintainer, form); code != http.StatusSeeOther {
		t.Fatalf("saving: %d", code)
	}
	f.shows(page, f.Viewer, "This repository is public", "v* release-*")
	f.shows("/images/payments/checkout", f.Viewer, "Public")
	form.Set("immutable_tags", "[")
	if code, page := f.posts("/image-settings", f.Maintainer, form); code != http.StatusUnprocessableEntity || !strings.Contains(page, "is no pattern of tags") {
		t.Errorf("a wrong pattern: %d", code)
	}
	f.shows("/teams/payments/settings", f.Maintainer, "Anybody may pull", "Immutable tags")
	if code, page := f.posts("/teams/payments/image-settings", f.Maintainer, url.Values{"immutable_tags": {"a/b"}}); code != http.StatusUnprocessableEntity || !strings.Contains(page, "is no pattern of tags") {
		t.Errorf("a wrong pattern of the team: %d", code)
	}
}

func TestATagsHistoryTellsWhatItNamedAndPutsItBack(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	old := f.places["digest"]
	fresh := f.pushTo("main")
	const page = "/images/payments/checkout/-/tags/main"
	f.shows("/images/payments/checkout@"+fresh, f.Viewer, `href="`+page+`"`)
	f.shows(page, f.Viewer, old[7:19], fresh[7:19], "came from", "was made", "Build #2", "/deployments/"+f.places["deployment"])
	if w := f.send(ask{path: page, cookie: f.cookie(f.Viewer)}); strings.Contains(w.Body.String(), "Put back") {
		t.Error("a viewer is offered to move the tag")
	}
	f.shows(page, f.Developer, "Put back")
	for _, path := range []string{"/images/payments/checkout/-/tags/none", "/images/payments/checkout/-/nothing", "/images/payments/none/-/settings"} {
		if w := f.send(ask{path: path, cookie: f.cookie(f.Developer)}); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	back := url.Values{"repository": {"payments/checkout"}, "tag": {"main"}, "digest": {old}, "was": {fresh}}
	if code, _ := f.posts("/image-tags", f.Developer, back); code != http.StatusSeeOther {
		t.Fatalf("putting back: %d", code)
	}
	if code, page := f.posts("/image-tags", f.Developer, back); code != http.StatusConflict || !strings.Contains(page, "moved since you looked") {
		t.Errorf("putting back from an old page: %d", code)
	}
	w := f.send(ask{path: "/api/v1/image-tags/moves?repository=payments/checkout&tag=main", cookie: f.cookie(f.Viewer)})
	if body := w.Body.String(); w.Code != 200 || strings.Count(body, `"created_at"`) < 3 || !strings.Contains(body, `"by":"`+f.Developer.Name+`"`) || !strings.Contains(body, `"kept":true`) {
		t.Errorf("the API's history: %d %s", w.Code, body)
	}
	f.must(f.db.Model(&models.RegistryRepository{}).Where("name = ?", "payments/checkout").Update("immutable_tags", `["m*"]`).Error)
	f.shows(page, f.Developer, "immutable")
	add := url.Values{"repository": {"payments/checkout"}, "tag": {"main"}, "digest": {fresh}, "new": {"true"}}
	if code, page := f.posts("/image-tags", f.Developer, add); code != http.StatusConflict || !strings.Contains(page, "immutable") {
		t.Errorf("moving an immutable tag: %d", code)
	}
	f.shows("/images/payments/checkout/-/tag?digest="+fresh, f.Developer, "Add tag", "m*")
	add.Set("tag", "-x")
	if code, page := f.posts("/image-tags", f.Developer, add); code != http.StatusUnprocessableEntity || !strings.Contains(page, `value="-x"`) {
		t.Errorf("a name that no tag may have: %d", code)
	}
}

func TestPullsStandOnThePageOfTheImageAndInTheAuditLog(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	token := f.token(f.Viewer, models.ScopeRegistryRead)
	for range 12 {
		ref, err := name.ParseReference(f.host+"/payments/checkout:main", name.Insecure)
		f.must(err)
		_, err = remote.Get(ref, remote.WithAuth(&authn.Basic{Username: "token", Password: token}))
		f.must(err)
	}
	f.must(f.s.Registry.FlushPulls(t.Context()))
	told := "pulled 12 times, last by " + f.Viewer.Name
	if time.Now().Truncate(time.Hour) == time.Now().Add(-time.Minute).Truncate(time.Hour) { // else they may be of two hours
		f.shows("/admin/audit?action=image.pull", f.Admin, "12 times, last")
	}
	f.shows("/images/"+f.places["digest"], f.Viewer, told)
	f.shows("/images/payments/checkout", f.Viewer, told)
	f.shows("/teams/payments/audit?action=image.pull", f.Maintainer, "image.pull", "payments/checkout:main")
	w := f.send(ask{path: "/teams/payments/audit?action=image.delete", cookie: f.cookie(f.Maintainer)})
	if strings.Contains(w.Body.String(), "payments/checkout:main") {
		t.Error("the filter shows pulls among deletes")
	}
	w = f.send(ask{path: "/api/v1/audit?team=payments&action=image.pull", cookie: f.cookie(f.Maintainer)})
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"action":"image.pull"`) || !strings.Contains(w.Body.String(), `"times":`) {
		t.Errorf("the API: %d %s", w.Code, w.Body)
	}
}

func TestWhatWasShownOfATagIsDeployedAndNothingElse(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	old, environment := f.places["digest"], f.places["environment"]
	form := "/apps/" + f.places["app"] + "/deploy?environment=" + environment + "&image=main"
	f.shows(form, f.Developer, `name="tag" value="main"`, `name="image" value="`+old+`"`, "names")

	var plan struct {
		ConfigHash string `json:"config_hash"`
	}
	planned := f.send(ask{path: "/api/v1/environments/" + environment + "/plan?app_id=" + f.places["app"] + "&tag=main", cookie: f.cookie(f.Developer)})
	f.must(json.Unmarshal(planned.Body.Bytes(), &plan))
	fresh := f.pushTo("main")
	send := url.Values{"app_id": {f.places["app"]}, "image": {old}, "tag": {"main"}}
	code, page := f.posts("/environments/"+environment+"/deployments", f.Developer, send)
	if code != http.StatusConflict || !strings.Contains(page, "moved since you looked") || !strings.Contains(page, `name="image" value="`+fresh+`"`) {
		t.Errorf("a deployment of a tag that moved: %d %.600s", code, page)
	}
	call := func(body string) (int, string) {
		w := f.send(ask{method: "POST", path: "/api/v1/environments/" + environment + "/deployments", cookie: f.cookie(f.Developer), body: body})
		return w.Code, w.Body.String()
	}
	app := `{"app_id":"` + f.places["app"] + `","tag":"main"`
	if code, body := call(app + `,"image":"` + old + `"}`); code != http.StatusConflict || !strings.Contains(body, "Nothing was deployed") {
		t.Errorf("by the API: %d %s", code, body)
	}
	if code, body := call(app + `,"config_hash":"` + plan.ConfigHash + `"}`); code != http.StatusConflict {
		t.Errorf("with the hash of a plan whose tag moved: %d %s", code, body)
	}
	code, body := call(app + `,"image":"` + fresh + `"}`)
	if code != http.StatusAccepted || !strings.Contains(body, `"tag":"main"`) || !strings.Contains(body, `"digest":"`+fresh+`"`) {
		t.Fatalf("of what the tag names: %d %s", code, body)
	}
	var made models.Deployment
	f.must(f.db.Where("image_digest = ?", fresh).Take(&made).Error)
	f.shows("/deployments/"+made.ID, f.Viewer, "main", fmt.Sprintf("named %s when it was clicked", fresh[7:19]))
}
