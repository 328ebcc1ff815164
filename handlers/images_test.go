package handlers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"slipway.dev/models"
)

func TestImagesAreFoundFromTheListToThePassport(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	digest := f.places["digest"]
	for path, texts := range map[string][]string{
		"/images":                             {"payments/checkout", f.host, "Build #2", `href="/images/payments/checkout"`},
		"/images/payments/checkout":           {digest[7:19], "main", "Build #2", "docker push " + f.host + "/payments/checkout:TAG", "/deploy?image=" + digest},
		"/images/" + digest:                   {"payments/checkout:main", "Layers", "Where it runs and ran", "Builds that made it", "/images/payments/checkout@" + digest + "/attestations"},
		"/images/payments/checkout@" + digest: {"payments/checkout:main"},
		"/images/payments/checkout@" + digest + "/manifest":            {"schemaVersion", "Image configuration"},
		"/images/payments/checkout@" + digest + "/attestations":        {"Nothing is attested about it", "cosign sign"},
		"/images/payments/checkout@" + digest + "/documents/" + digest: {"Manifest", "schemaVersion"},
		"/images/payments/checkout/-/untagged":                         {"Every image has a tag"},
		"/images/payments/checkout?q=MAI&sort=size":                    {"main", "Build #2"},
		"/images/payments/checkout?q=zzz":                              {"No tag has this in its name"},
		"/images?q=checkout":                                           {"payments/checkout:main", "Clear"},
		"/images?q=main":                                               {"payments/checkout:main"},
		"/images?q=" + digest[7:15]:                                    {"payments/checkout:main"},
		"/images?q=" + f.Build.Commit[:8]:                              {"payments/checkout:main", "Build #2"},
		"/images?q=nonesuch":                                           {"No image is called so"},
		"/images?running=true":                                         {"payments/checkout"},
		"/images/~" + f.places["registry"]:                             {"Open by name", "registry.test", "Shown is what is known here"},
		"/search?q=checkout:ma":                                        {"payments/checkout:main", "/images/payments/checkout@" + digest},
		"/images/payments%2Fcheckout%40" + digest:                      {"payments/checkout:main"},
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
	if w := f.send(ask{path: "/images/payments/checkout:main", cookie: f.cookie(f.Viewer)}); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/images/payments/checkout@"+digest {
		t.Errorf("a tag leads to %d %s", w.Code, w.Header().Get("Location"))
	}
	for _, path := range []string{"/images/payments/checkout@" + digest + "/none", "/images/payments/checkout/-/none", "/images/payments/checkout:none", "/images/payments/checkout:%27--", "/images/~none", "/images/~none/a@" + digest, "/images/~" + f.places["registry"] + "/a/-/untagged",
		"/images/payments/checkout@" + digest + "/documents/sha256:0", "/images/payments/none", "/images/sha256:none", "/images/search/index@" + digest, "/images/a@b@c", "/images/%00", "/images/..%2f..%2fetc"} {
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

func TestWhatAnAttestationSaysStaysText(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script>`
	f := newFull(t)
	quoted, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	user, password, err := f.s.Registry.Credential(models.WithPrincipal(t.Context(), models.System("worker")), "payments/evil", []string{"pull", "push"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	login := remote.WithAuth(&authn.Basic{Username: user, Password: password})
	for kind, content := range map[string]string{
		"application/spdx+json":                            `{"packages":[{"name":%[1]s,"versionInfo":%[1]s,"licenseDeclared":%[1]s,"externalRefs":[{"referenceType":"purl","referenceLocator":"javascript:alert(1)"}]}]}`,
		"application/vnd.in-toto+json":                     `{"_type":%[1]s,"predicateType":"https://slsa.dev/provenance/v1","subject":[{"name":%[1]s,"digest":{%[1]s:%[1]s}}],"predicate":{"runDetails":{"builder":{"id":"javascript:alert(1)"}},"buildDefinition":{"buildType":%[1]s,"externalParameters":{%[1]s:%[1]s}}}}`,
		"application/vnd.dev.cosign.simplesigning.v1+json": `{"critical":%[1]s}`,
		evil: `%[1]s`,
	} {
		layer := static.NewLayer(fmt.Appendf(nil, content, quoted), types.MediaType(kind))
		image, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.MediaType(kind)),
			mutate.Addendum{Layer: layer, Annotations: map[string]string{evil: evil, "org.opencontainers.image.title": evil, "in-toto.io/predicate-type": evil}})
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.ParseReference(f.host+"/payments/evil:v1", name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image, login); err != nil {
			t.Fatal(err)
		}
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		file, err := layer.Digest()
		if err != nil {
			t.Fatal(err)
		}
		at := "/images/payments/evil@" + digest.String()
		for _, path := range []string{at, at + "/manifest", at + "/attestations", at + "/documents/" + file.String(), at + "/documents/" + file.String() + "?q=%22%3E%3Cscript%3Ealert(1)"} {
			w := f.send(ask{path: path, cookie: f.cookie(f.Viewer)})
			if page := w.Body.String(); w.Code != http.StatusOK || strings.Contains(page, "<script>alert") || strings.Contains(page, `href="javascript:`) {
				t.Errorf("%s: %d, or a script", path, w.Code)
			}
		}
	}
}
