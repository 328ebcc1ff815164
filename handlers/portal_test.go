package handlers

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"slipway.dev/models"
	"slipway.dev/services/logs"
)

// hostile is text that would run in a browser if any page let it.
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)> javascript:alert(1)`

func TestNoPageLetsTextFromOutsideBecomeMarkup(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	f.plantHostileText()
	for route, e := range portalRoutes {
		method, path, _ := strings.Cut(route, " ")
		if method != http.MethodGet || strings.HasSuffix(path, "/log") || strings.HasSuffix(path, ".txt") {
			continue
		}
		r := f.request(route, e)
		reader := f.Maintainer
		if e.need == needAdmin {
			reader = f.Admin
		}
		w := f.send(ask{method: r.method, path: r.path, cookie: f.cookie(reader)})
		if w.Code != http.StatusOK && w.Code != e.status {
			t.Errorf("%s: %d", route, w.Code)
		}
		if w.Code == http.StatusOK && (strings.HasPrefix(r.path, "/builds/") || strings.HasPrefix(r.path, "/deployments/")) && !strings.Contains(w.Body.String(), "&lt;script&gt;") {
			t.Errorf("%s does not show what was planted", route)
		}
		if strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment") && w.Header().Get("Content-Type") == "application/octet-stream" {
			continue // kept as a file, and never shown
		}
		for _, fault := range markup(t, w.Body.String()) {
			t.Errorf("%s: %s", route, fault)
		}
	}
}

// plantInDeployment puts it wherever an image, a container or a target may write.
func (f *full) plantInDeployment(id string) {
	f.t.Helper()
	var d models.Deployment
	f.must(f.db.First(&d, "id = ?", id).Error)
	d.State, d.Active, d.ImageTag, d.CreatedByName = models.DeploymentFailed, false, hostile, hostile
	d.Error = &models.DeploymentError{Stage: "health", Message: hostile, Logs: []string{hostile, "\x1b]8;;javascript:alert(1)\x07x\x1b]8;;\x07"}}
	f.must(f.db.Save(&d).Error)
	f.create(&models.DeploymentPhase{DeploymentID: id, Seq: 1, Name: "health", State: models.StepFailed, Message: hostile, Detail: []string{hostile}})
	f.create(&models.Instance{ID: models.NewID(), DeploymentID: id, RuntimeID: hostile, Name: hostile, State: models.InstanceStopped, Message: hostile, LastLogs: []string{hostile}})
}

// plantHostileText puts it wherever a person, a repository or a build may write.
func (f *full) plantHostileText() {
	f.t.Helper()
	update := func(model any, id string, fields map[string]any) {
		f.t.Helper()
		if err := f.db.Model(model).Where("id = ?", id).Updates(fields).Error; err != nil {
			f.t.Fatal(err)
		}
	}
	update(&models.Repository{}, f.Repository.ID, map[string]any{"name": hostile, "clone_url": "javascript:alert(1)//" + hostile, "state": models.RepositoryFailed, "error": hostile, "credential_public": hostile})
	update(&models.App{}, f.App.ID, map[string]any{"dockerfile": hostile, "context": hostile, "health_path": hostile})
	f.Build.State, f.Build.CommitSubject, f.Build.Ref, f.Build.CreatedByName = models.BuildFailed, hostile, hostile, hostile
	f.Build.Error = &models.BuildError{Message: hostile, Dockerfile: hostile, Source: []string{hostile}, Output: []string{hostile, "\x1b]8;;javascript:alert(1)\x07x\x1b]8;;\x07"}, Line: 1}
	f.Build.Warnings, f.Build.ImageTags = []string{hostile}, []string{hostile}
	if err := f.db.Omit("App", "Steps").Save(f.Build).Error; err != nil {
		f.t.Fatal(err)
	}
	update(&models.Connection{}, f.places["connection"], map[string]any{"name": hostile, "base_url": "javascript:alert(1)//" + hostile})
	update(&models.Schedule{}, f.places["schedule"], map[string]any{"ref": hostile, "error": hostile, "last_outcome": models.ScheduleFailed})
	f.report(f.Build, f.places["connection"], hostile)
	f.create(&models.BuildStep{BuildID: f.Build.ID, ID: "hostile", Seq: 1, Name: hostile, State: models.StepFailed})
	f.create(&models.Ref{RepositoryID: f.Repository.ID, Kind: models.RefTag, Name: hostile, Commit: f.Build.Commit, Subject: hostile, Author: hostile, CommittedAt: f.db.NowFunc()})
	f.plantInDeployment(f.places["deployment"])
	f.create(&models.DetectedDockerfile{RepositoryID: f.Repository.ID, Path: hostile, Name: hostile, Context: hostile})
	f.writeLog(hostile, "\x1b[31m"+hostile).Close(f.t.Context())
}

// markup finds what must be in no page: scripts of its own, handlers, styles, and links that run something.
func markup(t *testing.T, page string) (faults []string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "script" && n.FirstChild != nil || n.Data == "img" || n.Data == "style" || n.Data == "iframe" {
			faults = append(faults, "<"+n.Data+">")
		}
		for _, a := range n.Attr {
			runs := (a.Key == "href" || a.Key == "src" || a.Key == "action") && strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:")
			if runs || strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				faults = append(faults, n.Data+" with "+a.Key+"="+a.Val)
			}
		}
	}
	return faults
}

func TestABuildsPageFollowsItsLogFromTheLineItHasToTheBuildsEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.writeLog("one", "two <b> \x1b[31mred\x1b[0m")
	header := map[string]string{"Cookie": f.cookie(f.Viewer).String(), "Accept": "text/event-stream"}
	s := follow(t, f, "/builds/"+f.Build.ID+"/log?after=1", header)
	id, event, data, _ := s.next()
	if id != "2" || event != "" || !strings.Contains(data, `id="L2"`) || !strings.Contains(data, `two &lt;b&gt; <span class="fg31">red</span>`) {
		t.Errorf("the line after the first: %q %q %q", id, event, data)
	}
	w.Write("step", logs.Stdout, time.Now(), []byte("three\n"))
	w.Close(t.Context())
	if id, _, data, _ := s.next(); id != "3" || !strings.Contains(data, "three") {
		t.Errorf("what came later: %q %q", id, data)
	}
	if err := f.db.Model(f.Build).Updates(map[string]any{"state": models.BuildSucceeded}).Error; err != nil {
		t.Fatal(err)
	}
	f.publish(f.Team.ID, "build.succeeded", "build:"+f.Build.ID, "app:"+f.App.ID)
	for {
		_, event, _, ok := s.next()
		if !ok {
			t.Fatal("the stream broke off before the build's end")
		}
		if event == "end" {
			break
		}
		if event != "change" {
			t.Errorf("got %q", event)
		}
	}
}

func TestABuildsLogIsNotStreamedToOtherTeams(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range []string{"/log", "/log.txt", ""} {
		if w := f.send(ask{path: "/builds/" + f.Build.ID + path, cookie: f.cookie(f.Stranger)}); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestAFormThatNeedsAttentionKeepsWhatWasTypedButNoSecrets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.send(ask{method: "POST", path: "/repositories", cookie: f.cookie(f.Maintainer), header: form,
		body: "team=payments&name=typed-name&clone_url=not+a+url&credential_kind=token&credential_user=ada&credential_token=very-secret"})
	page := w.Body.String()
	if w.Code != http.StatusUnprocessableEntity {
		t.Fatalf("got %d", w.Code)
	}
	for _, want := range []string{`value="typed-name"`, `value="not a url"`, `value="ada"`, `aria-invalid="true"`, `id="f-clone_url-error"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(page, "very-secret") {
		t.Error("the page gives the token back")
	}
}

