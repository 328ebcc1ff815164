package dockertest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"

	"slipway.dev/services/dockertest"
)

func TestAnAppImageServesItsVersion(t *testing.T) {
	docker := dockertest.Engine(t)
	dockertest.Sweep(t, "slipway.test", t.Name())
	image := dockertest.AppImage(t, "VERSION=7", "GREETING=hello")
	created, err := docker.ContainerCreate(t.Context(),
		&container.Config{Image: image, Labels: map[string]string{"slipway.test": t.Name()}},
		&container.HostConfig{PublishAllPorts: true, PortBindings: nat.PortMap{"8080/tcp": {{HostIP: "127.0.0.1"}}}},
		nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := docker.ContainerStart(t.Context(), created.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	state, err := docker.ContainerInspect(t.Context(), created.ID)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + state.NetworkSettings.Ports["8080/tcp"][0].HostPort
	if got := get(t, "http://"+address+"/"); got != "version 7\nhello\n" {
		t.Errorf("the server answered %q", got)
	}
}

func TestTheBaseImageRunsAShell(t *testing.T) {
	docker := dockertest.Engine(t)
	dockertest.Sweep(t, "slipway.test", t.Name())
	created, err := docker.ContainerCreate(t.Context(), &container.Config{
		Image: dockertest.BaseImage(t), Cmd: []string{"sh", "-c", "exit 7"}, Labels: map[string]string{"slipway.test": t.Name()},
	}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	ended, failed := docker.ContainerWait(t.Context(), created.ID, container.WaitConditionNextExit)
	if err := docker.ContainerStart(t.Context(), created.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case end := <-ended:
		if end.StatusCode != 7 {
			t.Errorf("the shell ended with %d, want 7", end.StatusCode)
		}
	case err := <-failed:
		t.Fatal(err)
	}
}

func TestImagesAreTheSameOnEveryRun(t *testing.T) {
	first, err := dockertest.App(t, "VERSION=1").Digest()
	if err != nil {
		t.Fatal(err)
	}
	second, err := dockertest.App(t, "VERSION=1").Digest()
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Errorf("the same app gave the images %s and %s", first, second)
	}
}

// get waits for the server to answer.
func get(t *testing.T, url string) string {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		response, err := http.Get(url)
		if err == nil {
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			return strings.ReplaceAll(string(body), "\r", "")
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s never answered: %v", url, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}
