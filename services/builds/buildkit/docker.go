package buildkit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	bk "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// Docker is the BuildKit inside of a Docker Engine.
type Docker struct{ Client *client.Client }

func (d *Docker) describe() string { return "The Docker Engine at " + d.Client.DaemonHost() }

// ready fails where the engine does not answer or builds for Windows.
func (d *Docker) ready(ctx context.Context) error {
	answer, err := d.Client.Ping(ctx)
	if err != nil {
		return d.silent(err)
	}
	if answer.OSType == "windows" {
		return builds.Failure(builds.ClassInfrastructure, "The Docker Engine runs Windows containers, which BuildKit does not build. Switch it to Linux containers.", nil)
	}
	return nil
}

func (d *Docker) connect(ctx context.Context) (*bk.Client, error) {
	return bk.New(ctx, "",
		bk.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return d.Client.DialHijack(ctx, "/grpc", "h2c", nil)
		}),
		bk.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			return d.Client.DialHijack(ctx, "/session", proto, meta)
		}))
}

func (d *Docker) capabilities(ctx context.Context) (builds.Capabilities, error) {
	version, err := d.Client.ServerVersion(ctx)
	if err != nil {
		return builds.Capabilities{}, d.silent(err)
	}
	c := builds.Capabilities{Engine: "Docker " + version.Version}
	kit, err := d.connect(ctx)
	if err != nil {
		return c, d.silent(err)
	}
	defer kit.Close()
	_, err = kit.Info(ctx)
	switch {
	case err == nil:
		c.Heredoc, c.SourceErrors = true, true
	case grpcerrors.Code(err) != codes.Unimplemented: // BuildKit before 0.11 has no such question
		return c, d.silent(err)
	}
	if workers, err := kit.ListWorkers(ctx); err == nil {
		c.Platforms, c.Labels = platformsOf(workers), labelsOf(workers)
	}
	info, err := d.Client.Info(ctx)
	if err != nil {
		return c, d.silent(err)
	}
	for _, pair := range info.DriverStatus {
		if pair[0] == "driver-type" && strings.HasPrefix(pair[1], "io.containerd.snapshotter") {
			c.MultiPlatform, c.RegistryCache, c.Provenance, c.SBOM = true, true, true, true
		}
	}
	return c, nil
}

// pushes is so where an image in the engine's store would lose what was asked for.
func (d *Docker) pushes(r builds.Request) bool {
	return len(r.Platforms) > 1 || r.Provenance || r.SBOM
}

// begin takes away what an attempt that died may have left.
func (d *Docker) begin(ctx context.Context, r builds.Request) { d.end(ctx, r) }

// end takes the image's name out of the engine's store; what the build cache needs stays there.
func (d *Docker) end(ctx context.Context, r builds.Request) {
	if d.pushes(r) {
		return
	}
	within := forgetWithin
	if ctx.Err() != nil {
		within = endWithin
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	_, err := d.Client.ImageRemove(ctx, r.Image.Name(), image.RemoveOptions{PruneChildren: true})
	if err != nil && !errdefs.IsNotFound(err) {
		slog.WarnContext(ctx, "an image could not be removed from the engine after its build", "image", r.Image.Name(), "error", err)
	}
}

// silent is the failure that the engine does not answer.
func (d *Docker) silent(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	host := d.Client.DaemonHost()
	help := "Start it and retry the build."
	if path, ok := strings.CutPrefix(host, "unix://"); ok {
		help = "Start it (systemctl start docker) and retry the build."
		if _, statErr := os.Stat(path); statErr == nil && errors.Is(err, os.ErrPermission) {
			help = "The worker's user may not use it: add that user to the group docker."
		}
	}
	return &builds.Error{Err: err, Lost: true, BuildError: models.BuildError{
		Class: builds.ClassInfrastructure, Message: fmt.Sprintf("The Docker Engine at %s does not answer. %s", host, help)}}
}
