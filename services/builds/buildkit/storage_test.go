package buildkit_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildkit"
	"slipway.dev/services/builds/buildtest"
	"slipway.dev/services/dockertest"
)

// kept are limits under which nothing of the cache goes: the engine of the tests is everybody's.
var kept = builds.CacheLimits{Size: 1 << 50, Age: 10000 * time.Hour}

// labelled makes an image with the label of builds under the name.
func labelled(t *testing.T, docker *client.Client, ref string, labels map[string]string) {
	t.Helper()
	options := container.CommitOptions{Reference: ref, Config: &container.Config{Labels: labels}}
	made, err := docker.ContainerCreate(t.Context(), &container.Config{Image: dockertest.BaseImage(t), Cmd: []string{"true"}, Labels: map[string]string{"slipway.test": "prune"}}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := docker.ContainerCommit(t.Context(), made.ID, options); err != nil {
		t.Fatal(err)
	}
	if err := docker.ContainerRemove(t.Context(), made.ID, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := patience()
		defer cancel()
		if _, err := docker.ImageRemove(ctx, ref, image.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			t.Error(err)
		}
	})
}

func TestPruningRemovesTheImagesThatBuildsLeftAndNothingElse(t *testing.T) {
	t.Parallel()
	docker := dockertest.Engine(t)
	host := "prune-" + strings.ToLower(onlyDigits(models.NewID())) + ".slipway.test"
	build := map[string]string{"dev.slipway.build": models.NewID()}
	left, running, deployed, building := host+"/team/left:build-1", host+"/team/running:build-2", host+"/team/deployed:build-3", host+"/team/building:build-4"
	foreign, other := host+"/team/foreign:1", "other-"+host+"/team/app:build-1"
	for _, ref := range []string{left, running, deployed, building, other} {
		labelled(t, docker, ref, build)
	}
	labelled(t, docker, foreign, nil)
	shared := host + "/team/shared:build-5" // one of its names is somebody else's
	labelled(t, docker, shared, build)
	mine := "mine-" + host + ":1"
	if err := docker.ImageTag(t.Context(), shared, mine); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeImage(docker, mine) })
	stopped, err := docker.ContainerCreate(t.Context(), &container.Config{Image: running, Labels: map[string]string{"slipway.test": "prune"}}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeContainer(docker, stopped.ID) })

	e := &buildkit.Storage{Docker: docker, Registry: host, IdleFor: time.Nanosecond}
	inUse := []string{building, deployed}
	exists := func(ref string) bool {
		_, err := docker.ImageInspect(t.Context(), ref)
		return err == nil
	}
	if done, err := e.Prune(t.Context(), kept, inUse); err != nil || done != (builds.Pruned{}) || !exists(left) {
		t.Errorf("an image that was seen unused for the first time is gone: %+v, error %v", done, err)
	}
	if done, err := e.Prune(t.Context(), kept, inUse); err != nil || done.Images != 1 || exists(left) {
		t.Errorf("the image that a build left was not removed: %+v, error %v", done, err)
	}
	for what, ref := range map[string]string{"a container's": running, "a deployment's": deployed, "a running build's": building, "a foreign one": foreign, "another portal's": other, "one with a name of somebody else": shared} {
		if !exists(ref) {
			t.Errorf("the image was removed: %s", what)
		}
	}
	again := &buildkit.Storage{Docker: docker, Registry: host}
	for range 2 {
		if done, err := again.Prune(t.Context(), kept, nil); err != nil || done.Images != 0 || !exists(deployed) {
			t.Errorf("an image was removed before it was unused for an hour: %+v, error %v", done, err)
		}
	}
}

func TestTheEngineTellsItsFolderAndWhatItsCacheTakes(t *testing.T) {
	t.Parallel()
	docker := dockertest.Engine(t)
	r := request(t, buildtest.Registry(t), "RUN dd if=/dev/zero of=/big bs=1M count=3 && echo "+onlyDigits(models.NewID()))
	if _, _, err := buildtest.Build(t, builder(t), r); err != nil {
		t.Fatal(err)
	}
	e := &buildkit.Storage{Docker: docker, Registry: "none.slipway.test"}
	usage, err := e.Usage(t.Context(), kept)
	if err != nil || usage.Cache < 3<<20 || usage.Prunable != 0 {
		t.Errorf("the engine says %+v, error %v", usage, err)
	}
	info, err := docker.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(docker.DaemonHost(), "unix://") && usage.Root != info.DockerRootDir {
		t.Errorf("the engine's folder is %q, not %q", usage.Root, info.DockerRootDir)
	}
	all, err := e.Usage(t.Context(), builds.CacheLimits{Age: time.Nanosecond})
	if err != nil || all.Prunable < 3<<20 || all.Prunable > all.Cache {
		t.Errorf("if nothing were young enough it would free %+v, error %v", all, err)
	}
}

// prunes is an engine at the wire: it remembers how it was asked to prune.
type prunes struct {
	mu    sync.Mutex
	asked []url.Values
	fail  bool
}

func (p *prunes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case strings.HasSuffix(r.URL.Path, "/_ping"):
	case strings.HasSuffix(r.URL.Path, "/images/json"), strings.HasSuffix(r.URL.Path, "/containers/json"):
		_, _ = w.Write([]byte("[]"))
	case strings.HasSuffix(r.URL.Path, "/build/prune") && !p.fail:
		p.asked = append(p.asked, r.URL.Query())
		_, _ = w.Write([]byte(`{"CachesDeleted":["x"],"SpaceReclaimed":1000}`))
	default:
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte(`{"message":"no"}`))
	}
}

func TestTheCacheIsPrunedByAgeAndThenBySize(t *testing.T) {
	t.Parallel()
	engine := &prunes{}
	server := httptest.NewServer(engine)
	defer server.Close()
	docker, err := client.NewClientWithOpts(client.WithHost("tcp://"+server.Listener.Addr().String()), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	e := &buildkit.Storage{Docker: docker, Registry: "r"}
	done, err := e.Prune(t.Context(), builds.CacheLimits{Size: 20e9, Age: 336 * time.Hour}, nil)
	if err != nil || done.Bytes != 2000 {
		t.Errorf("pruned %+v, error %v", done, err)
	}
	var asked []string
	for _, q := range engine.asked {
		asked = append(asked, q.Get("all")+" "+q.Get("keep-storage")+" "+q.Get("filters"))
	}
	if want := []string{`1  {"until":{"336h0m0s":true}}`, `1 20000000000 `}; !slices.Equal(asked, want) {
		t.Errorf("the engine was asked %q, not %q", asked, want)
	}
	if done, err := e.Prune(t.Context(), builds.CacheLimits{}, nil); err != nil || done.Bytes != 0 || len(engine.asked) != 2 {
		t.Errorf("without limits %+v was pruned, error %v", done, err)
	}
	engine.fail = true
	if _, err := e.Prune(t.Context(), kept, nil); err == nil {
		t.Error("an engine that refuses was not noticed")
	}
}

func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

func removeImage(docker *client.Client, ref string) {
	ctx, cancel := patience()
	defer cancel()
	_, _ = docker.ImageRemove(ctx, ref, image.RemoveOptions{Force: true})
}

func removeContainer(docker *client.Client, id string) {
	ctx, cancel := patience()
	defer cancel()
	_ = docker.ContainerRemove(ctx, id, container.RemoveOptions{Force: true})
}
