package images_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/images"
	"slipway.dev/services/registries/registriestest"
)

const (
	spdx = `{"spdxVersion":"SPDX-2.3","packages":[{"name":"zlib1g","versionInfo":"1:1.2.13","licenseConcluded":"NOASSERTION","licenseDeclared":"Zlib"},
		{"name":"apt","versionInfo":"2.6.1","licenseConcluded":"GPL-2.0-or-later","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/apt@2.6.1"}]}]}`
	cyclone = `{"bomFormat":"CycloneDX","components":[{"group":"org.acme","name":"core","version":"1.0","licenses":[{"license":{"id":"MIT"}},{"expression":"Apache-2.0 OR ISC"}],
		"components":[{"name":"inner","version":"0.1"}]}]}`
	slsa1 = `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1","subject":[{"name":"checkout","digest":{"sha256":"ab"}}],"predicate":{
		"buildDefinition":{"buildType":"https://mobyproject.org/buildkit@v1","externalParameters":{"configSource":{"uri":"https://git.example.test/shop.git","digest":{"sha1":"0123456789abcdef0123456789abcdef01234567"},"path":"Dockerfile"},"request":{"frontend":"dockerfile.v0"}},
		"resolvedDependencies":[{"uri":"pkg:docker/debian@12","digest":{"sha256":"cd"}}]},"runDetails":{"builder":{"id":"https://portal.test/builder"},"metadata":{"invocationId":"run-1","startedOn":"2026-11-01T10:00:00Z","finishedOn":"2026-11-01T10:01:00Z"}}}}`
	slsa02 = `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://slsa.dev/provenance/v0.2","subject":[],"predicate":{"builder":{"id":"https://old.test"},"buildType":"x",
		"invocation":{"configSource":{"uri":"git+https://old.test/shop","digest":{"sha1":"fedc"},"entryPoint":"build.yml"},"parameters":{"a":"b"}},"materials":[{"uri":"m","digest":{"sha1":"1"}}]}}`
)

// attest returns an artifact about the subject with one file.
func attest(t *testing.T, subject v1.Descriptor, artifactType string, files ...mutate.Addendum) v1.Image {
	t.Helper()
	img, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.MediaType(artifactType)), files...)
	if err != nil {
		t.Fatal(err)
	}
	if subject.Digest.Hex == "" {
		return img
	}
	return mutate.Subject(img, subject).(v1.Image)
}

func file(content, mediaType string, annotations map[string]string) mutate.Addendum {
	return mutate.Addendum{Layer: static.NewLayer([]byte(content), types.MediaType(mediaType)), Annotations: annotations}
}

func describe(t *testing.T, i interface {
	Digest() (v1.Hash, error)
	Size() (int64, error)
	MediaType() (types.MediaType, error)
}) v1.Descriptor {
	t.Helper()
	digest, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	size, err := i.Size()
	if err != nil {
		t.Fatal(err)
	}
	kind, err := i.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	return v1.Descriptor{MediaType: kind, Digest: digest, Size: size}
}

// attested is an index of two platforms with what BuildKit attests beside them, and what
// others attach to it: a bill of materials by its subject, and a signature by cosign's tag.
func attested(t *testing.T) (index v1.ImageIndex, about func(v1.Descriptor) map[string]v1.Image) {
	t.Helper()
	index = twoPlatforms(t)
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range slices.Clone(manifest.Manifests) {
		statements := attest(t, v1.Descriptor{}, string(types.OCIConfigJSON),
			file(`{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","subject":[{"name":"a","digest":{"sha256":"`+m.Digest.Hex+`"}}],"predicate":`+spdx+`}`, "application/vnd.in-toto+json", map[string]string{"in-toto.io/predicate-type": "https://spdx.dev/Document"}),
			file(slsa1, "application/vnd.in-toto+json", map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}))
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: statements, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": m.Digest.String()}}})
	}
	return index, func(d v1.Descriptor) map[string]v1.Image {
		envelope := fmt.Sprintf(`{"payloadType":"application/vnd.in-toto+json","payload":%q,"signatures":[{"sig":"x"}]}`, base64.StdEncoding.EncodeToString([]byte(slsa02)))
		return map[string]v1.Image{
			"bom":  attest(t, d, "application/vnd.cyclonedx+json", file(cyclone, "application/vnd.cyclonedx+json", nil)),
			"slsa": attest(t, d, "application/vnd.dsse.envelope.v1+json", file(envelope, "application/vnd.dsse.envelope.v1+json", nil)),
			strings.Replace(d.Digest.String(), ":", "-", 1) + ".sig": attest(t, v1.Descriptor{}, string(types.OCIConfigJSON),
				file(`{"critical":{}}`, "application/vnd.dev.cosign.simplesigning.v1+json", map[string]string{"dev.cosignproject.cosign/signature": "MEUC"})),
		}
	}
}

