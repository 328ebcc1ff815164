// Package buildkit builds with the BuildKit that a Docker Engine carries. It
// speaks BuildKit's own protocol through the engine's API, so that steps, cache
// hits and logs come as data; the engine needs nothing installed beside it.
//
// The image goes from the builder into the engine's store and from there to
// the registry by an ordinary push, which every engine from 20.10 on does the
// same way. Where the engine can't reach the registry, as with Docker Desktop
// and a registry on the host, this process pushes it.
package buildkit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	bk "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

const (
	answerWithin = 10 * time.Second // for the engine's small questions
	forgetWithin = 10 * time.Second
	endWithin    = time.Second // for what is done after a build was canceled
)

// Builder builds with one Docker Engine.
type Builder struct {
	Docker *client.Client
	// Frontends are the images that a Dockerfile's "# syntax=" line may name.
	// Any other is left aside and the engine's own frontend builds the file:
	// a frontend is a program that the engine would fetch and run.
	Frontends []string
}

// Capabilities asks the engine what it can do.
func (b *Builder) Capabilities(ctx context.Context) (builds.Capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	version, err := b.Docker.ServerVersion(ctx)
	if err != nil {
		return builds.Capabilities{}, b.silent(err)
	}
	c := builds.Capabilities{Engine: "Docker " + version.Version}
	kit, err := b.connect(ctx)
	if err != nil {
		return c, b.silent(err)
	}
	defer kit.Close()
	_, err = kit.Info(ctx)
	switch {
	case err == nil:
		c.Heredoc, c.SourceErrors = true, true
	case grpcerrors.Code(err) != codes.Unimplemented: // BuildKit before 0.11 has no such question
		return c, b.silent(err)
	}
	info, err := b.Docker.Info(ctx)
	if err != nil {
		return c, b.silent(err)
	}
	for _, pair := range info.DriverStatus {
		if pair[0] == "driver-type" && strings.HasPrefix(pair[1], "io.containerd.snapshotter") {
			c.MultiPlatform, c.RegistryCache, c.Provenance = true, true, true
		}
	}
	return c, nil
}

// Build builds the Dockerfile and pushes the image.
func (b *Builder) Build(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
	file, err := open(r)
	if err != nil {
		return nil, err
	}
	if err := b.ready(ctx, file, emit); err != nil {
		return nil, err
	}
	b.forget(ctx, r.Image.Name()) // which an attempt that died may have left
	defer b.forget(ctx, r.Image.Name())
	if err := b.solve(ctx, r, file, emit); err != nil {
		return nil, err
	}
	digest, err := b.push(ctx, r, emit)
	if err != nil {
		return nil, err
	}
	return &builds.Result{Digest: digest}, nil
}

// ready says what stands against the build before it begins, and warns of what doesn't.
func (b *Builder) ready(ctx context.Context, file *dockerfile, emit func(builds.Event)) error {
	ping, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	answer, err := b.Docker.Ping(ping)
	if err != nil {
		return b.silent(err)
	}
	if answer.OSType == "windows" {
		return builds.Failure(builds.ClassInfrastructure, "The Docker Engine runs Windows containers, which BuildKit does not build. Switch it to Linux containers.", nil)
	}
	if file.heredoc > 0 {
		can, err := b.Capabilities(ctx)
		if err != nil {
			return err
		}
		if !can.Heredoc {
			return file.failure(file.heredoc, fmt.Sprintf("The here-document in line %d needs a newer engine than this one (%s). Write the commands with && and \\, or build on Docker 23 or later.", file.heredoc, can.Engine))
		}
	}
	for _, text := range file.warnings {
		emit(builds.Event{At: time.Now(), Warning: text})
	}
	if file.syntax != "" && !b.allowed(file.syntax) {
		emit(builds.Event{At: time.Now(), Warning: fmt.Sprintf("Line %d asks for the frontend %s, which is not allowed here; the engine's own built the file.", file.syntaxLine, file.syntax)})
	}
	return nil
}

func (b *Builder) allowed(frontend string) bool {
	for _, f := range b.Frontends {
		if f == frontend {
			return true
		}
	}
	return false
}

