package images_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/images"
	"slipway.dev/services/registry"
	"slipway.dev/services/registry/registrytest"
	"slipway.dev/services/secrets"
)

// fixture is a registry that images are really pushed to, and the service that reads it.
type fixture struct {
	*modelstest.World
	db     *models.Database
	images *images.Service
	login  remote.Option
}

func serve(t *testing.T, db *models.Database) *fixture {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	store := &registry.Service{DB: db, Box: box,
		Authenticate: func(context.Context, string, string) (*models.Principal, error) {
			return &models.Principal{Kind: models.PrincipalToken, Name: "Mira", Admin: true}, nil
		},
		Reload: func(_ context.Context, p *models.Principal) (*models.Principal, error) {
			p.Admin = true
			return p, nil
		}}
	registrytest.Serve(t, store)
	return &fixture{World: modelstest.Seed(t, db), db: db, images: &images.Service{DB: db.DB, Registry: store},
		login: remote.WithAuth(&authn.Basic{Username: "x", Password: "x"})}
}

func (f *fixture) ref(t *testing.T, image string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(f.images.Registry.Host()+"/"+image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// push pushes the image and returns its digest.
func (f *fixture) push(t *testing.T, image string, img remote.Taggable) string {
	t.Helper()
	ref, err := f.ref(t, image), error(nil)
	switch i := img.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, i, f.login)
	case v1.Image:
		err = remote.Write(ref, i, f.login)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := img.(interface{ Digest() (v1.Hash, error) }).Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func some(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// dockerfile is an image as a build would make it, of the architecture.
func dockerfile(t *testing.T, arch string) v1.Image {
	t.Helper()
	layer := func(content string) v1.Layer {
		return static.NewLayer([]byte(content+arch), types.OCILayer)
	}
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		mutate.Addendum{Layer: layer("base"), History: v1.History{CreatedBy: "/bin/sh -c #(nop) ADD file:abc in / "}},
		mutate.Addendum{Layer: nil, History: v1.History{CreatedBy: "ENV PORT=8080", EmptyLayer: true}},
		mutate.Addendum{Layer: layer("program"), History: v1.History{CreatedBy: "RUN |1 V=2 /bin/sh -c make # buildkit", Comment: "buildkit.dockerfile.v0"}},
		mutate.Addendum{Layer: nil, History: v1.History{CreatedBy: "EXPOSE map[53/udp:{} 8080/tcp:{}]", Comment: "buildkit.dockerfile.v0", EmptyLayer: true}},
		mutate.Addendum{Layer: nil, History: v1.History{CreatedBy: `ENTRYPOINT ["/app"]`, EmptyLayer: true}},
	)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", arch
	file.Config = v1.Config{Entrypoint: []string{"/app"}, Env: []string{"PORT=8080"}, User: "65532",
		ExposedPorts: map[string]struct{}{"8080/tcp": {}}, Labels: map[string]string{"org.opencontainers.image.title": "checkout"}}
	if img, err = mutate.ConfigFile(mutate.ConfigMediaType(img, types.OCIConfigJSON), file); err != nil {
		t.Fatal(err)
	}
	return img
}

// built records a good build of the seeded app that made the image.
func (f *fixture) built(t *testing.T, number int64, digest string) *models.Build {
	t.Helper()
	b := *f.Build
	b.ID, b.Number, b.State, b.CommitSubject = models.NewID(), number, models.BuildSucceeded, "Take cards"
	b.ImageRepository, b.ImageDigest = f.images.Registry.Host()+"/payments/checkout", digest
	if err := f.db.Create(&b).Error; err != nil {
		t.Fatal(err)
	}
	return &b
}

func (f *fixture) deployed(t *testing.T, number int64, digest string, active bool) {
	t.Helper()
	d := models.Deployment{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, EnvironmentID: f.Environment.ID, Number: number,
		State: models.DeploymentSucceeded, Active: active, CreatedByName: "Mira", CreatedAt: f.db.NowFunc(),
		ImageRepository: f.images.Registry.Host() + "/payments/checkout", ImageDigest: digest}
	if err := f.db.Create(&d).Error; err != nil {
		t.Fatal(err)
	}
}

func TestAnImageIsShownWithItsTagsBuildAndPlaces(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		img := dockerfile(t, "amd64")
		digest := f.push(t, "payments/checkout:main", img)
		f.push(t, "payments/checkout:build-2", img)
		f.built(t, 2, digest)
		newest := f.built(t, 3, digest)
		f.deployed(t, 1, digest, true)
		outside := f.push(t, "payments/checkout:outside", some(t))

		list, err := f.images.ForApp(modelstest.As(t, db, f.Viewer), f.App.ID, models.Page{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 2 || list.Items[0].Digest != outside || list.Items[1].Digest != digest {
			t.Fatalf("the images are %+v", list.Items)
		}
		if i := list.Items[0]; i.Build != nil || i.PushedByName != "Mira" || len(i.Running) != 0 {
			t.Errorf("the image from outside is %+v", i)
		}
		i := list.Items[1]
		if len(i.Tags) != 2 || i.Tags[0].Name != "build-2" || i.Build == nil || i.Build.ID != newest.ID || i.App.ID != f.App.ID ||
			!slices.Equal(i.Platforms, []string{"linux/amd64"}) || i.Size == 0 {
			t.Errorf("the built image is %+v", i)
		}
		if len(i.Running) != 1 || i.Running[0].EnvironmentName != "dev" || i.Running[0].AppName != "checkout" {
			t.Errorf("it runs in %+v", i.Running)
		}
	})
}

func TestThePassportMatchesLayersWithInstructions(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		digest := f.push(t, "payments/checkout:main", dockerfile(t, "amd64"))
		f.built(t, 2, digest)
		f.deployed(t, 1, digest, false)
		f.deployed(t, 2, digest, true)
		p, err := f.images.Get(modelstest.As(t, db, f.Viewer), digest)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range p.Layers {
			got = append(got, fmt.Sprintf("%s (%d)", l.Instruction, l.Size))
		}
		want := []string{"ADD file:abc in / (9)", "ENV PORT=8080 (0)", "RUN make (12)", "EXPOSE 53/udp 8080/tcp (0)", `ENTRYPOINT ["/app"] (0)`}
		if !slices.Equal(got, want) {
			t.Errorf("the layers are %q, want %q", got, want)
		}
		if p.Config == nil || p.Config.User != "65532" || p.Config.ExposedPorts[0] != "8080/tcp" || p.Config.Platform != "linux/amd64" {
			t.Errorf("the config is %+v", p.Config)
		}
		if len(p.Builds) != 1 || len(p.Deployments) != 2 || !p.Deployments[0].Active || len(p.Moves) != 1 || p.Moves[0].ActorName != "Mira" {
			t.Errorf("the history is %+v %+v %+v", p.Builds, p.Deployments, p.Moves)
		}
		if !bytes.Contains(p.Content, []byte("schemaVersion")) {
			t.Errorf("the manifest is %s", p.Content)
		}
	})
}

