package builds_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	dockerregistry "github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildkit"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
)

// real is a world whose parts are those that the program has: the Docker Engine and the embedded registry.
func real(t *testing.T) *world {
	t.Helper()
	db := modelstest.DB(t)
	w := newWorld(t, db)
	box, err := secrets.Load(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	images := &registry.Service{DB: db, Box: box, Folder: t.TempDir()}
	mux := http.NewServeMux()
	mux.Handle("/v2/", images)
	mux.HandleFunc("/registry/token", images.Token)
	server := httptest.NewUnstartedServer(mux)
	images.External = "http://" + server.Listener.Addr().String()
	server.Start()
	t.Cleanup(server.Close)
	w.images, w.registry = images, images.Host()
	w.script = (&buildkit.Builder{Engine: &buildkit.Docker{Client: dockertest.Engine(t)}}).Build
	start(t, w.builds.Jobs)
	return w
}

// commit makes the files the newest commit of main.
func (w *world) commit(t *testing.T, dockerfile string, files gittest.Files) {
	t.Helper()
	if files == nil {
		files = gittest.Files{}
	}
	files["Dockerfile"] = dockerfile
	w.repo.Commit(t, "main", "Another commit", files)
}

func TestARealBuildEndsAsAnImageThatTheEngineRuns(t *testing.T) {
	t.Parallel()
	w := real(t)
	docker := dockertest.Engine(t)
	w.commit(t, "FROM "+dockertest.BaseImage(t)+"\nCOPY hello /hello\nRUN echo printed $(cat /hello)\n", gittest.Files{"hello": models.NewID()})
	b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
	if text := w.ended(t, b.ID); !strings.Contains(text, "printed 0") || !strings.Contains(text, "Build #2 succeeded") {
		t.Errorf("the log is %q", text)
	}
	var names []string
	for _, s := range b.Steps {
		names = append(names, s.Name)
		if s.State != models.StepSucceeded && s.State != models.StepCached {
			t.Errorf("the step is %+v", s)
		}
	}
	if names[0] != "Check out main at "+b.Commit[:12] || names[len(names)-1] != "Push the image" || !slices.Contains(names, "[2/3] COPY hello /hello") {
		t.Errorf("the steps are %q", names)
	}
	pulled := pull(t, w, docker, b)
	if pulled.Config.Labels["org.opencontainers.image.revision"] != b.Commit || pulled.Config.Labels["dev.slipway.build"] != b.ID {
		t.Errorf("the labels are %v", pulled.Config.Labels)
	}
}

// pull lets the engine fetch the build's image by its digest.
func pull(t *testing.T, w *world, docker *client.Client, b *models.Build) image.InspectResponse {
	t.Helper()
	ctx := models.WithPrincipal(t.Context(), models.System("test"))
	user, password, err := w.Credential(ctx, b.ImageRepository, []string{"pull"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(dockerregistry.AuthConfig{Username: user, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	ref := b.ImageRepository + "@" + b.ImageDigest
	progress, err := docker.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: base64.URLEncoding.EncodeToString(raw)})
	if err != nil {
		t.Fatal(err)
	}
	defer progress.Close()
	report, err := io.ReadAll(progress)
	if err != nil {
		t.Fatal(err)
	}
	have, err := docker.ImageInspect(ctx, ref)
	if err != nil {
		t.Fatalf("the engine did not get the image: %v\n%s", err, report)
	}
	t.Cleanup(func() {
		if _, err := docker.ImageRemove(context.Background(), have.ID, image.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
	return have
}

func TestAnEditThatKeepsTheSizeIsBuilt(t *testing.T) {
	t.Parallel()
	w := real(t)
	id := models.NewID()
	dockerfile := "FROM " + dockertest.BaseImage(t) + "\nCOPY text /text\nRUN echo " + id + " $(cat /text)\n"
	for _, text := range []string{"aaaa", "bbbb", "cccc"} {
		w.commit(t, dockerfile, gittest.Files{"text": text})
		b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
		if log := w.ended(t, b.ID); !strings.Contains(log, id+" "+text) {
			t.Errorf("the build of %s printed %q", text, log)
		}
	}
}

func TestCancelEndsARealBuildWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	w := real(t)
	w.commit(t, "FROM "+dockertest.BaseImage(t)+"\nRUN echo begun "+models.NewID()+" && sleep 600\n", nil)
	b := w.queueBuild(t, "main")
	w.until(t, 3*time.Minute, "the step has begun", func() bool { return strings.Contains(w.log(t, b.ID), "\nbegun ") })
	w.cancelsInTime(t, b.ID)
}

func TestBadInputIsExplainedByTheRealEngine(t *testing.T) {
	t.Parallel()
	w := real(t)
	base := dockertest.BaseImage(t)
	fails := func(class string, parts ...string) *models.Build {
		t.Helper()
		b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildFailed)
		if b.Error.Class != class {
			t.Errorf("the error is %+v", b.Error)
		}
		for _, p := range parts {
			if !strings.Contains(b.Error.Message, p) {
				t.Errorf("the message does not say %q: %s", p, b.Error.Message)
			}
		}
		return b
	}
	w.commit(t, "FROM "+base+"\nRUN true\nRUNN false\n", nil)
	if b := fails(builds.ClassUser, "line 3", "RUNN"); b.Error.Line != 3 {
		t.Errorf("the error is %+v", b.Error)
	}
	w.commit(t, "FROM "+base+"\nRUN for i in 1 2 3; do echo line $i of "+models.NewID()+"; done; exit 3\n", nil)
	if b := fails(builds.ClassUser, "exit code 3", "line 2"); len(b.Error.Output) != 3 || !strings.HasPrefix(b.Error.Output[2], "line 3") || len(b.Error.Source) != 1 {
		t.Errorf("the error is %+v", b.Error)
	}
	w.commit(t, "FROM "+base+"\nRUN echo "+models.NewID()+" > /dev/full\n", nil)
	fails(builds.ClassUser, "exit code 1", "disk seems to be full")
	w.commit(t, gittest.Delete(), gittest.Files{"deploy/Dockerfile": "FROM scratch\n"})
	fails(builds.ClassUser, "no Dockerfile", "deploy/Dockerfile")
	w.commit(t, "FROM "+base+"\nRUN echo "+models.NewID()+" && sleep 600\n", nil)
	if err := w.db.Model(w.App).Update("build_timeout", 2).Error; err != nil {
		t.Fatal(err)
	}
	fails(builds.ClassTimeout, "2 seconds")
	if err := w.db.Model(w.App).Update("build_timeout", 1800).Error; err != nil {
		t.Fatal(err)
	}
	w.commit(t, "FROM "+base+"\nRUN true\n", nil)
	down, err := client.NewClientWithOpts(client.WithHost("unix://"+filepath.Join(t.TempDir(), "none.sock")), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	w.direct((&buildkit.Builder{Engine: &buildkit.Docker{Client: down}}).Build)
	fails(builds.ClassInfrastructure, "Docker Engine", "does not answer")
	w.direct((&buildkit.Builder{Engine: &buildkit.Docker{Client: dockertest.Engine(t)}}).Build)
	w.moveRegistry("127.0.0.1:1", nil)
	fails(builds.ClassInfrastructure, "registry 127.0.0.1:1")
}

func TestTwoWorkersShareTheQueueTheEngineAndTheRegistry(t *testing.T) {
	t.Parallel()
	w := real(t)
	second := w.queue(t)
	w.service(t, second)
	start(t, second)
	var queued []*models.Build
	for range 4 {
		w.commit(t, "FROM "+dockertest.BaseImage(t)+"\nRUN echo "+models.NewID()+"\n", nil)
		queued = append(queued, w.queueBuild(t, "main"))
	}
	for _, b := range queued {
		b = w.wait(t, b.ID, models.BuildSucceeded)
		if b.Attempt != 1 {
			t.Errorf("build %s was begun %d times", b.Title(), b.Attempt)
		}
	}
}