var form = map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}

func TestNothingIsDeletedUnlessItsNameWasTyped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for path, noun := range map[string]any{"/apps/" + f.App.ID: &models.App{}, "/repositories/" + f.Repository.ID: &models.Repository{}} {
		w := f.send(ask{method: "POST", path: path + "/delete", cookie: f.cookie(f.Maintainer), header: form, body: "confirm=something"})
		var n int64
		if err := f.db.Model(noun).Count(&n).Error; err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusUnprocessableEntity || n != 1 || !strings.Contains(w.Body.String(), "to confirm") {
			t.Errorf("%s: %d, %d rows", path, w.Code, n)
		}
	}
}

func TestTheThemeIsKeptInACookieAndTakesNothingElse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for sent, want := range map[string]string{"dark": "dark", "light": "light", "": "", `"><script>`: ""} {
		w := f.send(ask{method: "POST", path: "/theme", cookie: f.cookie(f.Viewer), header: form, body: "theme=" + sent})
		cookie := w.Result().Cookies()[0]
		if w.Code != http.StatusSeeOther || cookie.Value != want || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
			t.Errorf("%q: %d %v", sent, w.Code, cookie)
		}
	}
}

func TestSearchFindsThingsByWordsOfTheirNames(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for term, want := range map[string]string{"check": "/apps/" + f.App.ID, "shop": "/repositories/" + f.Repository.ID, "dev": "/environments/" + f.Environment.ID, "pay": "/teams/payments", "imag": "/images"} {
		w := f.send(ask{path: "/search?q=" + term, cookie: f.cookie(f.Viewer)})
		if !strings.Contains(w.Body.String(), `class="hit" href="`+want+`"`) {
			t.Errorf("%q does not find %s", term, want)
		}
	}
	w := f.send(ask{path: "/search?q=check", cookie: f.cookie(f.Stranger)})
	if strings.Contains(w.Body.String(), f.App.ID) {
		t.Error("people of other teams find the app")
	}
}

