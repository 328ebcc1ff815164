package main_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/forges/forgetest"
	"slipway.dev/services/git/gittest"
)

// preview is what the API answers about the preview of a pull request.
type preview struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Status string `json:"status"`
	Commit string `json:"commit"`
	URL    string `json:"url"`
	Note   string `json:"note"`
}

// pullRequest sends the webhook about the pull request number 12 of the repository itself.
func pullRequest(t *testing.T, c slipwaytest.Connection, repo *gittest.Repo, id, action, head string) {
	t.Helper()
	status, said := c.Hook(t, id, "pull_request", map[string]any{"action": action, "number": 12, "repository": slipwaytest.HubRepository(repo.URL), "sender": map[string]any{"login": "ada"},
		"pull_request": map[string]any{"title": "A better shop", "html_url": "https://forge.example.test/acme/shop/pull/12",
			"head": map[string]any{"ref": "better", "sha": head, "repo": map[string]any{"id": 77}}, "base": map[string]any{"ref": "main", "sha": repo.Git(t, "rev-parse", "main")}}})
	if status != http.StatusAccepted {
		t.Fatalf("the webhook %s: %d %s", action, status, said)
	}
}

// pullHead makes the head of pull request 12 at the forge.
func pullHead(t *testing.T, repo *gittest.Repo, version string) string {
	t.Helper()
	head := repo.Commit(t, "tmp", "Shop "+version, shop(version))
	repo.Git(t, "update-ref", "refs/pull/12/head", head)
	repo.DeleteBranch(t, "tmp")
	return head
}

// robots asks the address and returns what it says to search engines.
func robots(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = u.Host
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.Header.Get("X-Robots-Tag")
}

func TestAPullRequestGetsAPreviewUntilItIsClosed(t *testing.T) {
	t.Parallel()
	dockertest.BaseImage(t)
	g := forgetest.NewGitHub(t, "acme/shop")
	repo := gittest.New(t).Repository(t, "acme/shop.git", shop("one"))
	p := slipwaytest.Start(t, nil)
	p.Team(t, "acme")
	c := slipwaytest.Post[slipwaytest.Connection](t, p.Client, "/api/v1/connections", map[string]any{
		"team": "acme", "kind": "github", "base_url": g.URL, "credential": "token", "settings": map[string]string{"token": g.Token}})
	app := p.App(t, p.Repository(t, "acme", "shop", repo.URL).ID, "shop")
	target := slipwaytest.Get[slipwaytest.List[slipwaytest.Named]](t, p.Client, "/api/v1/targets").Items[0].ID
	for path, body := range map[string]map[string]any{
		"/api/v1/apps/" + app.ID:                       {"triggers": map[string]any{"pull_requests": "same"}},
		"/api/v1/apps/" + app.ID + "/preview-settings": {"enabled": true, "target_id": target, "hours": 24},
	} {
		method := http.MethodPatch
		if strings.HasSuffix(path, "settings") {
			method = http.MethodPut
		}
		if answer := p.Call(t, method, path, body); answer.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, answer.Status, answer.Body)
		}
	}

	first := pullHead(t, repo, "two")
	pullRequest(t, c, repo, "1", "opened", first)
	says := func(what string) forgetest.Comment {
		t.Helper()
		all := g.AwaitComments(t, func(all []forgetest.Comment) bool { return len(all) > 0 && strings.Contains(all[0].Body, what) })
		if len(all) != 1 || all[0].Number != 12 {
			t.Errorf("the comments are %+v", all)
		}
		return all[0]
	}
	says(first[:8])
	said := says("**Ready**")
	one := slipwaytest.Get[slipwaytest.List[preview]](t, p.Client, "/api/v1/previews").Items[0]
	if one.Status != "ready" || one.Commit != first || !strings.HasPrefix(one.URL, "http://pr-12-shop.localhost:") || !strings.Contains(said.Body, one.URL) || !strings.Contains(said.Body, p.URL+"/previews/"+one.ID) {
		t.Fatalf("the preview is %+v; the comment says %s", one, said.Body)
	}
	sees(t, one.URL, "Shop two")
	if got := robots(t, one.URL); got != "noindex, nofollow" {
		t.Errorf("it says %q to search engines", got)
	}

	second := pullHead(t, repo, "three")
	pullRequest(t, c, repo, "2", "synchronize", second)
	slipwaytest.Await(t, p.Client, "/api/v1/previews/"+one.ID, "the push is deployed", func(x preview) bool { return x.Commit == second && x.Status == "ready" })
	sees(t, one.URL, "Shop three")
	says(second[:8])

	pullRequest(t, c, repo, "3", "closed", second)
	slipwaytest.Await(t, p.Client, "/api/v1/previews/"+one.ID, "the preview ended", func(x preview) bool { return x.State == "ended" })
	says("Removed")
	for end := time.Now().Add(2 * time.Minute); ; <-time.After(50 * time.Millisecond) {
		status, _ := slipwaytest.Open(t, one.URL)
		if status == http.StatusNotFound {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("its address answers %d", status)
		}
	}
	left, err := dockertest.Engine(t).ContainerList(context.Background(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "slipway.target="+target))})
	if err != nil || len(left) != 0 {
		t.Errorf("left are %s, %v", fmt.Sprint(left), err)
	}
}