// opened opens the one file of the kind.
func (f *fixture) opened(t *testing.T, ctx context.Context, p *models.ImagePassport, registry, kind, text string) *models.ImageDocument {
	t.Helper()
	for _, r := range p.Referrers {
		for _, file := range r.Files {
			if file.Kind != kind {
				continue
			}
			d, err := f.images.Document(ctx, images.DocumentQuery{Which: images.Which{Registry: registry, Repository: p.Repository, Digest: r.Digest}, File: file.Digest, Text: text})
			if err != nil {
				t.Fatalf("opening %s: %v", kind, err)
			}
			return d
		}
	}
	t.Fatalf("there is no %s in %+v", kind, p.Referrers)
	return nil
}

func TestAttestationsAreFoundAndReadInEveryRegistry(t *testing.T) {
	t.Parallel()
	house := registriestest.Start(t)
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		f.connect(t, house.Host)
		ctx := modelstest.As(t, db, f.Viewer)
		index, about := attested(t)
		name := "acme/" + strings.ToLower(models.NewID())
		own := f.push(t, "payments/checkout:main", index)
		pushTo(t, house.Host+"/"+name+":main", index)
		for tag, img := range about(describe(t, index)) {
			f.push(t, "payments/checkout:"+tag, img)
			pushTo(t, house.Host+"/"+name+":"+tag, img)
		}
		for registry, repository := range map[string]string{"": "payments/checkout", "house": name} {
			p, err := f.images.Passport(ctx, images.Which{Registry: registry, Repository: repository, Digest: own})
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Images) != 2 || p.Unread != "" || slices.Contains(p.Platforms, "unknown/unknown") {
				t.Errorf("%q: the platforms are %+v, %s", registry, p.Images, p.Unread)
			}
			var kinds []string
			for _, r := range p.Referrers {
				kinds = append(kinds, r.Via+" "+r.Kind)
			}
			slices.Sort(kinds)
			want := []string{"index SBOM (SPDX), Provenance (SLSA 1)", "index SBOM (SPDX), Provenance (SLSA 1)", "subject Attestation (in-toto)", "subject SBOM (CycloneDX)", "tag Signature (cosign)"}
			if !slices.Equal(kinds, want) {
				t.Errorf("%q: the attestations are %q, want %q", registry, kinds, want)
			}
			f.read(t, ctx, p, registry)
		}
	})
}

// read opens one document of each kind.
func (f *fixture) read(t *testing.T, ctx context.Context, p *models.ImagePassport, registry string) {
	t.Helper()
	d := f.opened(t, ctx, p, registry, "SBOM (SPDX)", "")
	if d.Kind != models.DocumentSBOM || d.Total != 2 || d.Packages.Items[0].Name != "apt" || d.Packages.Items[0].License != "GPL-2.0-or-later" || d.Packages.Items[1].License != "Zlib" || d.Packages.Items[0].PURL == "" || d.Statement == nil {
		t.Errorf("SPDX reads as %+v", d)
	}
	if d = f.opened(t, ctx, p, registry, "SBOM (SPDX)", "ZLIB"); d.Total != 1 || d.Packages.Items[0].Name != "zlib1g" {
		t.Errorf("narrowed it has %+v", d.Packages)
	}
	d = f.opened(t, ctx, p, registry, "SBOM (CycloneDX)", "")
	if d.Total != 2 || d.Packages.Items[1].Name != "org.acme/core" || d.Packages.Items[1].License != "MIT AND Apache-2.0 OR ISC" {
		t.Errorf("CycloneDX reads as %+v", d.Packages)
	}
	d = f.opened(t, ctx, p, registry, "Provenance (SLSA 1)", "")
	if v := d.Provenance; v == nil || v.Builder != "https://portal.test/builder" || v.Source != "https://git.example.test/shop.git" || v.Commit[:4] != "0123" || v.EntryPoint != "Dockerfile" || v.StartedAt == nil || len(v.Materials) != 1 || d.Signed {
		t.Errorf("SLSA 1 reads as %+v", v)
	}
	d = f.opened(t, ctx, p, registry, "Attestation (in-toto)", "")
	if v := d.Provenance; v == nil || v.Builder != "https://old.test" || v.Commit != "fedc" || v.Parameters[0].Value != "b" || !d.Signed || d.Title != "Provenance (SLSA 0.2)" {
		t.Errorf("SLSA 0.2 in an envelope reads as %+v", d)
	}
	d = f.opened(t, ctx, p, registry, "Signature (cosign)", "")
	if d.Signature["dev.cosignproject.cosign/signature"] != "MEUC" || string(d.Content) != `{"critical":{}}` {
		t.Errorf("the signature reads as %+v", d)
	}
}

