package registry_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	dockerregistry "github.com/docker/docker/api/types/registry"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/dockertest"
)

// gate stands before the registry. It notes which blobs are stored, and holds up layers after the first so many.
type gate struct {
	mu      sync.Mutex
	let     int // layers that may pass
	held    chan struct{}
	begun   int
	stored  map[string]int
	changed chan struct{}
}

func (g *gate) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch && !g.pass() {
			select {
			case <-g.held:
			case <-r.Context().Done():
			}
		}
		next.ServeHTTP(w, r)
		if d := r.URL.Query().Get("digest"); r.Method == http.MethodPut && d != "" && w.Header().Get("Docker-Content-Digest") == d {
			g.mu.Lock()
			g.stored[d]++
			g.mu.Unlock()
			select {
			case g.changed <- struct{}{}:
			default:
			}
		}
	})
}

func (g *gate) pass() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begun++
	return g.begun <= g.let
}

// take returns how often each blob was stored, and forgets it.
func (g *gate) take() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	stored := g.stored
	g.stored = map[string]int{}
	return stored
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.stored)
}

// layered is an image of so many layers of 100 kB that the engine has not seen.
func layered(t *testing.T, layers int) v1.Image {
	t.Helper()
	img := v1.Image(empty.Image)
	for range layers {
		content := make([]byte, 100_000)
		_, _ = rand.Read(content)
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		if err := w.WriteHeader(&tar.Header{Name: rand.Text(), Mode: 0o600, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(content)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func (f *fixture) load(t *testing.T, engine *client.Client, ref string, img v1.Image) {
	t.Helper()
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	archive, writer := io.Pipe()
	go func() { writer.CloseWithError(tarball.Write(tag, img, writer)) }()
	answer, err := engine.ImageLoad(t.Context(), archive, client.ImageLoadWithQuiet(true))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	t.Cleanup(func() { untag(t, engine, ref) })
}

func TestADockerPushThatWasKilledSendsOnlyWhatIsMissingTheNextTime(t *testing.T) {
	t.Parallel()
	const layers, first = 9, 5 // the engine sends five at once
	f := serve(t, modelstest.DB(t))
	g := &gate{let: first, held: make(chan struct{}), stored: map[string]int{}, changed: make(chan struct{}, 1)}
	f.wrap = g.wrap
	f.registry = f.process(t)
	f.host = f.registry.Host()
	engine := dockertest.Engine(t)
	ref := f.host + "/payments/checkout:killed"
	f.load(t, engine, ref, layered(t, layers))
	options := image.PushOptions{RegistryAuth: encode(t, dockerregistry.AuthConfig{
		Username: "anyone", Password: f.token(t, f.Developer, models.ScopeRegistryWrite), ServerAddress: f.host})}

	ctx, kill := context.WithCancel(t.Context())
	progress, err := engine.ImagePush(ctx, ref, options)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- finish(progress, nil) }()
	for g.count() < first {
		select {
		case <-g.changed:
		case err := <-ended:
			t.Fatalf("the push ended before it was killed: %v", err)
		}
	}
	kill()
	if err := <-ended; err == nil {
		t.Fatal("the push was not killed")
	}
	before := g.take() // before the others go on, of which the engine may not know yet that they are not wanted
	close(g.held)
	if err := finish(engine.ImagePush(t.Context(), ref, options)); err != nil {
		t.Fatalf("the second push: %v", err)
	}
	again := g.take()
	if len(before) != first || len(again) != layers-first+1 { // and the config
		t.Errorf("the first push stored %d blobs, the second %d", len(before), len(again))
	}
	for d := range maps.Keys(again) {
		if before[d] > 0 {
			t.Errorf("%s was sent twice", d)
		}
	}
	got, err := remote.Image(f.ref(t, "payments/checkout:killed"), f.reader(t, f.Viewer))
	if err == nil {
		err = whole(got)
	}
	if err != nil {
		t.Errorf("the image is not whole: %v", err)
	}
}

func TestImagesOfSeveralPlatformsGoInAndOutWhole(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		index := f.pushPlatforms(t, "payments/checkout:multi")
		authFile := filepath.Join(t.TempDir(), "auth.json")
		skopeo(t, f.token(t, f.Developer, models.ScopeRegistryWrite), "login", "--authfile", authFile, "--tls-verify=false", "-u", "anyone", "--password-stdin", f.host)
		out, in := "docker://"+f.host+"/payments/checkout:multi", "docker://"+f.host+"/payments/copied:multi"
		skopeo(t, "", "copy", "--all", "--authfile", authFile, "--src-tls-verify=false", "--dest-tls-verify=false", out, in)

		copied, err := remote.Index(f.ref(t, "payments/copied:multi"), f.reader(t, f.Viewer))
		if err != nil {
			t.Fatal(err)
		}
		// skopeo writes the index anew, with other white space.
		if got, want := childrenOf(t, copied), childrenOf(t, index); !slices.Equal(got, want) {
			t.Errorf("the copy has the images %v, not %v", got, want)
		}
		want := []string{"linux/amd64", "linux/arm64"}
		var names []string
		for _, platform := range want {
			parsed, err := v1.ParsePlatform(platform)
			if err != nil {
				t.Fatal(err)
			}
			img, err := remote.Image(f.ref(t, "payments/copied:multi"), f.reader(t, f.Viewer), remote.WithPlatform(*parsed))
			if err == nil {
				err = whole(img)
			}
			if err != nil {
				t.Fatalf("%s is not whole: %v", platform, err)
			}
			file, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, file.OS+"/"+file.Architecture)
		}
		if !slices.Equal(names, want) {
			t.Errorf("the platforms are %s", strings.Join(names, ", "))
		}
	})
}

func childrenOf(t *testing.T, index v1.ImageIndex) []string {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, m := range manifest.Manifests {
		digests = append(digests, m.Digest.String())
	}
	return digests
}
