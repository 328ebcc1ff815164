package pullthrough_test

import (
	"io"
	"testing"

	dockerimage "github.com/docker/docker/api/types/image"
	engine "github.com/docker/docker/api/types/registry"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/dockertest"
)

func TestDockerPullsThroughTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.upload("library/base:1", dockertest.Base(t))
	docker := dockertest.Engine(t)
	login, err := engine.EncodeAuthConfig(engine.AuthConfig{Username: "x", Password: w.token(w.Stranger, models.ScopeRegistryRead), ServerAddress: w.host})
	if err != nil {
		t.Fatal(err)
	}
	name := w.cached("library/base:1").Name()
	for range 2 { // the second time from the cache alone
		report, err := docker.ImagePull(t.Context(), name, dockerimage.PullOptions{RegistryAuth: login})
		if err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(report)
		report.Close()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := docker.ImageInspect(t.Context(), name); err != nil {
			t.Fatalf("the image is not there: %v\n%s", err, said)
		}
		if _, err := docker.ImageRemove(t.Context(), name, dockerimage.RemoveOptions{PruneChildren: true}); err != nil {
			t.Error(err)
		}
		w.valve.Break()
	}
}
