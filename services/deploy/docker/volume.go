package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// sizeTime bounds the engine's measuring of its volumes.
const sizeTime = 15 * time.Second

// volumeName is what the engine calls a volume of the release's app in its environment: readable, and by its end the
// same for every release of the app there and for nobody else.
func (t *target) volumeName(r deploy.Release, name string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{t.id, r.EnvironmentID, r.AppID, name}, "\n")))
	return fmt.Sprintf("slipway-%s-%s-%s-%s-%s", r.Team, r.Environment, r.App, name, hex.EncodeToString(sum[:6]))
}

// makeVolumes makes those of the release's volumes that are not there yet.
func (t *target) makeVolumes(ctx context.Context, r deploy.Release) error {
	for _, v := range r.Volumes {
		name, err := t.findVolume(ctx, r, v.Name)
		if err != nil || name != "" {
			if err != nil {
				return t.unreachable(err)
			}
			continue
		}
		made, err := t.docker.VolumeCreate(ctx, volume.CreateOptions{Name: t.volumeName(r, v.Name), Labels: map[string]string{
			labelTarget: t.id, labelTeam: r.Team, labelEnvironment: r.EnvironmentID, labelApp: r.App, labelAppID: r.AppID, labelVolume: v.Name,
		}})
		if err != nil {
			return t.explainStart(r, err)
		}
		if made.Labels[labelTarget] != t.id || made.Labels[labelAppID] != r.AppID {
			return deploy.Failf(deploy.StageStart, nil, "The Docker Engine has a volume %s that is not Slipway's. Rename or remove it, and deploy again.", made.Name)
		}
	}
	return nil
}

// findVolume returns the engine's name of the release's volume, empty where there is none. A volume keeps the name
// that it got when its team, environment or app was called otherwise.
func (t *target) findVolume(ctx context.Context, r deploy.Release, name string) (string, error) {
	found, err := t.docker.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelTarget+"="+t.id),
		filters.Arg("label", labelEnvironment+"="+r.EnvironmentID), filters.Arg("label", labelAppID+"="+r.AppID), filters.Arg("label", labelVolume+"="+name))})
	if err != nil || len(found.Volumes) == 0 {
		return "", err
	}
	return found.Volumes[0].Name, nil
}

// volumesOf returns the engine's names of the release's volumes, by their own.
func (t *target) volumesOf(ctx context.Context, r deploy.Release) (map[string]string, error) {
	names := map[string]string{}
	for _, v := range r.Volumes {
		name, err := t.findVolume(ctx, r, v.Name)
		if err != nil {
			return nil, err
		}
		if name == "" {
			return nil, deploy.Failf(deploy.StageStart, nil, "Somebody removed the volume %s while the container was made. Deploy again.", v.Name)
		}
		names[v.Name] = name
	}
	return names, nil
}

// mounts are the release's volumes and host paths in a container, by the engine's names.
func mounts(r deploy.Release, volumes map[string]string) (out []mount.Mount) {
	for _, v := range r.Volumes {
		out = append(out, mount.Mount{Type: mount.TypeVolume, Source: volumes[v.Name], Target: v.Path, ReadOnly: v.ReadOnly})
	}
	for _, h := range r.HostPaths {
		out = append(out, mount.Mount{Type: mount.TypeBind, Source: h.Source, Target: h.Path, ReadOnly: h.ReadOnly,
			BindOptions: &mount.BindOptions{Propagation: mount.PropagationRPrivate}})
	}
	return out
}

// Volumes lists the volumes that carry the target's label, with their sizes where the engine says them in time.
func (t *target) Volumes(ctx context.Context) ([]deploy.Volume, error) {
	if err := t.agree(ctx); err != nil {
		return nil, t.unreachable(err)
	}
	found, err := t.docker.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelTarget+"="+t.id), filters.Arg("label", labelVolume))})
	if err != nil {
		return nil, t.unreachable(err)
	}
	users, err := t.volumeUsers(ctx)
	if err != nil {
		return nil, t.unreachable(err)
	}
	sizes := t.volumeSizes(ctx, len(found.Volumes))
	var out []deploy.Volume
	for _, v := range found.Volumes {
		size, known := sizes[v.Name]
		if !known {
			size = -1
		}
		out = append(out, deploy.Volume{
			ID: v.Name, EnvironmentID: v.Labels[labelEnvironment], AppID: v.Labels[labelAppID], Name: v.Labels[labelVolume],
			Size: size, UsedBy: users[v.Name], CreatedAt: clock(v.CreatedAt),
		})
	}
	return out, nil
}

// volumeUsers returns the releases whose containers have each volume.
func (t *target) volumeUsers(ctx context.Context) (map[string][]string, error) {
	all, err := t.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelTarget+"="+t.id))})
	if err != nil {
		return nil, err
	}
	users, seen := map[string][]string{}, map[string]bool{}
	for _, c := range all {
		for _, m := range c.Mounts {
			release := c.Labels[labelDeployment]
			if m.Type == mount.TypeVolume && !seen[m.Name+" "+release] {
				seen[m.Name+" "+release] = true
				users[m.Name] = append(users[m.Name], release)
			}
		}
	}
	return users, nil
}

// volumeSizes asks the engine to measure, where there is something to measure.
func (t *target) volumeSizes(ctx context.Context, n int) map[string]int64 {
	sizes := map[string]int64{}
	if n == 0 {
		return sizes
	}
	ctx, cancel := context.WithTimeout(ctx, sizeTime)
	defer cancel()
	usage, err := t.docker.DiskUsage(ctx, types.DiskUsageOptions{Types: []types.DiskUsageObject{types.VolumeObject}})
	if err != nil {
		return sizes // a large disk takes long to measure: the list is worth having without
	}
	for _, v := range usage.Volumes {
		if v != nil && v.UsageData != nil && v.UsageData.Size >= 0 {
			sizes[v.Name] = v.UsageData.Size
		}
	}
	return sizes
}

// RemoveVolume removes a volume that carries the target's label.
func (t *target) RemoveVolume(ctx context.Context, id string) error {
	v, err := t.docker.VolumeInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return t.unreachable(err)
	}
	if v.Labels[labelTarget] != t.id || v.Labels[labelVolume] == "" {
		return models.Errorf(models.NotFound, "The target keeps no such volume.")
	}
	err = t.docker.VolumeRemove(ctx, id, false)
	switch {
	case err == nil, errdefs.IsNotFound(err):
		return nil
	case errdefs.IsConflict(err):
		return models.Errorf(models.Conflict, "A container has the volume %s. Wait until it is gone, or stop what uses it.", v.Labels[labelVolume])
	}
	return t.unreachable(err)
}
