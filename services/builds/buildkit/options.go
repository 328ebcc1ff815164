package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"

	bk "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/tonistiigi/fsutil"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// options turn the request into what BuildKit's Solve takes.
func (b *Builder) options(ctx context.Context, r builds.Request, can builds.Capabilities, file *dockerfile) (bk.SolveOpt, error) {
	files, err := fsutil.NewFS(file.context)
	if err != nil {
		return bk.SolveOpt{}, err
	}
	folder, err := fsutil.NewFS(filepath.Dir(file.real))
	if err != nil {
		return bk.SolveOpt{}, err
	}
	o := bk.SolveOpt{
		Ref:           models.NewID(),
		Frontend:      "dockerfile.v0",
		FrontendAttrs: b.attributes(r, file),
		LocalMounts:   map[string]fsutil.FS{"context": files, "dockerfile": folder},
		SharedKey:     "slipway-" + r.CacheKey, // without it all builds would share what was sent
		Session:       []session.Attachable{&credentials{image: r.Image, bases: r.Bases, owner: models.PrincipalFrom(ctx)}},
		Exports:       []bk.ExportEntry{b.export(r)},
	}
	cache(&o, r, can)
	return o, attach(&o, r)
}

// attributes are the frontend's (moby/buildkit, docs/reference/dockerfile-frontend and frontend/dockerui/config.go).
func (b *Builder) attributes(r builds.Request, file *dockerfile) map[string]string {
	attrs := map[string]string{"filename": filepath.Base(file.real)}
	if file.syntax == "" || !b.allowed(file.syntax) {
		attrs["cmdline"] = "" // the built-in frontend, whatever the file says
	}
	for _, a := range r.Arguments {
		attrs["build-arg:"+a.Name] = a.Value
	}
	for k, v := range r.Labels {
		attrs["label:"+k] = v
	}
	// RUN --mount=type=cache names a folder of the engine, which serves all teams: without a
	// namespace one team could leave files there for the builds of another.
	attrs["build-arg:BUILDKIT_CACHE_MOUNT_NS"] = r.CacheKey
	if file.mounting || len(r.Secrets)+len(r.Withheld) > 0 { // also for what a base image mounts by ONBUILD
		attrs["hostname"] = sandbox(r)
	}
	if r.NoCache {
		attrs["no-cache"] = ""
	}
	if r.Target != "" {
		attrs["target"] = r.Target
	}
	if len(r.Platforms) > 0 {
		attrs["platform"] = strings.Join(r.Platforms, ",")
	}
	if r.Provenance {
		attrs["attest:provenance"] = "mode=max,version=v1"
	}
	if r.SBOM {
		attrs["attest:sbom"] = ""
		if b.Generator != "" {
			attrs["attest:sbom"] = "generator=" + b.Generator
		}
	}
	return attrs
}

// sandbox is the host name that commands see. It is part of the cache key of each
// command, which secrets are not: so a command that read one secret is never
// answered from the cache to a build that has another one, or none, and a changed
// secret has the commands run anew.
func sandbox(r builds.Request) string {
	sum := sha256.Sum256([]byte(r.CacheKey + "\x00" + r.SecretsKey))
	return "build-" + hex.EncodeToString(sum[:8])
}

// export is where the image goes: into the engine's store under its name, or to the registry under its digest alone.
func (b *Builder) export(r builds.Request) bk.ExportEntry {
	if !b.Engine.pushes(r) {
		return bk.ExportEntry{Type: "moby", Attrs: map[string]string{"name": r.Image.Name()}}
	}
	attrs := map[string]string{"name": r.Image.Repository, "push": "true", "push-by-digest": "true", "oci-mediatypes": "true"}
	if r.Image.PlainHTTP {
		attrs["registry.insecure"] = "true"
	}
	return bk.ExportEntry{Type: bk.ExporterImage, Attrs: attrs}
}

// cache adds where steps are looked for and kept beyond the engine. What can't be read or written there fails no build.
func cache(o *bk.SolveOpt, r builds.Request, can builds.Capabilities) {
	if r.Cache.Ref == "" {
		return
	}
	from := map[string]string{"ref": r.Cache.Ref}
	if r.Image.PlainHTTP {
		from["registry.insecure"] = "true"
	}
	o.CacheImports = []bk.CacheOptionsEntry{{Type: "registry", Attrs: from}}
	switch {
	case !r.Cache.Write:
	case can.RegistryCache:
		to := map[string]string{"ref": r.Cache.Ref, "mode": "max", "image-manifest": "true", "oci-mediatypes": "true", "ignore-error": "true"}
		if r.Image.PlainHTTP {
			to["registry.insecure"] = "true"
		}
		o.CacheExports = []bk.CacheOptionsEntry{{Type: "registry", Attrs: to}}
	default:
		o.CacheExports = []bk.CacheOptionsEntry{{Type: "inline", Attrs: map[string]string{}}}
	}
}

// attach lets commands ask this process for the request's secrets while the build runs.
func attach(o *bk.SolveOpt, r builds.Request) error {
	values, keys := map[string][]byte{}, map[string]builds.Secret{}
	for _, s := range r.Secrets {
		if s.Kind == models.BuildSecretSSH {
			keys[s.ID] = s
			continue
		}
		values[s.ID] = s.Value
	}
	agents, err := newAgents(keys)
	if err != nil {
		return err
	}
	o.Session = append(o.Session, secretsprovider.FromMap(values), agents)
	return nil
}
