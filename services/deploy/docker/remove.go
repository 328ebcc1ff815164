package docker

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
)

// Remove stops and removes the release's containers, and the environment's network after the last of them.
func (t *target) Remove(ctx context.Context, release string, grace time.Duration) error {
	found, err := t.ofRelease(ctx, release)
	if err != nil {
		return err
	}
	for _, i := range found {
		seconds := int(grace.Round(time.Second) / time.Second)
		if grace > 0 && i.ExitCode == nil {
			if err := t.docker.ContainerStop(ctx, i.ID, container.StopOptions{Timeout: &seconds}); err != nil && !errdefs.IsNotFound(err) {
				return t.unreachable(err)
			}
		}
		if err := t.remove(ctx, i.ID); err != nil {
			return t.unreachable(err)
		}
	}
	if err := t.removeCommands(ctx, release); err != nil {
		return err
	}
	return t.dropNetworks(ctx)
}

func (t *target) remove(ctx context.Context, id string) error {
	err := t.docker.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) { // gone, or going
		return nil
	}
	return err
}

// dropNetworks removes the target's networks that no container uses; the engine refuses for those that one uses that
// runs, and those of containers that are about to start are left alone.
func (t *target) dropNetworks(ctx context.Context) error {
	if err := t.agree(ctx); err != nil {
		return t.unreachable(err)
	}
	found, err := t.docker.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelTarget+"="+t.id), filters.Arg("dangling", "true"))})
	if err != nil {
		return t.unreachable(err)
	}
	if len(found) == 0 {
		return nil
	}
	used, err := t.environments(ctx)
	if err != nil {
		return t.unreachable(err)
	}
	for _, n := range found {
		if used[n.Labels[labelEnvironment]] {
			continue
		}
		err := t.docker.NetworkRemove(ctx, n.ID)
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsPermissionDenied(err) && !errdefs.IsConflict(err) {
			return t.unreachable(err)
		}
	}
	return nil
}

// environments are those that have containers, whether they run or not.
func (t *target) environments(ctx context.Context) (map[string]bool, error) {
	all, err := t.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelTarget+"="+t.id))})
	used := map[string]bool{}
	for _, c := range all {
		used[c.Labels[labelEnvironment]] = true
	}
	return used, err
}