func TestAnAttestationIsFoundFromThePlatformThatItIsAbout(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	ctx := modelstest.As(t, f.db, f.Viewer)
	index, _ := attested(t)
	p, err := f.images.Get(ctx, f.push(t, "payments/checkout:main", index))
	if err != nil {
		t.Fatal(err)
	}
	child, err := f.images.Get(ctx, p.Images[1].Digest)
	if err != nil || len(child.Referrers) != 1 || child.Referrers[0].About != child.Digest {
		t.Errorf("the platform's attestations are %+v: %v", child.Referrers, err)
	}
	statement, err := f.images.Get(ctx, p.Referrers[0].Digest)
	if err != nil || statement.ArtifactType == "" || statement.Kind != "SBOM (SPDX), Provenance (SLSA 1)" || len(statement.Files) != 3 {
		t.Errorf("an attestation's own page is %+v: %v", statement, err)
	}
}

func TestLayersTellWhichOtherImagesHaveThem(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		ctx := modelstest.As(t, db, f.Viewer)
		img := dockerfile(t, "amd64")
		digest := f.push(t, "payments/checkout:a", img)
		other := f.push(t, "payments/checkout:b", mutate.Annotations(img, map[string]string{"a": "b"}).(v1.Image))
		f.push(t, "search/index:c", img)
		p, err := f.images.Get(ctx, digest)
		if err != nil {
			t.Fatal(err)
		}
		if p.Layers[0].Shared != 1 || p.Layers[1].Shared != 0 {
			t.Errorf("the layers are %+v", p.Layers)
		}
		of, list, err := f.images.Sharing(ctx, images.Which{Repository: "payments/checkout", Digest: digest}, p.Layers[0].Digest)
		if err != nil || of.Digest != digest || len(list) != 1 || list[0].Digest != other || list[0].Tags[0].Name != "b" {
			t.Errorf("it is shared by %+v: %v", list, err)
		}
		if all, err := f.images.Find(modelstest.As(t, db, f.Admin), "payments/checkout", digest); err != nil || all.Layers[0].Shared != 2 {
			t.Errorf("an admin sees %+v: %v", all.Layers, err)
		}
	})
}

func TestAHostileDocumentIsBoundedAndNeverTrusted(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	ctx := modelstest.As(t, f.db, f.Viewer)
	var many []map[string]string
	for i := range 60_000 {
		many = append(many, map[string]string{"name": fmt.Sprintf("package-%05d", i), "versionInfo": strings.Repeat("9", 20)})
	}
	large, err := json.Marshal(map[string]any{"packages": many})
	if err != nil {
		t.Fatal(err)
	}
	deep := `{"packages":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "}"
	for what, content := range map[string]string{"large": string(large), "deep": deep, "wrong": `{"packages":7,"components":{"a":1}}`, "no text": "\x00\xff", "none": "", "nonsense": "{"} {
		img := attest(t, v1.Descriptor{}, "application/spdx+json", file(content, "application/spdx+json", nil))
		digest := f.push(t, "payments/checkout:hostile", img)
		p, err := f.images.Get(ctx, digest)
		if err != nil {
			t.Fatal(err)
		}
		d, err := f.images.Document(ctx, images.DocumentQuery{Which: images.Which{Repository: "payments/checkout", Digest: digest}, File: p.Layers[0].Digest, Page: models.Page{Cursor: "-5", Limit: 10}})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if len(d.Packages.Items) > 10 || d.Total > 50_000 || what == "large" && d.Packages.Next != "10" || what == "no text" && !d.Binary {
			t.Errorf("%s reads as %d of %d packages, next %q, binary %t", what, len(d.Packages.Items), d.Total, d.Packages.Next, d.Binary)
		}
		for _, file := range []string{"sha256:" + strings.Repeat("0", 64), "", "../../etc/passwd"} {
			if err := second(f.images.Document(ctx, images.DocumentQuery{Which: images.Which{Repository: "payments/checkout", Digest: digest}, File: file})); !models.IsCode(err, models.NotFound) {
				t.Errorf("%s: opening %q: %v", what, file, err)
			}
		}
	}
}

func TestAnArtifactOfAnyTypeIsNamedAndANestedIndexIsShown(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	ctx := modelstest.As(t, f.db, f.Viewer)
	chart := attest(t, v1.Descriptor{}, "application/vnd.cncf.helm.config.v1+json", file("chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", map[string]string{"org.opencontainers.image.title": "shop-1.0.tgz"}))
	p, err := f.images.Get(ctx, f.push(t, "payments/charts:1", chart))
	if err != nil || p.Kind != "Helm chart" || p.Files[1].Title != "shop-1.0.tgz" || p.Config != nil {
		t.Errorf("a chart is %+v: %v", p, err)
	}
	inner := twoPlatforms(t)
	outer := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: inner})
	nested, err := f.images.Get(ctx, f.push(t, "payments/nested:1", outer))
	if err != nil || len(nested.Images) != 1 || nested.Images[0].Platform != "" || !strings.Contains(nested.Images[0].MediaType, "index") || nested.ArtifactType != "" {
		t.Errorf("a nested index is %+v: %v", nested, err)
	}
	ref, err := name.ParseReference(f.images.Registry.Host()+"/payments/none:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, mutate.IndexMediaType(empty.Index, types.OCIImageIndex), f.login); err != nil {
		t.Fatal(err)
	}
}
