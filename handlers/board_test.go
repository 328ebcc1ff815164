package handlers

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
)

// page asks as a person for a page that must be answered with the status and hold all the parts.
func (f *full) page(who *models.User, status int, a ask, parts ...string) *httptest.ResponseRecorder {
	f.t.Helper()
	a.path, a.body, a.cookie = f.fill(a.path), f.fill(a.body), f.cookie(who)
	if a.method == "" {
		a.method = http.MethodGet
	}
	w := f.send(a)
	if w.Code != status {
		f.t.Fatalf("%s %s is answered %d: %.400s", a.method, a.path, w.Code, w.Body)
	}
	for _, part := range parts {
		if !strings.Contains(w.Body.String(), f.fill(part)) {
			f.t.Errorf("%s %s lacks %q", a.method, a.path, f.fill(part))
		}
	}
	return w
}

func TestTheBoardLeadsToWhatAPromotionBrings(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	promote := "/apps/{app}/deploy?environment={empty environment}&amp;from="
	f.page(f.Developer, 200, ask{path: "/environments"}, `id="row-{app}"`, promote, "Promote all that is ahead in stage", "What's new in spare", "same image as", "Only unhealthy")
	viewer := f.page(f.Viewer, 200, ask{path: "/environments"}).Body.String()
	if strings.Contains(viewer, f.fill(promote)) || strings.Contains(viewer, "Move left") {
		t.Error("a viewer is offered what only others may")
	}
	f.page(f.Maintainer, 200, ask{path: "/environments"}, "Move left", "Move right")
	f.page(f.Developer, 200, ask{path: "/environments?q=none&differs=true"}, "No app matches", "Show all apps")
	f.page(f.Developer, 200, ask{path: "/environments?team={team}&differs=true"}, `id="row-{app}"`)
	f.page(f.Developer, 404, ask{path: "/environments?team=search"})
	f.page(f.Developer, 422, ask{path: "/environments?cursor=x"})
	f.page(f.Developer, 200, ask{path: "/apps/{app}/deploy?environment={empty environment}&image={digest}&from={environment}"}, "From dev", "This very image is promoted", "What changes")

	f.page(f.Maintainer, 303, ask{method: "POST", path: "/environments/{empty environment}/move", body: "position=0"})
	var moved models.Environment
	f.must(f.db.First(&moved, "id = ?", f.places["empty environment"]).Error)
	if moved.Position != 0 {
		t.Errorf("it was moved to %d", moved.Position)
	}
	f.page(f.Maintainer, 422, ask{method: "POST", path: "/environments/{empty environment}/move", body: "position=left"})
	f.page(f.Developer, 403, ask{method: "POST", path: "/environments/{empty environment}/move", body: "position=1"})
}

