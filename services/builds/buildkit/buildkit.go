// Package buildkit builds with BuildKit: the one that a Docker Engine carries,
// through the engine's API, or a buildkitd over mutual TLS. Both speak the same
// protocol, so that steps, cache hits and logs come as data.
//
// From a Docker Engine the image goes into the engine's store and from there to
// the registry by an ordinary push, which every engine from 20.10 on does the
// same way. Where the engine can't reach the registry, as with Docker Desktop
// and a registry on the host, this process pushes it. A buildkitd, and a Docker
// Engine where only that can do what is asked, pushes by itself, by digest, so
// that a build which was given up moves no name.
package buildkit

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	control "github.com/moby/buildkit/api/services/control"
	bk "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

const (
	answerWithin = 10 * time.Second // for the engine's small questions
	forgetWithin = 10 * time.Second
	endWithin    = time.Second // for what is done after a build was canceled
)

// Builder builds with one engine.
type Builder struct {
	Engine Engine // a *Docker or a *Daemon
	// Frontends are the images that a Dockerfile's "# syntax=" line may name.
	// A frontend is a program that the engine would fetch and run. Docker's own
	// is what engines have built in, which is used where the list lacks it; any
	// other that is not listed fails the build.
	Frontends []string
	// Generator is the image that makes bills of materials; BuildKit's default where empty.
	Generator string
}

// Engine is a way to a BuildKit.
type Engine interface {
	// describe names the engine in messages.
	describe() string
	// silent is the failure that the engine does not answer.
	silent(err error) error
	connect(ctx context.Context) (*bk.Client, error)
	capabilities(ctx context.Context) (builds.Capabilities, error)
	// ready fails where the engine can build nothing at all.
	ready(ctx context.Context) error
	// pushes tells whether the engine takes the image to the registry within the build.
	pushes(r builds.Request) bool
	// begin and end clear away what other attempts and this build leave in the engine.
	begin(ctx context.Context, r builds.Request)
	end(ctx context.Context, r builds.Request)
	// push takes the image that was built to the registry, where pushes said no.
	push(ctx context.Context, r builds.Request, emit func(builds.Event)) (digest string, err error)
}

// Capabilities asks the engine what it can do.
func (b *Builder) Capabilities(ctx context.Context) (builds.Capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return b.Engine.capabilities(ctx)
}

// Build builds the Dockerfile and pushes the image.
func (b *Builder) Build(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
	file, err := open(r)
	if file != nil && len(file.lines) > 0 {
		emit(builds.Event{At: time.Now(), File: file.record()})
	}
	if err != nil {
		return nil, err
	}
	can, err := b.ready(ctx, r, file, emit)
	if err != nil {
		return nil, err
	}
	b.Engine.begin(ctx, r)
	defer b.Engine.end(ctx, r)
	result := &builds.Result{InlineCache: r.Cache.Ref != "" && r.Cache.Write && !can.RegistryCache}
	if result.Digest, err = b.solveCached(ctx, r, can, file, emit); err != nil {
		return nil, err
	}
	if b.Engine.pushes(r) {
		return result, nil
	}
	result.Digest, err = b.Engine.push(ctx, r, emit)
	return result, err
}

// ready says what stands against the build before it begins, warns of what doesn't, and returns what the engine
// can do as far as the build depends on it.
func (b *Builder) ready(ctx context.Context, r builds.Request, file *dockerfile, emit func(builds.Event)) (can builds.Capabilities, err error) {
	if err := b.refuse(file, r); err != nil {
		return can, err
	}
	ping, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := b.Engine.ready(ping); err != nil {
		return can, err
	}
	if file.heredoc > 0 || len(r.Platforms) > 0 || r.Provenance || r.SBOM || r.Cache.Ref != "" {
		if can, err = b.Engine.capabilities(ping); err != nil {
			return can, err
		}
	}
	if file.heredoc > 0 && !can.Heredoc {
		return can, file.failure(file.heredoc, fmt.Sprintf("The here-document in line %d needs a newer engine than this one (%s). Write the commands with && and \\, or build on Docker 23 or later.", file.heredoc, can.Engine))
	}
	if lack := can.Lacks(r); lack != "" {
		return can, user("%s", lack)
	}
	if p := file.foreign(r, can.Platforms); p != "" {
		return can, user("%s runs commands on %s, which the engine (%s) does not have; it has %s. Build on an engine of that platform, set up emulation on this one, or compile on the engine's own platform with FROM --platform=$BUILDPLATFORM.",
			file.path, p, can.Engine, strings.Join(can.Platforms, ", "))
	}
	b.warn(file, r, can, emit)
	return can, nil
}

