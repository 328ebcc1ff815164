package slipwaytest

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Of what the API answers, these types have the fields that tests read.
type (
	// Named is anything with an id and a name.
	Named struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Slug string `json:"slug"`
	}
	// Repository is a registered git repository.
	Repository struct {
		Named
		State       string `json:"state"`
		Error       string `json:"error"`
		Dockerfiles []struct {
			Path string `json:"path"`
			Name string `json:"name"`
		} `json:"dockerfiles"`
	}
	// Build is one run that makes an image.
	Build struct {
		ID     string `json:"id"`
		Number int    `json:"number"`
		State  string `json:"state"`
		Ref    string `json:"ref"`
		Commit string `json:"commit"`
		Image  struct {
			Repository string   `json:"repository"`
			Digest     string   `json:"digest"`
			Tags       []string `json:"tags"`
		} `json:"image"`
		Steps []struct {
			Name  string `json:"name"`
			State string `json:"state"`
		} `json:"steps"`
		Error *Failure `json:"error"`
	}
	// Deployment is one attempt to run an image in an environment.
	Deployment struct {
		ID        string `json:"id"`
		Number    int    `json:"number"`
		State     string `json:"state"`
		Digest    string `json:"digest"`
		URL       string `json:"url"`
		Instances []struct {
			State string `json:"state"`
		} `json:"instances"`
		Error *Failure `json:"error"`
	}
	// Failure says why a build or a deployment failed.
	Failure struct {
		Message    string   `json:"message"`
		Stage      string   `json:"stage"`
		Dockerfile string   `json:"dockerfile"`
		Line       int      `json:"line"`
		Output     []string `json:"output"`
		Logs       []string `json:"logs"`
		ExitCode   *int     `json:"exit_code"`
	}
)

// Ended tells whether the build will not change any more.
func (b Build) Ended() bool {
	return b.State != "waiting" && b.State != "queued" && b.State != "running"
}

// Ended tells whether the deployment will not change any more.
func (d Deployment) Ended() bool { return d.State != "pending" && d.State != "running" }

// Team makes a team.
func (c *Client) Team(t testing.TB, slug string) Named {
	t.Helper()
	return Post[Named](t, c, "/api/v1/teams", map[string]string{"name": strings.ToUpper(slug[:1]) + slug[1:], "slug": slug})
}

// Repository registers a repository and waits until it was read, well or not.
func (c *Client) Repository(t testing.TB, team, name, cloneURL string) Repository {
	t.Helper()
	r := Post[Repository](t, c, "/api/v1/repositories", map[string]string{"team": team, "name": name, "clone_url": cloneURL})
	return Await(t, c, "/api/v1/repositories/"+r.ID, "the repository was read", func(r Repository) bool {
		return r.State == "ready" || r.State == "failed"
	})
}

// App makes an app of the Dockerfile at the repository's root that listens on 8080.
func (c *Client) App(t testing.TB, repository, name string) Named {
	t.Helper()
	return Post[Named](t, c, "/api/v1/apps", map[string]any{
		"repository_id": repository, "name": name, "dockerfile": "Dockerfile", "port": 8080, "health_path": "/",
	})
}

// Environment makes an environment on the local Docker Engine.
func (c *Client) Environment(t testing.TB, team, name string) Named {
	t.Helper()
	targets := Get[List[Named]](t, c, "/api/v1/targets")
	if len(targets.Items) == 0 {
		t.Fatal("the portal has no target")
	}
	return Post[Named](t, c, "/api/v1/environments", map[string]string{"team": team, "name": name, "target_id": targets.Items[0].ID})
}

// Build queues a build of the ref and waits until it ended.
func (c *Client) Build(t testing.TB, app, ref string) Build {
	t.Helper()
	return c.BuildEnd(t, c.Queue(t, app, ref).ID)
}

// Queue queues a build of the ref.
func (c *Client) Queue(t testing.TB, app, ref string) Build {
	t.Helper()
	return Post[Build](t, c, "/api/v1/apps/"+app+"/builds", map[string]string{"ref": ref})
}

// BuildEnd waits until the build ended.
func (c *Client) BuildEnd(t testing.TB, id string) Build {
	t.Helper()
	return Await(t, c, "/api/v1/builds/"+id, "the build ended", Build.Ended)
}

// Deploy deploys the build's image of the app and waits until the rollout ended.
func (c *Client) Deploy(t testing.TB, environment, app, build string) Deployment {
	t.Helper()
	d := Post[Deployment](t, c, "/api/v1/environments/"+environment+"/deployments", map[string]string{"app_id": app, "build_id": build})
	return c.DeploymentEnd(t, d.ID)
}

// DeploymentEnd waits until the rollout ended.
func (c *Client) DeploymentEnd(t testing.TB, id string) Deployment {
	t.Helper()
	return Await(t, c, "/api/v1/deployments/"+id, "the deployment ended", Deployment.Ended)
}

// Open requests an address of an app, whose name need not resolve: names below localhost are this machine.
func Open(t testing.TB, url string) (status int, body string) {
	t.Helper()
	status, body, err := Request(t.Context(), url)
	if err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	return status, body
}

// Request is Open for those that go on after a failure.
func Request(ctx context.Context, url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	request.Host = request.URL.Host
	_, port, err := net.SplitHostPort(request.URL.Host)
	if err != nil {
		return 0, "", err
	}
	request.URL.Host = "127.0.0.1:" + port
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(read), err
}