func TestWhatIsAheadIsPromotedByTheVeryDigestAndWhatCantBeSaysWhy(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	at := "/environments/{empty environment}/promote"
	f.page(f.Developer, 200, ask{path: at + "?from={environment}"}, "1 app is ahead in dev", `name="image-{app}" value="{digest}"`, "See all that changes", "Promote what is ticked")
	f.page(f.Developer, 409, ask{path: "/environments/{environment}/promote"})
	f.page(f.Developer, 422, ask{method: "POST", path: at, body: "from={environment}"}, "Choose at least one app")
	f.page(f.Developer, 200, ask{method: "POST", path: at, body: "from={environment}&app={app}&image-{app}=sha256:other"}, "Refused", "runs another image than when you looked")
	f.page(f.Developer, 200, ask{method: "POST", path: at, body: "from={environment}&app={app}&image-{app}={digest}&hash-{app}=x"}, "Refused", "changed since you looked")

	f.page(f.Developer, 200, ask{method: "POST", path: at, body: "from={environment}&app={app}&app={app}&image-{app}={digest}"}, "/deployments/")
	var made []models.Deployment
	f.must(f.db.Where("environment_id = ?", f.places["empty environment"]).Find(&made).Error)
	if len(made) != 1 || made[0].ImageDigest != f.places["digest"] || made[0].CreatedBy != f.Developer.ID {
		t.Fatalf("there are %d deployments: %+v", len(made), made)
	}
	f.page(f.Developer, 200, ask{method: "POST", path: at, body: "from={environment}&app={app}"}, "Refused", "of this image is pending already")
	f.page(f.Developer, 200, ask{path: at + "?from={environment}"}, "Nothing is ahead")

	w := f.page(f.Developer, 202, ask{method: "POST", path: "/api/v1/environments/{guarded environment}/promotions", body: `{"from_id":"{environment}","apps":[{"app_id":"{app}","image":"sha256:no"}]}`})
	var answer struct {
		Items []struct {
			AppID      string  `json:"app_id"`
			Deployment *string `json:"deployment"`
			Refused    string  `json:"refused"`
		} `json:"items"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(answer.Items) != 1 || answer.Items[0].Deployment != nil || !strings.Contains(answer.Items[0].Refused, "another image") {
		t.Errorf("the API answers %s (%v)", w.Body, err)
	}
	f.page(f.Viewer, 403, ask{method: "POST", path: "/api/v1/environments/{guarded environment}/promotions", body: `{"apps":[{"app_id":"{app}"}]}`})
	f.page(f.Developer, 422, ask{method: "POST", path: "/api/v1/environments/{guarded environment}/promotions", body: `{"from_id":"{guarded environment}","apps":[{"app_id":"{app}"}]}`})
}

func TestTwoDeploymentsThatWereTickedAreCompared(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	w := f.page(f.Viewer, 303, ask{path: "/apps/{app}/compare?d={deployment}&d={old deployment}"})
	if want := f.fill("/apps/{app}/compare?a={old deployment}&b={deployment}"); w.Header().Get("Location") != want {
		t.Errorf("it leads to %s, want %s", w.Header().Get("Location"), want)
	}
	f.page(f.Viewer, 200, ask{path: "/apps/{app}/compare?a={bad deployment}&b={deployment}"}, "Side by side", "/images/compare?a="+badDigest+"&amp;b={digest}", "guarded", "Settings, variables and secrets are the same")
	f.page(f.Viewer, 422, ask{path: "/apps/{app}/compare?d={deployment}"}, "Tick two deployments")
	f.page(f.Viewer, 200, ask{path: "/apps/{app}/compare"}, "Side by side")
	f.page(f.Viewer, 200, ask{path: "/apps/{app}/compare?b={deployment}"}, "Side by side")
	f.page(f.Viewer, 404, ask{path: "/apps/{app}/compare?a={deployment}&b=none"})
	f.page(f.Viewer, 200, ask{path: "/apps/{app}/deployments"}, `form="compare"`, `name="d" value="{deployment}"`)
	f.page(f.Viewer, 200, ask{path: "/deployments/{deployment}"}, "/apps/{app}/compare?b={deployment}")
}

func TestWhatCameToAnEnvironmentCanBeFollowedByAFeedReader(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	f.must(f.db.Model(&models.Deployment{}).Where("id = ?", f.places["deployment"]).Updates(map[string]any{"build_id": f.places["ended build"], "previous_id": f.places["old deployment"], "created_by_name": hostile}).Error)
	f.must(f.db.Model(&models.Deployment{}).Where("id = ?", f.places["old deployment"]).Update("build_id", f.Build.ID).Error)
	f.must(f.db.Model(&models.Build{}).Where("id = ?", f.places["ended build"]).Update("commit", strings.Repeat("b", 40)).Error)
	f.create(&models.CommitRange{RepositoryID: f.Repository.ID, Base: f.Build.Commit, Head: strings.Repeat("b", 40), Ahead: 2, CountedAt: f.db.NowFunc(),
		Commits: []models.ChangeCommit{{ID: strings.Repeat("b", 40), Subject: "Round half up (#12) " + hostile, Author: hostile}}})
	f.page(f.Viewer, 200, ask{path: "/environments/{environment}/changes"}, "2 commits", "and older ones", "/commit/"+strings.Repeat("b", 40), "/apps/{app}/compare?a={old deployment}&amp;b={deployment}")
	f.page(f.Viewer, 200, ask{path: "/environments/{environment}/changes?app={app}"}, "2 commits")

	w := f.page(f.Viewer, 200, ask{path: "/api/v1/environments/{environment}/changes.atom"})
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/atom+xml") {
		t.Errorf("the feed is %s", w.Header().Get("Content-Type"))
	}
	var feed struct {
		Entries []struct {
			Title   string `xml:"title"`
			Author  string `xml:"author>name"`
			Content string `xml:"content"`
			Link    struct {
				Href string `xml:"href,attr"`
			} `xml:"link"`
		} `xml:"entry"`
	}
	if err := xml.Unmarshal(w.Body.Bytes(), &feed); err != nil || len(feed.Entries) != 2 {
		t.Fatalf("the feed is %s (%v)", w.Body, err)
	}
	first := feed.Entries[0]
	if u, err := url.Parse(first.Link.Href); err != nil || u.Path != "/deployments/"+f.places["deployment"] || !strings.Contains(first.Content, "Round half up") || first.Author != hostile {
		t.Errorf("the newest entry is %+v", first)
	}
	f.page(f.Stranger, 404, ask{path: "/api/v1/environments/{environment}/changes.atom"})
	if w := f.send(ask{method: "GET", path: f.fill("/api/v1/environments/{environment}/changes.atom")}); w.Code != 401 {
		t.Errorf("without a token the feed is answered %d", w.Code)
	}
}

func TestAFreezeKeepsPromotionsOutUntilAMaintainerSaysWhy(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	now := f.db.NowFunc()
	start, end := now.Add(-time.Hour), now.Add(time.Hour)
	frozen := models.Environment{Protection: models.Protection{Freezes: []models.Freeze{{Name: "Sale", Start: &start, End: &end}}}}
	f.must(f.db.Model(&models.Environment{}).Where("id = ?", f.places["empty environment"]).Select("protection").Updates(&frozen).Error)
	at := "/environments/{empty environment}/promote"
	body := "from={environment}&app={app}&image-{app}={digest}"
	f.page(f.Viewer, 200, ask{path: "/environments"}, "frozen", "Sale: nothing is deployed until")
	if w := f.page(f.Developer, 200, ask{path: at + "?from={environment}"}, "Sale: nothing is deployed to spare", "disabled"); strings.Contains(w.Body.String(), `name="reason"`) {
		t.Error("a developer is asked for a reason that would not count")
	}
	f.page(f.Developer, 200, ask{method: "POST", path: at, body: body + "&reason=please"}, "Refused", "Sale: nothing is deployed to spare")
	f.page(f.Maintainer, 200, ask{path: at + "?from={environment}"}, `name="reason"`)
	f.page(f.Maintainer, 200, ask{method: "POST", path: at, body: body}, "Refused")
	f.page(f.Maintainer, 200, ask{method: "POST", path: at, body: body + "&reason=it+burns"}, "/deployments/")
	var made models.Deployment
	f.must(f.db.First(&made, "environment_id = ?", f.places["empty environment"]).Error)
	if made.Reason != "it burns" || made.ImageDigest != f.places["digest"] {
		t.Errorf("it is %+v", made)
	}
}
