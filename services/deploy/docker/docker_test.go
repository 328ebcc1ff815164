package docker_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/deploytest"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/dockertest"
)

// push puts the image into a registry of the test's own.
func push(t *testing.T, img v1.Image) deploy.Image {
	t.Helper()
	return pushAt(t, "127.0.0.1", img)
}

func pushAt(t *testing.T, ip string, img v1.Image) deploy.Image {
	t.Helper()
	listener, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	repository := listener.Addr().String() + "/payments/checkout"
	ref, err := name.NewTag(repository + ":1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return deploy.Image{Repository: repository, Digest: digest.String()}
}

// outward returns a private address of this machine that is not the loopback's.
func outward(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsPrivate() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	t.Fatal("this machine has no private address")
	return ""
}

func withCommand(t *testing.T, img v1.Image, command string) v1.Image {
	t.Helper()
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config := *file.Config.DeepCopy()
	config.Entrypoint = []string{command}
	changed, err := mutate.Config(img, config)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// anyone may read the image.
func anyone(image deploy.Image) deploy.Source {
	return deploy.Source{
		Credential: func(context.Context) (string, string, error) { return "someone", "secret", nil },
		Open: func(context.Context) (name.Repository, []remote.Option, error) {
			repository, err := name.NewRepository(image.Repository)
			return repository, nil, err
		},
	}
}

func open(t *testing.T, settings map[string]string) deploy.Target {
	t.Helper()
	id := models.NewID()
	dockertest.Sweep(t, "slipway.target", id)
	target, err := docker.Kind("").Open(deploy.Config{ID: id, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

func TestADockerEngineDoesWhatEveryTargetMust(t *testing.T) {
	image := push(t, dockertest.App(t, "VERSION=1"))
	gone := image
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	forget(t, image.Ref())
	deploytest.Run(t, deploytest.Suite{
		Title: "Docker Engine",
		Open:  func(t *testing.T) deploy.Target { return open(t, nil) },
		Image: image, From: anyone(image), Gone: gone,
	})
}

// forget removes a name that the engine has for an image when the test ends.
func forget(t *testing.T, ref string) {
	engine := dockertest.Engine(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		if _, err := engine.ImageRemove(ctx, ref, image.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			t.Error(err)
		}
	})
}

func TestAnEngineThatTakesTooLongIsSaid(t *testing.T) {
	t.Parallel()
	engine := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/_ping") {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(engine.Close)
	target := open(t, map[string]string{"host": strings.Replace(engine.URL, "http", "tcp", 1)})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := target.List(ctx)
	if f := new(deploy.Failure); !errors.As(err, &f) || f.Stage != deploy.StageTarget || !strings.Contains(f.Message, "takes too long to answer") {
		t.Errorf("it says %v", err)
	}
}

func TestContainersGetNothingOfTheHost(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	target := open(t, nil)
	r := release(push(t, dockertest.App(t)))
	forget(t, r.Image.Ref())
	if err := target.Fetch(t.Context(), r.Image, anyone(r.Image), func(string) {}); err != nil {
		t.Fatal(err)
	}
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	found, err := engine.ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "slipway.deployment="+r.ID))})
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	c, err := engine.ContainerInspect(t.Context(), found[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	h := c.HostConfig
	if h.Privileged || len(h.Binds) > 0 || len(h.Mounts) > 0 || len(h.CapAdd) > 0 || len(h.Devices) > 0 || len(h.VolumesFrom) > 0 ||
		h.NetworkMode.IsHost() || h.PidMode.IsHost() || h.IpcMode.IsHost() || h.UTSMode.IsHost() || h.UsernsMode.IsHost() {
		t.Errorf("the container has more than it may: %+v", h)
	}
	if h.NanoCPUs != 5e8 || h.Memory != 64<<20 || h.MemorySwap != 64<<20 || h.PidsLimit == nil || *h.PidsLimit != 4096 {
		t.Errorf("the limits are %+v", h.Resources)
	}
	if len(h.SecurityOpt) != 1 || h.SecurityOpt[0] != "no-new-privileges" {
		t.Errorf("the security options are %q", h.SecurityOpt)
	}
	for _, bindings := range c.NetworkSettings.Ports {
		for _, b := range bindings {
			if b.HostIP != "127.0.0.1" {
				t.Errorf("a port is open on %s", b.HostIP)
			}
		}
	}
	for name := range c.NetworkSettings.Networks {
		if !strings.HasPrefix(name, "slipway-") {
			t.Errorf("the container is in the network %s", name)
		}
	}
}

func release(image deploy.Image) deploy.Release {
	id := models.NewID()
	return deploy.Release{ID: id, Name: "test-" + id[24:], Team: "test", App: "app", Environment: "dev", EnvironmentID: models.NewID(), Image: image,
		Env: map[string]string{"PORT": "8080"}, Port: 8080, Health: models.HealthHTTP, HealthPath: "/healthz",
		Scale: models.Scale{Replicas: 1, CPU: 500, Memory: 64 << 20}}
}

func TestAnEngineThatDoesNotAnswerIsNamed(t *testing.T) {
	t.Parallel()
	target := open(t, map[string]string{"host": "unix://" + t.TempDir() + "/none.sock"})
	_, err := target.Check(t.Context())
	var f *deploy.Failure
	if !errors.As(err, &f) || f.Stage != deploy.StageTarget || !strings.Contains(f.Message, "none.sock does not answer") {
		t.Fatal(err)
	}
}

func TestARegistryThatDoesNotAnswerIsNamed(t *testing.T) {
	t.Parallel()
	target := open(t, nil)
	image := deploy.Image{Repository: "127.0.0.1:1/payments/checkout", Digest: "sha256:" + strings.Repeat("a", 64)}
	err := target.Fetch(t.Context(), image, anyone(image), func(string) {})
	var f *deploy.Failure
	if !errors.As(err, &f) || f.Stage != deploy.StageImage || !strings.Contains(f.Message, "The registry 127.0.0.1:1 does not answer") {
		t.Fatal(err)
	}
}

func TestSettingsThatAreNoAddressAreRefused(t *testing.T) {
	t.Parallel()
	for _, settings := range []map[string]string{{"host": "/var/run/docker.sock"}, {"host": "http://x"}, {"address": "everywhere"}} {
		if _, err := docker.Kind("").Open(deploy.Config{ID: "x", Settings: settings}); !models.IsCode(err, models.Invalid) {
			t.Errorf("%v gave %v", settings, err)
		}
	}
}

func TestAnImageThatTheEngineCanNotPullIsCarriedOver(t *testing.T) {
	t.Parallel()
	// The engine speaks https to addresses that are not the loopback's, so it can't pull, as Docker Desktop can't.
	image := pushAt(t, outward(t), dockertest.App(t, "VERSION=carried"))
	forget(t, "slipway.carried/image:"+strings.ReplaceAll(image.Digest, ":", "-"))
	var said []string
	target := open(t, nil)
	err := target.Fetch(t.Context(), image, anyone(image), func(s string) { said = append(said, s) })
	if err != nil {
		t.Fatal(err, said)
	}
	r := release(image)
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if _, err := target.Wait(ctx, r, func(string) {}); err != nil {
		t.Fatal(err)
	}
}

func TestAnImageMakesSlipwayCallNoAddressOfItsOwn(t *testing.T) {
	t.Parallel()
	called := make(chan string, 10)
	inside := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called <- r.URL.Path }))
	defer inside.Close()
	elsewhere := static.NewLayer([]byte("a layer"), types.DockerForeignLayer)
	img, err := mutate.Append(dockertest.App(t, "VERSION="+models.NewID()), mutate.Addendum{Layer: elsewhere, URLs: []string{inside.URL + "/latest/meta-data"}, MediaType: types.DockerForeignLayer})
	if err != nil {
		t.Fatal(err)
	}
	image := pushAt(t, outward(t), img)
	forget(t, "slipway.carried/image:"+strings.ReplaceAll(image.Digest, ":", "-"))
	err = open(t, nil).Fetch(t.Context(), image, anyone(image), func(string) {})
	if f := new(deploy.Failure); !errors.As(err, &f) || f.Stage != deploy.StageImage || !strings.Contains(f.Message, "outside of the registry") {
		t.Errorf("the image was fetched with %v", err)
	}
	select {
	case path := <-called:
		t.Errorf("the address in the manifest was asked for %s", path)
	default:
	}
}

