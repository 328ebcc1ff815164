package slipwaytest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"slipway.dev/services/dockertest"
)

// targetLabel is on everything that a Docker target makes, with the target's id.
const targetLabel = "slipway.target"

// sweep removes, after the portal has ended, what it left in the Docker Engine: the containers of its images, all that
// its targets made, and the images.
func sweep(t testing.TB, p *Portal) {
	t.Helper()
	docker := dockertest.Engine(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		names := imageNames(ctx, t, docker, "localhost:"+p.Port+"/")
		for _, target := range append(p.targets, targetsOf(ctx, t, docker, names)...) {
			dockertest.Remove(ctx, t, docker, targetLabel, target)
		}
		for name := range names {
			if _, err := docker.ImageRemove(ctx, name, image.RemoveOptions{Force: true, PruneChildren: true}); err != nil && !errdefs.IsNotFound(err) {
				t.Errorf("remove the image %s: %v", name, err)
			}
		}
	})
}

// imageNames gives the names in the engine that have the prefix, each with its image's id; without it where the image has
// names of another portal too: of an image that two tests pushed alike, the containers may be the other one's.
func imageNames(ctx context.Context, t testing.TB, docker *client.Client, prefix string) map[string]string {
	images, err := docker.ImageList(ctx, image.ListOptions{})
	if err != nil {
		t.Errorf("list images: %v", err)
	}
	names := map[string]string{}
	for _, i := range images {
		all := append(i.RepoTags, i.RepoDigests...)
		shared := slices.ContainsFunc(all, func(name string) bool { return !strings.HasPrefix(name, prefix) })
		for _, name := range all {
			switch {
			case !strings.HasPrefix(name, prefix):
			case shared:
				names[name] = ""
			default:
				names[name] = i.ID
			}
		}
	}
	return names
}

// targetsOf gives the targets that run containers of the images.
func targetsOf(ctx context.Context, t testing.TB, docker *client.Client, names map[string]string) (targets []string) {
	containers, err := docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", targetLabel))})
	if err != nil {
		t.Errorf("list containers: %v", err)
	}
	ids := slices.Collect(maps.Values(names))
	for _, c := range containers {
		if slices.Contains(ids, c.ImageID) {
			targets = append(targets, c.Labels[targetLabel])
		}
	}
	return targets
}
