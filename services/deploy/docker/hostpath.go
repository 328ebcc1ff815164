package docker

import (
	"context"
	"os"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// lookFrom is where the container that looks at host paths has the allowed folder.
const lookFrom = "/slipway.allowed"

// checkHostPaths refuses what the target's settings do not allow, and paths that lead elsewhere than they say: a link
// below an allowed folder would be followed by the engine.
func (t *target) checkHostPaths(ctx context.Context, r deploy.Release) error {
	if err := t.may.Check(r.Runtime); err != nil {
		told := err.(*models.Error) //nolint:errorlint // Check gives no other
		return deploy.Failf(deploy.StageStart, err, "%s", refusal(told.Fields))
	}
	for _, h := range r.HostPaths {
		prefix, _ := t.may.Prefix(h.Source)
		if err := t.look(ctx, r, prefix, h.Source); err != nil {
			return t.explainStart(r, err)
		}
	}
	return nil
}

// refusal is the sentence of the first field that is refused.
func refusal(fields map[string]string) string {
	for _, name := range []string{"host_network", "host_paths"} {
		if fields[name] != "" {
			return fields[name]
		}
	}
	return "The target does not allow what the app asks of its host."
}

// look has the engine look at every part of the path below the allowed folder. It makes a container for that which is
// never started: the engine reads paths in it, and nothing is installed on the host.
func (t *target) look(ctx context.Context, r deploy.Release, prefix, source string) error {
	image, err := t.imageID(ctx, r.Image)
	if err != nil {
		return err
	}
	made, err := t.docker.ContainerCreate(ctx,
		&container.Config{Image: image, Cmd: []string{"none"}, Labels: map[string]string{labelTarget: t.id, labelDeployment: r.ID, labelCommand: "look"}},
		&container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{{Type: mount.TypeBind, Source: prefix, Target: lookFrom, ReadOnly: true}}}, nil, nil, "")
	if err != nil {
		return missingPath(prefix, err)
	}
	defer func() { _ = t.remove(context.WithoutCancel(ctx), made.ID) }()
	at := ""
	for part := range strings.SplitSeq(strings.TrimPrefix(source[len(prefix):], "/"), "/") {
		if part == "" {
			continue // the folder itself
		}
		at = path.Join(at, part)
		found, err := t.docker.ContainerStatPath(ctx, made.ID, path.Join(lookFrom, at))
		if err != nil {
			return missingPath(path.Join(prefix, at), err)
		}
		if found.Mode&os.ModeSymlink != 0 || found.Mode&^os.ModePerm&^os.ModeSticky&^os.ModeSetgid&^os.ModeSetuid&^os.ModeDir != 0 {
			return deploy.Failf(deploy.StageStart, nil, "%s on the target's host is neither a folder nor a file but leads elsewhere, so no app gets it. Name the place itself.", path.Join(prefix, at))
		}
	}
	return nil
}

func missingPath(at string, err error) error {
	if errdefs.IsNotFound(err) || strings.Contains(err.Error(), "does not exist") {
		return deploy.Failf(deploy.StageStart, err, "There is no %s on the target's host. Make it there, or correct the path.", at)
	}
	return err
}