func (b *Builder) connect(ctx context.Context) (*bk.Client, error) {
	return bk.New(ctx, "",
		bk.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return b.Docker.DialHijack(ctx, "/grpc", "h2c", nil)
		}),
		bk.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			return b.Docker.DialHijack(ctx, "/session", proto, meta)
		}))
}

// solve builds the image into the engine's store.
func (b *Builder) solve(ctx context.Context, r builds.Request, file *dockerfile, emit func(builds.Event)) error {
	kit, err := b.connect(ctx)
	if err != nil {
		return b.silent(err)
	}
	defer kit.Close()
	options, err := b.options(r, file)
	if err != nil {
		return err
	}
	steps := &tracker{emit: emit, file: file, vertices: map[string]*vertex{}}
	updates := make(chan *bk.SolveStatus)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range updates {
			steps.update(s)
		}
	}()
	_, err = kit.Solve(ctx, nil, options, updates)
	<-done
	steps.close(ctx.Err() != nil)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return b.explain(err, steps, file, r)
}

func (b *Builder) options(r builds.Request, file *dockerfile) (bk.SolveOpt, error) {
	files, err := fsutil.NewFS(file.context)
	if err != nil {
		return bk.SolveOpt{}, err
	}
	folder, err := fsutil.NewFS(filepath.Dir(file.real))
	if err != nil {
		return bk.SolveOpt{}, err
	}
	attrs := map[string]string{"filename": filepath.Base(file.real)}
	if file.syntax == "" || !b.allowed(file.syntax) {
		attrs["cmdline"] = "" // the built-in frontend, whatever the file says
	}
	// RUN --mount=type=cache names a folder of the engine, which serves all teams: without a
	// namespace one team could leave files there for the builds of another.
	attrs["build-arg:BUILDKIT_CACHE_MOUNT_NS"] = r.CacheKey
	if r.NoCache {
		attrs["no-cache"] = ""
	}
	for k, v := range r.Labels {
		attrs["label:"+k] = v
	}
	return bk.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: attrs,
		LocalMounts:   map[string]fsutil.FS{"context": files, "dockerfile": folder},
		SharedKey:     "slipway-" + r.CacheKey, // without it all builds would share what was sent
		Session:       []session.Attachable{noCredentials{}},
		Exports:       []bk.ExportEntry{{Type: "moby", Attrs: map[string]string{"name": r.Image.Name()}}},
	}, nil
}

// noCredentials answers the engine's question for registry credentials: base images are pulled without any.
type noCredentials struct {
	auth.UnimplementedAuthServer
}

// Register makes the answers part of the build's session.
func (a noCredentials) Register(s *grpc.Server) { auth.RegisterAuthServer(s, a) }

// Credentials has none.
func (noCredentials) Credentials(context.Context, *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	return &auth.CredentialsResponse{}, nil
}

// FetchToken leaves it to the engine to ask for tokens.
func (noCredentials) FetchToken(context.Context, *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	return nil, status.Error(codes.Unavailable, "the engine fetches tokens itself")
}

// GetTokenAuthority leaves it to the engine to ask for tokens.
func (noCredentials) GetTokenAuthority(context.Context, *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	return nil, status.Error(codes.Unavailable, "the engine fetches tokens itself")
}

// forget takes the image's name out of the engine's store; what the build cache needs stays there.
func (b *Builder) forget(ctx context.Context, name string) {
	within := forgetWithin
	if ctx.Err() != nil {
		within = endWithin
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	_, err := b.Docker.ImageRemove(ctx, name, image.RemoveOptions{PruneChildren: true})
	if err != nil && !errdefs.IsNotFound(err) {
		slog.WarnContext(ctx, "an image could not be removed from the engine after its build", "image", name, "error", err)
	}
}

// silent is the failure that the engine does not answer.
func (b *Builder) silent(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	host := b.Docker.DaemonHost()
	help := "Start it and retry the build."
	if path, ok := strings.CutPrefix(host, "unix://"); ok {
		help = "Start it (systemctl start docker) and retry the build."
		if _, statErr := os.Stat(path); statErr == nil && errors.Is(err, os.ErrPermission) {
			help = "The worker's user may not use it: add that user to the group docker."
		}
	}
	return &builds.Error{Err: err, BuildError: models.BuildError{
		Class: builds.ClassInfrastructure, Message: fmt.Sprintf("The Docker Engine at %s does not answer. %s", host, help)}}
}
