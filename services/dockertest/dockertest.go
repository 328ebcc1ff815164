// Package dockertest gives tests a real Docker Engine and images that need no network.
//
//	docker := dockertest.Engine(t)              // the engine's client; fails the test where none answers
//	base := dockertest.BaseImage(t)             // "slipway.test/base:1": busybox with sh, httpd, wget, nc; use it in FROM
//	image := dockertest.AppImage(t, "VERSION=2") // a small HTTP server with these variables baked in, by tag
//	dockertest.Sweep(t, "slipway.environment", id) // at the end removes what carries this label
//	engine := dockertest.NewOwn(t)              // another engine, which the test may stop and start
//
// [Base] and [App] are the same images as values, for tests that push to a registry without an engine.
// An image is made once and has the same id on every run, so that tests of several packages may ask
// for it at the same moment. They stay in the engine for the next run.
package dockertest

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// patience bounds every call that a helper makes.
const patience = 3 * time.Minute

// Engine returns a client of the Docker Engine that DOCKER_HOST names, by default the local one.
// A test without an engine fails.
func Engine(t testing.TB) *client.Client {
	t.Helper()
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatalf("Docker client: %v", err)
	}
	t.Cleanup(func() { _ = docker.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := docker.Ping(ctx); err != nil {
		t.Fatalf("no Docker Engine answers at %s: run the tests with make test, which installs and starts one (%v)",
			docker.DaemonHost(), err)
	}
	return docker
}

// load puts img into the engine under ref, unless the engine has exactly this image there.
func load(t testing.TB, ref string, img v1.Image) string {
	t.Helper()
	docker := Engine(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatalf("image name %s: %v", ref, err)
	}
	id, err := img.ConfigName()
	if err != nil {
		t.Fatalf("image %s: %v", ref, err)
	}
	if have, err := docker.ImageInspect(ctx, ref); err == nil && have.ID == id.String() {
		return ref
	}
	archive, writer := io.Pipe()
	go func() { writer.CloseWithError(tarball.Write(tag, img, writer)) }()
	answer, err := docker.ImageLoad(ctx, archive, client.ImageLoadWithQuiet(true))
	if err != nil {
		t.Fatalf("load %s into the Docker Engine: %v", ref, err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatalf("load %s into the Docker Engine: %v", ref, err)
	}
	if _, err := docker.ImageInspect(ctx, ref); err != nil {
		t.Fatalf("the Docker Engine has no %s after loading it: %v", ref, err)
	}
	return ref
}

// Sweep removes, when the test ends, every container, network, volume and image whose label key has this value.
func Sweep(t testing.TB, key, value string) {
	t.Helper()
	docker := Engine(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		Remove(ctx, t, docker, key, value)
	})
}

// Remove is what Sweep does at the end of the test. What can't be removed is a fault of the test: it would disturb
// the next run.
func Remove(ctx context.Context, t testing.TB, docker *client.Client, key, value string) {
	labelled := filters.NewArgs(filters.Arg("label", key+"="+value))
	gone := func(what, id string, err error) {
		if err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("remove %s %s: %v", what, id, err)
		}
	}
	removeContainers := func() {
		containers, err := docker.ContainerList(ctx, container.ListOptions{All: true, Filters: labelled})
		gone("containers", "", err)
		for _, c := range containers {
			err := docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
			for errdefs.IsConflict(err) && ctx.Err() == nil { // the engine is at it, for somebody who did not wait for the end
				<-time.After(50 * time.Millisecond)
				err = docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
			}
			gone("container", c.ID, err)
		}
	}
	removeContainers()
	networks, err := docker.NetworkList(ctx, network.ListOptions{Filters: labelled})
	gone("networks", "", err)
	for _, n := range networks {
		err := docker.NetworkRemove(ctx, n.ID)
		for err != nil && strings.Contains(err.Error(), "active endpoints") && ctx.Err() == nil { // of a container that was just being made
			<-time.After(100 * time.Millisecond)
			removeContainers()
			err = docker.NetworkRemove(ctx, n.ID)
		}
		gone("network", n.Name, err)
	}
	volumes, err := docker.VolumeList(ctx, volume.ListOptions{Filters: labelled})
	gone("volumes", "", err)
	for _, v := range volumes.Volumes {
		gone("volume", v.Name, docker.VolumeRemove(ctx, v.Name, true))
	}
	images, err := docker.ImageList(ctx, image.ListOptions{Filters: labelled})
	gone("images", "", err)
	for _, i := range images {
		_, err := docker.ImageRemove(ctx, i.ID, image.RemoveOptions{Force: true, PruneChildren: true})
		gone("image", i.ID, err)
	}
}