func TestAConnectionsSecretIsOnThePageThatMakesItAndOnNoOther(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made := f.send(ask{method: "POST", path: "/teams/payments/connections", cookie: f.cookie(f.Maintainer), header: form, body: "kind=gitlab&base_url=&credential=token&token=glpat-1&app_id=ignored"})
	secret := regexp.MustCompile(`whsec_[A-Za-z0-9+/=]{44}`).FindString(html.UnescapeString(made.Body.String()))
	id := regexp.MustCompile(`/hooks/([0-9a-f-]{36})`).FindStringSubmatch(made.Body.String())
	if made.Code != http.StatusCreated || secret == "" || id == nil || strings.Contains(made.Body.String(), "glpat-1") {
		t.Fatalf("got %d %q %v", made.Code, secret, id)
	}
	again := f.send(ask{path: "/connections/" + id[1], cookie: f.cookie(f.Maintainer)})
	rotated := f.send(ask{method: "POST", path: "/connections/" + id[1] + "/secret", cookie: f.cookie(f.Maintainer), header: form})
	if again.Code != http.StatusOK || strings.Contains(again.Body.String(), "whsec_") || strings.Contains(again.Body.String(), "glpat-1") {
		t.Error("the secret is shown again")
	}
	if rotated.Code != http.StatusCreated || !strings.Contains(rotated.Body.String(), "whsec_") || strings.Contains(html.UnescapeString(rotated.Body.String()), secret) {
		t.Errorf("a new secret: %d", rotated.Code)
	}
	wrong := f.send(ask{method: "POST", path: "/teams/payments/connections", cookie: f.cookie(f.Maintainer), header: form, body: "kind=github&base_url=&credential=github_app&app_id=typed&private_key=very-secret"})
	if page := wrong.Body.String(); wrong.Code != http.StatusUnprocessableEntity || !strings.Contains(page, `value="typed"`) || strings.Contains(page, "very-secret") || !strings.Contains(page, `id="f-installation_id-error"`) {
		t.Errorf("with faults: %d", wrong.Code)
	}
}