func TestAnImageWhoseCommandIsMissingSaysSo(t *testing.T) {
	t.Parallel()
	target := open(t, nil)
	img := dockertest.App(t)
	image := push(t, withCommand(t, img, "/no/such/program"))
	forget(t, image.Ref())
	if err := target.Fetch(t.Context(), image, anyone(image), func(string) {}); err != nil {
		t.Fatal(err)
	}
	err := target.Start(t.Context(), release(image))
	var f *deploy.Failure
	if !errors.As(err, &f) || f.Stage != deploy.StageStart || !strings.Contains(f.Message, "ENTRYPOINT") {
		t.Fatal(err)
	}
}

func TestTheFirstCallsOfATargetMayComeAtOnce(t *testing.T) {
	t.Parallel()
	dockertest.Engine(t)
	for range 20 { // each with a client that has not agreed on a version with the engine yet
		target, err := docker.Kind("").Open(deploy.Config{ID: models.NewID()})
		if err != nil {
			t.Fatal(err)
		}
		calls := []func() error{
			func() error { _, err := target.List(t.Context()); return err },
			func() error { _, err := target.Check(t.Context()); return err },
			func() error { return target.Remove(t.Context(), models.NewID(), 0) },
		}
		var all sync.WaitGroup
		for _, call := range calls {
			all.Go(func() {
				if err := call(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if err := target.Close(); err != nil {
			t.Error(err)
		}
	}
}

// body is what the address answers.
func body(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