func TestAnIndexShowsItsPlatformsAndListsOnlyItself(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		ctx := modelstest.As(t, db, f.Viewer)
		index := v1.ImageIndex(empty.Index)
		for _, arch := range []string{"amd64", "arm64"} {
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: dockerfile(t, arch)})
		}
		digest := f.push(t, "payments/checkout:multi", index)
		list, err := f.images.Images(ctx, "payments/checkout", models.Page{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 || list.Items[0].Digest != digest {
			t.Errorf("the list shows %+v", list.Items)
		}
		plain := f.push(t, "payments/checkout:multi-2", index) // as a build pushes it before its annotations
		annotated := f.push(t, "payments/checkout:multi", mutate.Annotations(index, map[string]string{"a": "b"}).(v1.ImageIndex))
		if err := db.Where("name = 'multi-2'").Delete(&models.RegistryTag{}).Error; err != nil {
			t.Fatal(err)
		}
		if again, err := f.images.Images(ctx, "payments/checkout", models.Page{}); err != nil || len(again.Items) != 1 || again.Items[0].Digest != annotated || plain != digest {
			t.Errorf("pushed again with annotations the list shows %+v, error %v", again.Items, err)
		}
		p, err := f.images.Get(ctx, digest)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Images) != 2 || p.Images[1].Platform != "linux/arm64" || p.Images[1].Size == 0 || len(p.Layers) != 5 || p.Config.Platform != "linux/amd64" {
			t.Errorf("the index is %+v with the layers %+v", p.Images, p.Layers)
		}
		child, err := f.images.Get(ctx, p.Images[1].Digest)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(child.Indexes, digest) || len(child.Indexes) != 2 {
			t.Errorf("the platform's image is part of %v", child.Indexes)
		}
	})
}

