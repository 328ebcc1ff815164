package slipwaytest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"

	"slipway.dev/services/dockertest"
)

// targetLabel is on everything that a Docker target makes, with the target's id.
const targetLabel = "slipway.target"

// sweep removes, after the portal has ended, what it left in the Docker Engine: the containers of its images,
// the networks of its targets, and the images.
func sweep(t testing.TB, p *Portal) {
	t.Helper()
	docker := dockertest.Engine(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		host := "localhost:" + p.Port
		for _, target := range sweepContainers(ctx, t, docker, host) {
			sweepNetworks(ctx, t, docker, target)
		}
		sweepImages(ctx, t, docker, host)
	})
}

// sweepContainers removes the containers of the portal's images and gives the targets that they ran on.
func sweepContainers(ctx context.Context, t testing.TB, docker *client.Client, host string) (targets []string) {
	containers, err := docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", targetLabel))})
	report(t, "containers", err)
	for _, c := range containers {
		if strings.HasPrefix(c.Image, host+"/") {
			targets = append(targets, c.Labels[targetLabel])
			report(t, c.ID, docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}))
		}
	}
	return targets
}

func sweepNetworks(ctx context.Context, t testing.TB, docker *client.Client, target string) {
	networks, err := docker.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", targetLabel+"="+target))})
	report(t, "networks", err)
	for _, n := range networks {
		report(t, n.Name, docker.NetworkRemove(ctx, n.ID))
	}
}

func sweepImages(ctx context.Context, t testing.TB, docker *client.Client, host string) {
	images, err := docker.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", host+"/*/*"))})
	report(t, "images", err)
	for _, i := range images {
		for _, name := range append(i.RepoTags, i.RepoDigests...) {
			if strings.HasPrefix(name, host+"/") {
				_, err := docker.ImageRemove(ctx, name, image.RemoveOptions{Force: true, PruneChildren: true})
				report(t, name, err)
			}
		}
	}
}

// report makes what could not be removed a fault of the test: it would disturb the next one.
func report(t testing.TB, what string, err error) {
	if err != nil && !errdefs.IsNotFound(err) {
		t.Errorf("remove %s from the Docker Engine: %v", what, err)
	}
}
