package main_test

import (
	"net/http"
	"strings"
	"testing"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

// world is a portal with a team, an environment, and a git server, for tests that do something wrong with them.
type world struct {
	*slipwaytest.Portal
	git  *gittest.Server
	live slipwaytest.Named
}

func newWorld(t *testing.T, settings slipwaytest.Settings) *world {
	t.Helper()
	dockertest.BaseImage(t)
	w := &world{Portal: slipwaytest.Start(t, settings), git: gittest.New(t)}
	w.Team(t, "acme")
	w.live = w.Environment(t, "acme", "live")
	return w
}

// app registers a repository of the files and makes an app of it; more are fields beside the usual ones.
func (w *world) app(t *testing.T, name string, files gittest.Files, more map[string]any) slipwaytest.Named {
	t.Helper()
	repository := w.Repository(t, "acme", name, w.git.Repository(t, "acme/"+name+".git", files).URL)
	if repository.State != "ready" {
		t.Fatalf("the repository is %+v", repository)
	}
	fields := map[string]any{"repository_id": repository.ID, "name": name, "dockerfile": "Dockerfile", "port": 8080, "health_path": "/healthz"}
	for field, value := range more {
		fields[field] = value
	}
	return slipwaytest.Post[slipwaytest.Named](t, w.Client, "/api/v1/apps", fields)
}

func TestBadInputGetsAClearMessageWhereThePersonLooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)

	t.Run("what is no URL is refused with the field", func(t *testing.T) {
		for _, address := range []string{"", "not a url", "ftp://example.com/x.git", "ext::sh -c id", "--upload-pack=id"} {
			problem := slipwaytest.Refused(t, w.Client, http.StatusUnprocessableEntity, http.MethodPost, "/api/v1/repositories",
				map[string]string{"team": "acme", "name": "bad", "clone_url": address})
			if len(problem.Errors) == 0 || !strings.Contains(problem.Errors[0].Location, "clone_url") {
				t.Errorf("the clone URL %q was refused with %+v, want the field named", address, problem)
			}
		}
	})
	t.Run("a host that can't be reached", func(t *testing.T) {
		t.Parallel()
		r := w.Repository(t, "acme", "away", "http://127.0.0.1:1/acme/away.git")
		says(t, "the repository", r.State, "failed", r.Error, "127.0.0.1")
	})
	t.Run("an address inside of the network that is not allowed", func(t *testing.T) {
		t.Parallel()
		r := w.Repository(t, "acme", "inside", "http://169.254.169.254/latest/meta-data.git")
		says(t, "the repository", r.State, "failed", r.Error, "169.254.169.254")
	})
	t.Run("a folder of the server that is not allowed", func(t *testing.T) {
		t.Parallel()
		r := w.Repository(t, "acme", "folder", "file:///etc")
		says(t, "the repository", r.State, "failed", r.Error, "not allowed")
	})
	t.Run("a repository without a Dockerfile", func(t *testing.T) {
		t.Parallel()
		app := w.app(t, "bare", gittest.Files{"README.md": "Nothing to build.\n"}, nil)
		b := w.Build(t, app.ID, "main")
		fails(t, b, "Dockerfile")
	})
	t.Run("a branch that does not exist", func(t *testing.T) {
		t.Parallel()
		app := w.app(t, "branchless", shop("one"), nil)
		problem := slipwaytest.Refused(t, w.Client, http.StatusUnprocessableEntity, http.MethodPost, "/api/v1/apps/"+app.ID+"/builds",
			map[string]string{"ref": "no-such-branch"})
		if !strings.Contains(problem.Detail+problemFields(problem), "no-such-branch") {
			t.Errorf("the branch was refused with %+v, want it named", problem)
		}
	})
	t.Run("a Dockerfile with a syntax error", func(t *testing.T) {
		t.Parallel()
		app := w.app(t, "syntax", gittest.Files{"Dockerfile": "FROM slipway.test/base:1\nRNU echo hello\n"}, nil)
		b := w.Build(t, app.ID, "main")
		fails(t, b, "RNU")
		if b.Error.Line != 2 {
			t.Errorf("the error is on line %d of the Dockerfile, want 2", b.Error.Line)
		}
	})
	t.Run("a command that fails", func(t *testing.T) {
		t.Parallel()
		app := w.app(t, "command", gittest.Files{"Dockerfile": "FROM slipway.test/base:1\n\nRUN echo no flour left && exit 7\n"}, nil)
		b := w.Build(t, app.ID, "main")
		fails(t, b, "")
		if b.Error.Line != 3 || b.Error.ExitCode == nil || *b.Error.ExitCode != 7 || !strings.Contains(strings.Join(b.Error.Output, "\n"), "no flour left") {
			t.Errorf("the failure is %+v, want line 3, exit code 7 and the command's last words", b.Error)
		}
	})
	t.Run("a build that never ends", func(t *testing.T) {
		t.Parallel()
		app := w.app(t, "endless", gittest.Files{"Dockerfile": "FROM slipway.test/base:1\nRUN echo waiting && sleep 3600\n"}, map[string]any{"build_timeout": 10})
		b := w.Build(t, app.ID, "main")
		fails(t, b, "10")
	})
}