func TestAnImageThatWasPushedAgainWithAnnotationsIsListedOnce(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		img := dockerfile(t, "amd64")
		f.push(t, "payments/checkout:build-1", img)
		annotated := mutate.Annotations(img, map[string]string{"org.opencontainers.image.revision": "0123456"}).(v1.Image)
		digest := f.push(t, "payments/checkout:build-1", annotated)
		replaced := f.push(t, "payments/checkout:latest", some(t))
		newest := f.push(t, "payments/checkout:latest", some(t))
		list, err := f.images.Images(modelstest.As(t, db, f.Viewer), "payments/checkout", models.Page{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range list.Items {
			got = append(got, i.Digest)
		}
		if want := []string{newest, replaced, digest}; !slices.Equal(got, want) {
			t.Errorf("the list has %v, want %v", got, want)
		}
	})
}

func TestNobodySeesTheImagesOfOtherTeams(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		img := some(t)
		digest := f.push(t, "payments/checkout:main", img)
		stranger := modelstest.As(t, db, f.Stranger)
		for what, err := range map[string]error{
			"Get":    second(f.images.Get(stranger, digest)),
			"Find":   second(f.images.Find(stranger, "payments/checkout", digest)),
			"Images": second(f.images.Images(stranger, "payments/checkout", models.Page{})),
			"One":    second(f.images.Repository(stranger, "payments/checkout")),
			"ForApp": second(f.images.ForApp(stranger, f.App.ID, models.Page{})),
			"Tag":    second(f.images.Resolve(stranger, f.App, "main")),
		} {
			if !models.IsCode(err, models.NotFound) {
				t.Errorf("%s of another team: %v", what, err)
			}
		}
		list, err := f.images.Repositories(stranger, models.Page{})
		if err != nil || len(list.Items) != 0 {
			t.Errorf("a stranger's list is %+v: %v", list.Items, err)
		}
		if _, err := f.images.Repositories(t.Context(), models.Page{}); !models.IsCode(err, models.Unauthorized) {
			t.Errorf("nobody's list: %v", err)
		}
		f.push(t, "search/copy:main", img)
		p, err := f.images.Get(stranger, digest)
		if err != nil {
			t.Fatal(err)
		}
		if p.Repository != "search/copy" || len(p.Others) != 0 {
			t.Errorf("the shared digest shows %s and %v", p.Repository, p.Others)
		}
		if p, err := f.images.Find(modelstest.As(t, db, f.Admin), "payments/checkout", digest); err != nil || !slices.Equal(p.Others, []string{"search/copy"}) {
			t.Errorf("an admin sees %+v: %v", p, err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestATagOrDigestResolvesToADigestOfTheAppAndNothingElse(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		ctx := modelstest.As(t, db, f.Developer)
		digest := f.push(t, "payments/checkout:main", some(t))
		foreign := f.push(t, "search/index:main", some(t))
		host := f.images.Registry.Host()
		for _, reference := range []string{"main", digest, "payments/checkout:main", host + "/payments/checkout:main", host + "/payments/checkout@" + digest, " main "} {
			if got, err := f.images.Resolve(ctx, f.App, reference); err != nil || got != digest {
				t.Errorf("%s resolves to %s: %v", reference, got, err)
			}
		}
		for _, reference := range []string{"", "absent", foreign, host + "/search/index:main", "payments/checkout", "' OR 1=1 --"} {
			if got, err := f.images.Resolve(ctx, f.App, reference); !models.IsCode(err, models.Invalid) {
				t.Errorf("%q resolves to %s: %v", reference, got, err)
			}
		}
	})
}

func TestListsPageOnTheServerWithAFixedNumberOfQueries(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		var queries atomic.Int64
		count := func(*gorm.DB) { queries.Add(1) }
		for _, register := range []func(string, func(*gorm.DB)) error{db.Callback().Query().Register, db.Callback().Row().Register, db.Callback().Raw().Register} {
			if err := register("count", count); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 12 {
			digest := f.push(t, fmt.Sprintf("payments/app-%02d:v1", i), some(t))
			f.push(t, fmt.Sprintf("payments/checkout:v%d", i), some(t))
			f.built(t, int64(i+2), digest)
		}
		ctx := modelstest.As(t, db, f.Viewer)
		measure := func(limit int) (repositories, images int64) {
			queries.Store(0)
			if _, err := f.images.Repositories(ctx, models.Page{Limit: limit}); err != nil {
				t.Fatal(err)
			}
			repositories = queries.Swap(0)
			if _, err := f.images.Images(ctx, "payments/checkout", models.Page{Limit: limit}); err != nil {
				t.Fatal(err)
			}
			return repositories, queries.Load()
		}
		r1, i1 := measure(1)
		r2, i2 := measure(12)
		if r1 != r2 || i1 != i2 || r2 > 15 || i2 > 10 {
			t.Errorf("one repository takes %d queries and twelve %d; one image %d and twelve %d", r1, r2, i1, i2)
		}

		var seen []string
		for page := (models.Page{Limit: 5}); ; {
			list, err := f.images.Images(ctx, "payments/checkout", page)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range list.Items {
				seen = append(seen, i.Tags[0].Name)
			}
			if page.Cursor = list.Next; page.Cursor == "" {
				break
			}
		}
		if strings.Join(seen, " ") != "v11 v10 v9 v8 v7 v6 v5 v4 v3 v2 v1 v0" {
			t.Errorf("the pages hold %v", seen)
		}
	})
}

