package main_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

func TestMain(m *testing.M) { slipwaytest.Main(m) }

// shop is a repository whose one Dockerfile serves a page that says the version.
func shop(version string) gittest.Files {
	return gittest.Files{
		"Dockerfile": "FROM slipway.test/base:1\n" +
			"COPY index.html /www/index.html\n" +
			"RUN echo packing the shop && test -s /www/index.html\n" +
			"EXPOSE 8080\n" +
			`CMD ["httpd", "-f", "-v", "-p", "8080", "-h", "/www"]` + "\n",
		"index.html": "<h1>Shop " + version + "</h1>\n",
		"README.md":  "A shop.\n",
	}
}

// databases are the settings of a portal on each database.
func databases(t *testing.T, test func(t *testing.T, settings slipwaytest.Settings)) {
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); test(t, nil) })
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, slipwaytest.Settings{"DATABASE_URL": modelstest.PostgresURL(t)})
	})
}

func TestARepositoryBecomesARunningAppThroughTheAPI(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, settings slipwaytest.Settings) {
		dockertest.BaseImage(t)
		repo := gittest.New(t).Repository(t, "acme/shop.git", shop("one"))
		p := slipwaytest.Start(t, settings)
		p.Team(t, "acme")

		repository := p.Repository(t, "acme", "shop", repo.URL)
		if repository.State != "ready" || len(repository.Dockerfiles) != 1 || repository.Dockerfiles[0].Path != "Dockerfile" {
			t.Fatalf("the repository is %+v, want it ready with its Dockerfile found", repository)
		}
		app := p.App(t, repository.ID, "shop")
		first := build(t, p, app.ID, repo, "main", "packing the shop")
		staging := p.Environment(t, "acme", "staging")
		serving := deploy(t, p, staging.ID, app.ID, first)
		sees(t, serving.URL, "Shop one")

		repo.Commit(t, "main", "Second version", shop("two"))
		second := build(t, p, app.ID, repo, "main", "packing the shop")
		deploy(t, p, staging.ID, app.ID, second)
		sees(t, serving.URL, "Shop two")

		back := slipwaytest.Post[slipwaytest.Deployment](t, p.Client, "/api/v1/deployments/"+serving.ID+"/rollback", nil)
		if back = p.DeploymentEnd(t, back.ID); back.State != "succeeded" || back.Digest != first.Image.Digest {
			t.Fatalf("rolling back gave %+v, want the first image to run", back)
		}
		sees(t, serving.URL, "Shop one")
	})
}

// build builds the ref and checks what the API says about it, and that its log has the words.
func build(t *testing.T, p *slipwaytest.Portal, app string, repo *gittest.Repo, ref, logged string) slipwaytest.Build {
	t.Helper()
	b := p.Build(t, app, ref)
	if b.State != "succeeded" {
		t.Fatalf("the build is %s: %+v", b.State, b.Error)
	}
	commit := repo.Git(t, "rev-parse", ref)
	if b.Commit != commit || !strings.HasPrefix(b.Image.Digest, "sha256:") {
		t.Errorf("the build is of %s with the image %s, want %s and a digest", b.Commit, b.Image.Digest, commit)
	}
	if !slices.Contains(b.Image.Tags, ref) || !slices.ContainsFunc(b.Image.Tags, func(tag string) bool { return len(tag) >= 7 && strings.HasPrefix(commit, tag) }) {
		t.Errorf("the image has the tags %v, want the branch and the commit", b.Image.Tags)
	}
	awaitLog(t, p, b.ID, logged) // whose last lines come after the end
	image := p.Call(t, http.MethodGet, "/api/v1/images/"+b.Image.Digest, nil)
	if image.Status != http.StatusOK || !strings.Contains(string(image.Body), b.ID) {
		t.Errorf("the image answers %d and does not name its build:\n%s", image.Status, image.Body)
	}
	return b
}

// deploy deploys the build and checks that it is what serves.
func deploy(t *testing.T, p *slipwaytest.Portal, environment, app string, b slipwaytest.Build) slipwaytest.Deployment {
	t.Helper()
	d := p.Deploy(t, environment, app, b.ID)
	if d.State != "succeeded" {
		t.Fatalf("the deployment is %s: %+v", d.State, d.Error)
	}
	if d.Digest != b.Image.Digest {
		t.Errorf("the deployment runs %s, want %s", d.Digest, b.Image.Digest)
	}
	return d
}

// sees opens the app and fails unless its page has the words.
func sees(t *testing.T, url, words string) {
	t.Helper()
	if status, body := slipwaytest.Open(t, url); status != http.StatusOK || !strings.Contains(body, words) {
		t.Errorf("%s answers %d: %s\nwant it to say %q", url, status, body, words)
	}
}