// refuse fails for what the Dockerfile asks for and builds don't have, with the line.
func (b *Builder) refuse(file *dockerfile, r builds.Request) error {
	if file.right.line > 0 {
		return file.failure(file.right.line, fmt.Sprintf("Line %d of %s asks for %s, a right over the engine's machine that builds don't have here. Remove it.", file.right.line, file.path, file.right.what))
	}
	if file.syntax != "" && !b.allowed(file.syntax) && !official(file.syntax) {
		return file.failure(file.syntaxLine, fmt.Sprintf("Line %d of %s asks for the frontend %s, a program that would read the file instead of BuildKit's own. It is not allowed here: remove the line, or ask an admin to allow it (the setting frontends).", file.syntaxLine, file.path, file.syntax))
	}
	if r.Target != "" && !file.hasStage(r.Target) {
		return user("%s has no stage %q, which the app's build settings name as the target. It has %s.", file.path, r.Target, strings.Join(file.stages, ", "))
	}
	for _, m := range file.mounts {
		if m.required && !has(r, m) {
			return file.failure(m.line, missingSecret(m, r, file))
		}
	}
	return nil
}

func has(r builds.Request, m mount) bool {
	return slices.ContainsFunc(r.Secrets, func(s builds.Secret) bool { return s.Kind == m.kind && s.ID == m.id })
}

// missingSecret says why a build lacks what a line mounts.
func missingSecret(m mount, r builds.Request, file *dockerfile) string {
	noun := "build secret"
	if m.kind == models.BuildSecretSSH {
		noun = "SSH key"
	}
	if why, withheld := r.Withheld[m.id]; withheld {
		return fmt.Sprintf("Line %d of %s needs the %s %q, which this build does not get: %s", m.line, file.path, noun, m.id, why)
	}
	return fmt.Sprintf("Line %d of %s needs the %s %q, which the app does not have. Add it in the app's build settings.", m.line, file.path, noun, m.id)
}

func (b *Builder) warn(file *dockerfile, r builds.Request, can builds.Capabilities, emit func(builds.Event)) {
	say := func(format string, args ...any) {
		emit(builds.Event{At: time.Now(), Warning: fmt.Sprintf(format, args...)})
	}
	for _, text := range file.warnings {
		say("%s", text)
	}
	if file.syntax != "" && !b.allowed(file.syntax) {
		say("Line %d asks for the frontend %s, which is not allowed here; the engine's own built the file.", file.syntaxLine, file.syntax)
	}
	for _, m := range file.mounts {
		if why, withheld := r.Withheld[m.id]; withheld && !has(r, m) {
			say("Line %d runs without the secret %q: %s", m.line, m.id, why)
		}
	}
	if r.Cache.Ref != "" && !can.RegistryCache {
		say("The engine (%s) keeps the cache inside of the image only, so that just the steps of its last stage are found there.", can.Engine)
	}
}

func (b *Builder) allowed(frontend string) bool { return slices.Contains(b.Frontends, frontend) }

// official tells whether the frontend is Docker's own, which engines have built in.
func official(frontend string) bool {
	name, _, _ := strings.Cut(plain(frontend), "@")
	name, _, _ = strings.Cut(name, ":")
	return name == "docker/dockerfile" || name == "docker/dockerfile-upstream"
}

// solveCached is solve with base images from the cache, and without where that fails.
func (b *Builder) solveCached(ctx context.Context, r builds.Request, can builds.Capabilities, file *dockerfile, emit func(builds.Event)) (digest string, err error) {
	own := file.real
	through, err := file.rebase(ctx, r, emit)
	if err != nil {
		return "", err
	}
	digest, err = b.solve(ctx, r, can, file, emit)
	if !through || err == nil || ctx.Err() != nil || !ofCache(err, r.Bases) {
		return digest, err
	}
	emit(builds.Event{At: time.Now(), Warning: "The cache did not give a base image; the build began again with the images of their own registries."})
	file.real = own
	return b.solve(ctx, r, can, file, emit)
}

// solve builds the image, into the engine's store or to the registry; in that case it returns the digest.
func (b *Builder) solve(ctx context.Context, r builds.Request, can builds.Capabilities, file *dockerfile, emit func(builds.Event)) (digest string, err error) {
	kit, err := b.Engine.connect(ctx)
	if err != nil {
		return "", b.Engine.silent(err)
	}
	defer kit.Close()
	options, err := b.options(ctx, r, can, file)
	if err != nil {
		return "", err
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
	answer, err := kit.Solve(ctx, nil, options, updates)
	<-done
	steps.close(ctx.Err() != nil)
	if len(r.Secrets) > 0 {
		forgetHistory(ctx, kit, options.Ref)
	}
	if err == nil {
		return answer.ExporterResponse["containerimage.digest"], nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return "", b.explain(err, steps, file, r)
}

// forgetHistory removes the engine's own record of the build. It holds the output of commands as they printed it,
// without the masks that are laid over the log, so that a secret that a command prints would stay there.
func forgetHistory(ctx context.Context, kit *bk.Client, ref string) {
	within := forgetWithin
	if ctx.Err() != nil {
		within = endWithin
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	_, err := kit.ControlClient().UpdateBuildHistory(ctx, &control.UpdateBuildHistoryRequest{Ref: ref, Delete: true})
	if code := grpcerrors.Code(err); err != nil && code != codes.Unimplemented && code != codes.NotFound { // BuildKit before 0.11 keeps none
		slog.WarnContext(ctx, "an engine keeps its record of a build that had secrets", "error", err)
	}
}