func TestTheListOfRepositoriesSaysWhatEachHolds(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		old := f.push(t, "payments/checkout:v1", some(t))
		f.deployed(t, 1, old, true)
		begun := db.NowFunc()
		latest := f.push(t, "payments/checkout:v2", some(t))
		f.push(t, "payments/tools:v1", some(t))
		list, err := f.images.Repositories(modelstest.As(t, db, f.Viewer), models.Page{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 2 || list.Items[0].Name != "payments/tools" || list.Items[0].App != nil {
			t.Fatalf("the repositories are %+v", list.Items)
		}
		r := list.Items[1]
		if r.App == nil || r.App.ID != f.App.ID || r.Tags != 2 || r.Size == 0 || r.Latest == nil || r.Latest.Digest != latest ||
			len(r.Running) != 1 || r.Running[0].Digest != old {
			t.Errorf("the repository of the app is %+v", r)
		}
		if at := r.Latest.PushedAt; at.Before(begun) || at.After(db.NowFunc()) {
			t.Errorf("pushed at %s", r.Latest.PushedAt)
		}
	})
}

func TestAHostileConfigFillsNoPage(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	img := dockerfile(t, "amd64")
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.Config.Labels = map[string]string{}
	for i := range 2000 {
		file.Config.Labels[fmt.Sprint(i)] = strings.Repeat("é", 50)
		file.Config.Env = append(file.Config.Env, "A=B")
		file.History = append(file.History, v1.History{CreatedBy: "RUN x", EmptyLayer: true})
	}
	file.Config.User = strings.Repeat("é", 100_000)
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	p, err := f.images.Get(modelstest.As(t, f.db, f.Viewer), f.push(t, "payments/checkout:big", img))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Config.Labels) > 300 || len(p.Config.Env) > 300 || len(p.Layers) > 300 || len(p.Config.User) > 5000 {
		t.Errorf("the page would show %d labels, %d variables, %d layers and a user of %d bytes", len(p.Config.Labels), len(p.Config.Env), len(p.Layers), len(p.Config.User))
	}
	bad := static.NewLayer([]byte(`{"os": 7, "history": "none"}`), types.OCIConfigJSON)
	if err := remote.WriteLayer(f.ref(t, "payments/checkout:x").Context(), bad, f.login); err != nil {
		t.Fatal(err)
	}
	digest, err := bad.Digest()
	if err != nil {
		t.Fatal(err)
	}
	raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":28},"layers":[]}`, types.OCIManifestSchema1, types.OCIConfigJSON, digest)
	if err := remote.Put(f.ref(t, "payments/checkout:bad").(name.Tag), manifest(raw), f.login); err != nil {
		t.Fatal(err)
	}
	broken, err := f.images.Resolve(modelstest.As(t, f.db, f.Viewer), f.App, "bad")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := f.images.Get(modelstest.As(t, f.db, f.Viewer), broken); err != nil || p.Config != nil {
		t.Errorf("an image with a config of nonsense: %+v, %v", p, err)
	}
}

// manifest is a manifest as it stands.
type manifest string

func (m manifest) RawManifest() ([]byte, error)      { return []byte(m), nil }
func (manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
