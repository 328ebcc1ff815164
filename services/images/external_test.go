package images_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/images"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
	"slipway.dev/services/secrets"
)

// connect lets the team of the world pull what lies below acme in the registry at the host.
func (f *fixture) connect(t *testing.T, host string) *models.Registry {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	others := &registries.Service{DB: f.db, Box: box, Embedded: f.images.Registry, Guard: &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	t.Cleanup(func() { others.Close() })
	f.images.Registries = others
	now := f.db.NowFunc()
	r := &models.Registry{ID: models.NewID(), Slug: "house", Name: "House", Kind: registries.KindGeneric, Host: host, PlainHTTP: true, CreatedAt: now, UpdatedAt: now}
	for _, row := range []any{r, &models.RegistryGrant{RegistryID: r.ID, TeamID: f.Team.ID, Prefix: "acme", Access: models.RegistryPull, CreatedAt: now}} {
		if err := f.db.Create(row).Error; err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// pushTo pushes the image to another registry and returns its digest.
func pushTo(t *testing.T, image string, img remote.Taggable) string {
	t.Helper()
	ref, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	switch i := img.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, i)
	case v1.Image:
		err = remote.Write(ref, i)
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

func twoPlatforms(t *testing.T) v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: dockerfile(t, arch), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return index
}

func TestAnExternalRegistryIsBrowsedLikeTheEmbeddedOne(t *testing.T) {
	t.Parallel()
	house := registriestest.Start(t)
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		r := f.connect(t, house.Host)
		ctx := modelstest.As(t, db, f.Viewer)
		at := "acme/" + strings.ToLower(models.NewID())
		single := pushTo(t, house.Host+"/"+at+":v1", dockerfile(t, "amd64"))
		index := pushTo(t, house.Host+"/"+at+":v2", twoPlatforms(t))
		foreign := pushTo(t, house.Host+"/secret/shop:v1", dockerfile(t, "amd64"))
		built := f.built(t, 7, single)
		if err := db.Model(built).Update("image_repository", house.Host+"/"+at).Error; err != nil {
			t.Fatal(err)
		}

		list, err := f.images.External(ctx, "house", "", models.Page{})
		if err != nil || !list.Listed || !slices.ContainsFunc(list.Items, func(i models.ImageRepository) bool { return i.Name == at && i.FullName() == house.Host+"/"+at }) {
			t.Fatalf("the list is %+v: %v", list, err)
		}
		if slices.ContainsFunc(list.Items, func(i models.ImageRepository) bool { return i.Name == "secret/shop" }) {
			t.Error("a repository outside of the grant is listed")
		}
		tags, err := f.images.Tags(ctx, images.TagQuery{Registry: r.ID, Repository: at})
		if err != nil || len(tags.Items) != 2 {
			t.Fatalf("the tags are %+v: %v", tags, err)
		}
		one, two := tags.Items[0], tags.Items[1]
		if one.Tags[0].Name != "v1" || one.Digest != single || one.Size == 0 || !slices.Equal(one.Platforms, []string{"linux/amd64"}) || one.Build == nil || one.Build.ID != built.ID {
			t.Errorf("v1 is %+v", one)
		}
		if two.Digest != index || two.Size <= one.Size || !slices.Equal(two.Platforms, []string{"linux/amd64", "linux/arm64"}) || !two.PushedAt.IsZero() {
			t.Errorf("v2 is %+v", two)
		}
		p, err := f.images.Passport(ctx, images.Which{Registry: "house", Repository: at, Digest: index, Platform: "linux/arm64"})
		if err != nil || p.Platform != "linux/arm64" || p.Config == nil || p.Config.Platform != "linux/arm64" || len(p.Layers) != 5 || len(p.Images) != 2 || p.Images[0].Size == 0 || p.Unread != "" {
			t.Errorf("the passport is %+v: %v", p, err)
		}
		if digest, err := f.images.Named(ctx, "house", at, "v2"); err != nil || digest != index {
			t.Errorf("v2 names %s: %v", digest, err)
		}
		f.opensBlobs(t, ctx, at, p)
		for what, err := range map[string]error{
			"tags":      second(f.images.Tags(ctx, images.TagQuery{Registry: "house", Repository: "secret/shop"})),
			"passport":  second(f.images.Passport(ctx, images.Which{Registry: "house", Repository: "secret/shop", Digest: foreign})),
			"documents": second(f.images.Document(ctx, images.DocumentQuery{Which: images.Which{Registry: "house", Repository: "secret/shop", Digest: foreign}, File: foreign})),
			"open":      second(f.images.OpenRepository(ctx, "house", "secret/shop")),
		} {
			if !models.IsCode(err, models.Denied) {
				t.Errorf("%s outside of the grant: %v", what, err)
			}
		}
		stranger := modelstest.As(t, db, f.Stranger)
		for what, err := range map[string]error{
			"list": second(f.images.External(stranger, "house", "", models.Page{})), "tags": second(f.images.Tags(stranger, images.TagQuery{Registry: "house", Repository: at})),
			"passport": second(f.images.Passport(stranger, images.Which{Registry: "house", Repository: at, Digest: single})),
		} {
			if !models.IsCode(err, models.NotFound) {
				t.Errorf("%s for another team: %v", what, err)
			}
		}
	})
}

