package buildkit_test

import (
	"archive/tar"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildtest"
	"slipway.dev/services/dockertest"
)

func TestABuildkitdMakesSeveralPlatformsWithoutEmulation(t *testing.T) {
	t.Parallel()
	d := buildtest.StartDaemon(t)
	r := buildtest.Request(t, buildtest.Registry(t), buildtest.Files{"Dockerfile": "FROM --platform=$BUILDPLATFORM " + d.Base +
		" AS build\nARG TARGETARCH\nRUN echo for $TARGETARCH > /out\nFROM scratch\nCOPY --from=build /out /out\n"})
	r.Platforms = []string{"linux/amd64", "linux/arm64"}
	result, seen, err := buildtest.Build(t, daemon(d), r)
	if err != nil {
		t.Fatal(err)
	}
	made := index(t, r, result.Digest).Manifests
	for _, m := range made {
		if file, want := content(t, buildtest.Image(t, r, m.Digest.String()), "out"), "for "+m.Platform.Architecture+"\n"; file != want {
			t.Errorf("the image for %s holds %q", m.Platform, file)
		}
	}
	if len(made) != 2 {
		t.Errorf("the index names %d images", len(made))
	}
	if step := seen.Find("RUN echo for arm64 > /out"); step == nil || step.Line != 3 || step.Stage != "build" {
		t.Errorf("the step is %+v: %q", step, seen.Names())
	}

	r = from(t, d, "RUN true")
	r.Platforms = []string{"linux/s390x"}
	_, seen, err = buildtest.Build(t, daemon(d), r)
	buildtest.Failed(t, err, builds.ClassUser, "commands on linux/s390x", "linux/"+runtime.GOARCH, "BUILDPLATFORM")
	if seen.Find("RUN true") != nil {
		t.Error("the build began")
	}
}

func index(t *testing.T, r builds.Request, digest string) *v1.IndexManifest {
	t.Helper()
	ref, err := name.NewDigest(r.Image.Repository + "@" + digest)
	if err != nil {
		t.Fatal(err)
	}
	found, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	m, err := found.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// content is the file of the name in an image.
func content(t *testing.T, img v1.Image, file string) string {
	t.Helper()
	files := tar.NewReader(mutate.Extract(img))
	for {
		h, err := files.Next()
		if err != nil {
			t.Fatalf("looking for %s: %v", file, err)
		}
		if h.Name == file {
			return text(t, files)
		}
	}
}

func text(t *testing.T, from io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// scanner is an image that makes a bill of materials as BuildKit's protocol for it says.
func scanner(t *testing.T) v1.Image {
	t.Helper()
	script := `echo '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{"name":"scanned"}}' > $BUILDKIT_SCAN_DESTINATION/x.spdx.json`
	image, err := mutate.Config(dockertest.Base(t), v1.Config{Entrypoint: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// statements are the attestations that an index names.
func statements(t *testing.T, r builds.Request, digest string) (all string) {
	t.Helper()
	for _, m := range index(t, r, digest).Manifests {
		if m.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
			continue
		}
		layers, err := buildtest.Image(t, r, m.Digest.String()).Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			blob, err := l.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			all += text(t, blob)
		}
	}
	return all
}

func TestABuildkitdAttachesProvenanceAndABillOfMaterialsWithoutSecrets(t *testing.T) {
	t.Parallel()
	d := buildtest.StartDaemon(t)
	b := daemon(d)
	b.Generator = buildtest.Push(t, buildtest.Registry(t)+"/scanner:1", scanner(t))
	canary := "canary" + onlyDigits(models.NewID())
	r := from(t, d, "ARG COLOUR", "RUN --mount=type=secret,id=npm,required=true test -s /run/secrets/npm && echo $COLOUR")
	r.Provenance, r.SBOM = true, true
	r.Arguments = []models.BuildArgument{{Name: "COLOUR", Value: "green"}}
	r.Secrets = []builds.Secret{{Kind: models.BuildSecretMount, ID: "npm", Value: []byte(canary)}}
	result, _, err := buildtest.Build(t, b, r)
	if err != nil {
		t.Fatal(err)
	}
	attested := statements(t, r, result.Digest)
	for _, part := range []string{"https://slsa.dev/provenance/v1", "https://spdx.dev/Document", "scanned", `"build-arg:COLOUR":"green"`} {
		if !strings.Contains(strings.ReplaceAll(attested, `": "`, `":"`), part) {
			t.Errorf("the attestations lack %s", part)
		}
	}
	if strings.Contains(attested, canary) || d.Find(t, canary) != "" || strings.Contains(d.Output(), canary) {
		t.Error("the secret is in the attestations or in what the engine keeps")
	}
}

func TestTheCacheInTheRegistryServesAnotherEngine(t *testing.T) {
	t.Parallel()
	host, id := buildtest.Registry(t), models.NewID()
	base := buildtest.Push(t, host+"/base:1", dockertest.Base(t))
	files := buildtest.Files{"Dockerfile": "FROM " + base + " AS build\nRUN echo " + id + " > /out\nFROM " + base + "\nCOPY --from=build /out /out\n"}
	build := func(d *buildtest.Daemon, write bool) models.StepState {
		r := buildtest.Request(t, host, files)
		r.Cache = builds.Cache{Ref: host + "/team/app:buildcache", Write: write}
		_, seen, err := buildtest.Build(t, daemon(d), r)
		if err != nil {
			t.Fatal(err)
		}
		return seen.Find(id + " > /out").State
	}
	if got := build(buildtest.StartDaemon(t), true); got != models.StepSucceeded {
		t.Errorf("the first build's step was %s", got)
	}
	if got := build(buildtest.StartDaemon(t), false); got != models.StepCached {
		t.Errorf("on an engine that knew nothing the step was %s", got)
	}
}

func TestAnEngineThatKeepsNoCacheInARegistryPutsItIntoTheImage(t *testing.T) {
	t.Parallel()
	b := builder(t)
	can, err := b.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := request(t, buildtest.Registry(t), "RUN echo "+models.NewID())
	r.Cache = builds.Cache{Ref: r.Image.Repository + ":buildcache", Write: true}
	result, seen, err := buildtest.Build(t, b, r)
	if err != nil {
		t.Fatal(err)
	}
	if result.InlineCache == can.RegistryCache {
		t.Errorf("the result is %+v on an engine that says %+v", result, can)
	}
	if can.RegistryCache {
		return // its cache is looked at with a buildkitd
	}
	if config, err := buildtest.Image(t, r, result.Digest).RawConfigFile(); err != nil || !strings.Contains(string(config), "moby.buildkit.cache") {
		t.Errorf("the image's config holds no cache: %s, error %v", config, err)
	}
	if w := strings.Join(seen.Warnings(), "\n"); !strings.Contains(w, can.Engine) || !strings.Contains(w, "last stage") {
		t.Errorf("the warnings are %q", w)
	}
	r.Cache.Write = false // as for code from outside
	if result, _, err = buildtest.Build(t, b, r); err != nil || result.InlineCache {
		t.Errorf("a build that writes no cache says %+v, error %v", result, err)
	}
}