func TestAnImageThatDoesNotRunIsExplainedAndTheOldOneServesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	base := dockertest.AppImage(t)
	image := func(variables string) gittest.Files {
		return gittest.Files{"Dockerfile": "FROM " + base + "\nENV VERSION=1 " + variables + "\n"}
	}
	app := w.app(t, "shop", image("GREETING=hello"), nil)
	repo := &gittest.Repo{Dir: w.git.Root + "/acme/shop.git"}
	good := w.Build(t, app.ID, "main")
	serving := deploy(t, w.Portal, w.live.ID, app.ID, good)
	sees(t, serving.URL, "hello")

	t.Run("an image that exits at once", func(t *testing.T) {
		repo.Commit(t, "main", "Crash", image("CRASH=1"))
		d := w.Deploy(t, w.live.ID, app.ID, w.Build(t, app.ID, "main").ID)
		if d.State != "failed" || d.Error == nil || d.Error.ExitCode == nil || *d.Error.ExitCode != 3 ||
			!strings.Contains(strings.Join(d.Error.Logs, "\n"), "crashing, as CRASH=1 asks") {
			t.Errorf("the deployment is %s with %+v, want the exit code 3 and the last lines of the log", d.State, d.Error)
		}
		sees(t, serving.URL, "hello")
	})
	t.Run("a deployment that is canceled while it waits for health", func(t *testing.T) {
		repo.Commit(t, "main", "Be ill", image("BAD=1"))
		ill := w.Build(t, app.ID, "main")
		d := slipwaytest.Post[slipwaytest.Deployment](t, w.Client, "/api/v1/environments/"+w.live.ID+"/deployments",
			map[string]string{"app_id": app.ID, "build_id": ill.ID})
		awaitContainer(t, d.ID)
		slipwaytest.Post[slipwaytest.Deployment](t, w.Client, "/api/v1/deployments/"+d.ID+"/cancel", nil)
		if d = w.DeploymentEnd(t, d.ID); d.State != "canceled" {
			t.Errorf("the deployment is %s, want it canceled", d.State)
		}
		sees(t, serving.URL, "hello")
	})
}

func TestWithoutADockerEngineBuildsSaySoAndThePortalServesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, slipwaytest.Settings{"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
	app := w.app(t, "shop", shop("one"), nil)
	b := w.Build(t, app.ID, "main")
	fails(t, b, "Docker Engine")
	if answer := w.Call(t, http.MethodGet, "/api/v1/apps/"+app.ID, nil); answer.Status != http.StatusOK {
		t.Errorf("the portal answers %d while the engine is down", answer.Status)
	}
}

func TestABuildWaitsOutARegistryThatIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, onlyWorkers(nil))
	worker := w.Worker(t)
	app := w.app(t, "shop", gittest.Files{"Dockerfile": "FROM slipway.test/base:1\nCOPY . .\nRUN echo packing && sleep 3\n", "fresh": t.TempDir()}, nil)
	queued := w.Queue(t, app.ID, "main")
	awaitLog(t, w.Portal, queued.ID, "packing")
	w.Restart(t)
	b := w.BuildEnd(t, queued.ID)
	if b.State == "failed" {
		fails(t, b, "registry")
	} else if b.State != "succeeded" {
		t.Errorf("the build is %s: %+v\n%s", b.State, b.Error, worker.Output())
	}
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	t.Parallel()
	p := slipwaytest.Start(t, nil)
	output, err := slipwaytest.Run(t, slipwaytest.Settings{"LISTEN": "127.0.0.1:" + p.Port, "DATA": t.TempDir()}, "serve")
	if err == nil || !strings.Contains(output, p.Port) || !strings.Contains(output, "in use") || !strings.Contains(output, "SLIPWAY_LISTEN") {
		t.Errorf("serving on a taken port ended with %v and printed:\n%s", err, output)
	}
}

// says fails the test unless the thing is in the state and its message has the words.
func says(t *testing.T, what, state, want, message, words string) {
	t.Helper()
	if state != want || !strings.Contains(message, words) {
		t.Errorf("%s is %s and says %q, want it %s and to name %s", what, state, message, want, words)
	}
}

// fails stops the test unless the build failed with a message that has the words.
func fails(t *testing.T, b slipwaytest.Build, words string) {
	t.Helper()
	if b.State != "failed" || b.Error == nil {
		t.Fatalf("the build is %s with %+v, want it failed with the reason", b.State, b.Error)
	}
	if !strings.Contains(b.Error.Message, words) {
		t.Errorf("the build failed with %+v, want the message to name %s", b.Error, words)
	}
}

func problemFields(p slipwaytest.Problem) string {
	var all strings.Builder
	for _, e := range p.Errors {
		all.WriteString(e.Message)
	}
	return all.String()
}