// opensBlobs opens a layer, and what is none.
func (f *fixture) opensBlobs(t *testing.T, ctx context.Context, repository string, p *models.ImagePassport) {
	t.Helper()
	r, size, err := f.images.OpenBlob(ctx, "house", repository, p.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil || string(b) != "basearm64" || size != int64(len(b)) {
		t.Errorf("the layer is %q of %d bytes: %v", b, size, err)
	}
	for _, digest := range []string{"sha256:" + strings.Repeat("0", 64), "../../etc", ""} {
		if _, _, err := f.images.OpenBlob(ctx, "house", repository, digest); !models.IsCode(err, models.NotFound) {
			t.Errorf("opening %q: %v", digest, err)
		}
	}
}

func TestARegistryThatIsAwayIsShownWithWhatIsKnownHere(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		house := registriestest.Start(t)
		f := serve(t, db)
		var down atomic.Bool
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if down.Load() || strings.HasSuffix(r.URL.Path, "_catalog") {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			forward(w, r, house)
		}))
		defer proxy.Close()
		r := f.connect(t, strings.TrimPrefix(proxy.URL, "http://"))
		digest := pushTo(t, house.Host+"/acme/shop:v1", dockerfile(t, "amd64"))
		ctx := modelstest.As(t, db, f.Viewer)
		if _, err := f.images.OpenRepository(ctx, "house", "acme/none"); !models.IsCode(err, models.Invalid) {
			t.Errorf("opening what is not there: %v", err)
		}
		if _, err := f.images.OpenRepository(ctx, "house", r.Host+"/acme/shop"); err != nil {
			t.Fatal(err)
		}
		which := images.Which{Registry: "house", Repository: "acme/shop", Digest: digest}
		if _, err := f.images.Passport(ctx, which); err != nil {
			t.Fatal(err)
		}
		down.Store(true)
		list, err := f.images.External(ctx, "house", "shop", models.Page{})
		if err != nil || list.Listed || list.Problem == "" || len(list.Items) != 1 || list.Items[0].Name != "acme/shop" {
			t.Errorf("the list is %+v: %v", list, err)
		}
		found, err := f.images.FindElsewhere(ctx, "SHOP")
		if err != nil || len(found) != 1 || found[0].FullName() != r.Host+"/acme/shop" {
			t.Errorf("found is %+v: %v", found, err)
		}
		p, err := f.images.Passport(ctx, which)
		if err != nil || p.Config == nil || len(p.Layers) != 5 {
			t.Errorf("what has a digest was not kept: %+v, %v", p, err)
		}
		if err := second(f.images.Passport(ctx, images.Which{Registry: "house", Repository: "acme/shop", Digest: "sha256:" + strings.Repeat("1", 64)})); !models.IsCode(err, models.Unavailable) {
			t.Errorf("what was never read: %v", err)
		}
		f.images.Kept = 1
		if err := f.images.Trim(ctx); err != nil {
			t.Fatal(err)
		}
		var kept int64
		if err := db.Model(&models.RegistryDocument{}).Count(&kept).Error; err != nil || kept != 0 {
			t.Errorf("%d are kept: %v", kept, err)
		}
	})
}

// forward sends the request on to the registry.
func forward(w http.ResponseWriter, r *http.Request, to *registriestest.Registry) {
	request, err := http.NewRequestWithContext(r.Context(), r.Method, to.URL()+r.URL.RequestURI(), nil)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	request.Header = r.Header.Clone()
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	for k, v := range answer.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

// hostile answers like a registry that means harm.
func TestAHostileRegistryFillsNoPageAndNoMemory(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	const evil = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:zz","size":-5},"layers":[{"digest":"../../x","size":9}],"subject":{"digest":"x"}}`
	var pages atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/tags/list"): // never ends, and says the same names again
			page := pages.Add(1)
			w.Header().Set("Link", fmt.Sprintf(`<%s?n=1000&last=%d>; rel="next"`, r.URL.Path, page))
			fmt.Fprintf(w, `{"tags":["t%d","<script>","../x","%s"]}`, page, strings.Repeat("a", 300))
			for range 500 {
				fmt.Fprint(w, " ")
			}
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			fmt.Fprint(w, evil)
		case strings.Contains(r.URL.Path, "/referrers/"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			fmt.Fprint(w, `{"manifests":[`+strings.Repeat(`{"digest":"sha256:1","artifactType":"x"},`, 5000)+`{}]}`)
		case strings.Contains(r.URL.Path, "/blobs/"):
			fmt.Fprint(w, "other bytes")
		}
	}))
	defer server.Close()
	f.connect(t, strings.TrimPrefix(server.URL, "http://"))
	ctx := modelstest.As(t, f.db, f.Viewer)
	if list, err := f.images.Tags(ctx, images.TagQuery{Registry: "house", Repository: "acme/shop"}); err == nil && len(list.Items) > 25 || err != nil && !models.IsCode(err, models.Unavailable) {
		t.Errorf("tags without end: %d, %v", len(list.Items), err)
	}
	if n := pages.Load(); n > 25_000 {
		t.Errorf("%d pages were read", n)
	}
	digest := fmt.Sprintf("sha256:%x", sha([]byte(evil)))
	p, err := f.images.Passport(ctx, images.Which{Registry: "house", Repository: "acme/shop", Digest: digest})
	if err != nil {
		t.Fatal(err)
	}
	if p.Unread == "" || len(p.Referrers) > 50 {
		t.Errorf("the passport is %+v", p)
	}
	if err := second(f.images.Passport(ctx, images.Which{Registry: "house", Repository: "acme/shop", Digest: "sha256:" + strings.Repeat("1", 64)})); !models.IsCode(err, models.Unavailable) {
		t.Errorf("a manifest with another digest: %v", err)
	}
	layer, _, err := f.images.OpenBlob(ctx, "house", "acme/shop", "sha256:"+strings.Repeat("2", 64))
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Close()
	if _, err := io.ReadAll(layer); err == nil {
		t.Error("a blob with other bytes was read to its end")
	}
}

func sha(b []byte) [32]byte { return sha256.Sum256(b) }
