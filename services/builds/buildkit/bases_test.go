package buildkit_test

import (
	"context"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildkit"
	"slipway.dev/services/builds/buildtest"
	"slipway.dev/services/dockertest"
)

// bases are a cache for docker.io in the registry, which has slipway-base:1 and :2.
func bases(t *testing.T, registry string) builds.Bases {
	t.Helper()
	for _, tag := range []string{"1", "2"} {
		buildtest.Push(t, registry+"/cache/docker.io/library/slipway-base:"+tag, dockertest.Base(t))
	}
	return builds.Bases{
		Host: registry, Under: map[string]string{"docker.io": "cache/docker.io"}, Credential: buildtest.Anonymous,
		Check: func(_ context.Context, image string) error {
			if !strings.HasPrefix(image, registry+"/cache/docker.io/library/slipway-base:") {
				return models.Errorf(models.NotFound, "The cache has no such image.")
			}
			return nil
		},
	}
}

func TestBaseImagesComeThroughTheCache(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]func(t *testing.T) *buildkit.Builder{
		"Docker Engine": builder,
		"buildkitd":     func(t *testing.T) *buildkit.Builder { return daemon(buildtest.StartDaemon(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := buildtest.Registry(t)
			r := buildtest.Request(t, registry, buildtest.Files{"Dockerfile": "ARG VERSION=1\n" +
				"FROM slipway-base:${VERSION} AS slipway-base\nRUN echo " + models.NewID() + " > /one\n" +
				"FROM scratch\nCOPY --from=slipway-base /one /one\nCOPY --from=docker.io/library/slipway-base:2 /bin/busybox /bin/busybox\n"})
			r.Bases = bases(t, registry)
			result, seen, err := buildtest.Build(t, kind(t), r)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(seen.Text(), "The base image slipway-base:1 comes through the portal's cache.") {
				t.Errorf("the log says %s", seen.Text())
			}
			for _, step := range seen.Names() {
				if strings.Contains(step, "cache/docker.io") {
					t.Errorf("a step is called %q", step)
				}
			}
			if step := seen.Find("FROM docker.io/library/slipway-base:1"); step.Line != 2 {
				t.Errorf("the base is of line %d", step.Line)
			}
			buildtest.Image(t, r, result.Digest)
		})
	}
}

func TestABaseImageThatTheCacheDoesNotGiveComesFromItsRegistry(t *testing.T) {
	t.Parallel()
	registry := buildtest.Registry(t)
	r := request(t, registry, "RUN echo "+models.NewID())
	base, _, _ := strings.Cut(dockertest.BaseImage(t), "/")
	r.Bases = bases(t, registry)
	r.Bases.Under = map[string]string{base: "cache/docker.io"}
	_, seen, err := buildtest.Build(t, builder(t), r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(seen.Text(), "comes from its own registry. The cache has no such image.") {
		t.Errorf("the log says %s", seen.Text())
	}

	r = request(t, registry, "RUN echo "+models.NewID())
	r.Bases = bases(t, registry)
	r.Bases.Under = map[string]string{base: "cache/docker.io"}
	r.Bases.Check = func(context.Context, string) error { return nil } // and then it is not there
	_, seen, err = buildtest.Build(t, builder(t), r)
	if err != nil {
		t.Fatal(err)
	}
	if w := seen.Warnings(); len(w) == 0 || !strings.Contains(w[len(w)-1], "began again") {
		t.Errorf("the warnings are %q", w)
	}
}
