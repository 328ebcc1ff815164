package handlers

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
)

func TestImagesAreFoundFromTheListToThePassport(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	digest := f.places["digest"]
	for path, texts := range map[string][]string{
		"/images":                                 {"payments/checkout", f.host, "Build #2", `href="/images/payments/checkout"`},
		"/images/payments/checkout":               {digest[7:19], "main", "Build #2", "docker push " + f.host + "/payments/checkout:TAG", "/deploy?image=" + digest},
		"/images/" + digest:                       {"payments/checkout:main", "Layers", "Where it runs and ran", "Builds that made it", "schemaVersion"},
		"/images/payments/checkout@" + digest:     {"payments/checkout:main"},
		"/images/payments%2Fcheckout%40" + digest: {"payments/checkout:main"},
	} {
		w := f.send(ask{path: path, cookie: f.cookie(f.Developer)})
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
		for _, text := range texts {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s does not show %q", path, text)
			}
		}
	}
	for _, path := range []string{"/images/payments/none", "/images/sha256:none", "/images/search/index@" + digest, "/images/a@b@c", "/images/%00", "/images/..%2f..%2fetc"} {
		if w := f.send(ask{path: path, cookie: f.cookie(f.Developer)}); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/images/payments/checkout", "/images/" + digest} {
		if w := f.send(ask{path: path, cookie: f.cookie(f.Stranger)}); w.Code != http.StatusNotFound {
			t.Errorf("%s for a stranger: %d", path, w.Code)
		}
	}
	if w := f.send(ask{path: "/images/" + digest, cookie: f.cookie(f.Viewer)}); strings.Contains(w.Body.String(), "/deploy?") {
		t.Error("a viewer is offered to deploy")
	}
}

func TestWhatAnImageSaysOfItselfStaysText(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script>`
	f := newFull(t)
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Author = evil, evil, evil
	config.History = []v1.History{{CreatedBy: "RUN " + evil, Comment: evil}}
	config.Config = v1.Config{User: evil, Env: []string{evil + "=" + evil}, Labels: map[string]string{evil: "javascript:alert(1)"}, Entrypoint: []string{evil}}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	image = mutate.Annotations(image, map[string]string{evil: evil}).(v1.Image)
	user, password, err := f.s.Registry.Credential(models.WithPrincipal(t.Context(), models.System("worker")), "payments/evil", []string{"pull", "push"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(f.host+"/payments/evil:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: user, Password: password})); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/images", "/images/payments/evil", "/images/" + digest.String()} {
		w := f.send(ask{path: path, cookie: f.cookie(f.Viewer)})
		if page := w.Body.String(); w.Code != http.StatusOK || strings.Contains(page, "<script>alert") || strings.Contains(page, `href="javascript:`) {
			t.Errorf("%s: %d, or a script", path, w.Code)
		}
	}
}
