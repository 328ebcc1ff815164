package explorer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"gocloud.dev/blob"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/blobs"
	"slipway.dev/services/explorer"
	"slipway.dev/services/git"
	"slipway.dev/services/images"
	"slipway.dev/services/jobs"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registries"
	"slipway.dev/services/registry"
	"slipway.dev/services/registry/registrytest"
	"slipway.dev/services/secrets"
)

// world is a registry that images are really pushed to, a worker, and the explorer of its images.
type world struct {
	*modelstest.World
	db       *models.Database
	queue    *jobs.Queue
	bucket   *blob.Bucket
	registry *registry.Service
	others   *registries.Service
	explorer *explorer.Service
	login    remote.Option
}

// newWorld starts a registry and a worker.
func newWorld(t testing.TB, db *models.Database, change ...func(*world)) *world {
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
	bucket, err := blobs.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	queue, err := jobs.New(db, jobs.Config{Others: 4})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{World: modelstest.Seed(t, db), db: db, queue: queue, bucket: bucket, registry: store,
		login: remote.WithAuth(&authn.Basic{Username: "x", Password: "x"})}
	w.others = &registries.Service{DB: db, Box: box, Embedded: store, Guard: &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	t.Cleanup(func() { w.others.Close() })
	w.explorer = w.newExplorer(t, queue)
	for _, c := range change {
		c(w)
	}
	w.explorer.Register(queue)
	if err := queue.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = queue.Stop(context.Background()) })
	return w
}

func (w *world) newExplorer(t testing.TB, queue *jobs.Queue) *explorer.Service {
	all := &images.Service{DB: w.db.DB, Registry: w.registry, Registries: w.others}
	return &explorer.Service{DB: w.db, Jobs: queue, Blobs: w.bucket, Git: &git.Service{Dir: t.TempDir(), Guard: &outbound.Guard{}},
		Find: explorer.Registries{Images: all}.Find, OpenBlob: all.OpenBlob, Patience: time.Minute}
}

// as is the context of a request of the user.
func (w *world) as(t testing.TB, u *models.User) context.Context { return modelstest.As(t, w.db, u) }

// layer is a layer of the files: "name": content, "name/": a directory, "name -> target": a symlink.
func layer(t testing.TB, files ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	a := tar.NewWriter(&b)
	for _, f := range files {
		h := tar.Header{Name: f[0], Size: int64(len(f[1])), Mode: 0o644}
		switch {
		case strings.Contains(f[0], " -> "):
			h.Typeflag = tar.TypeSymlink
			h.Name, h.Linkname, _ = strings.Cut(f[0], " -> ")
		case strings.Contains(f[0], " => "):
			h.Typeflag = tar.TypeLink
			h.Name, h.Linkname, _ = strings.Cut(f[0], " => ")
		case strings.HasSuffix(f[0], "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := a.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(a, f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// image is an image of the layers with the command.
func image(t testing.TB, command string, all ...[]byte) v1.Image {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	var err error
	for _, l := range all {
		img, err = mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(l, types.OCIUncompressedLayer), History: v1.History{CreatedBy: "COPY . / # buildkit"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", "amd64"
	file.Config = v1.Config{Cmd: []string{command}, Env: []string{"PATH=/bin", "VERSION=" + command}, Labels: map[string]string{"made.by": command}}
	if img, err = mutate.ConfigFile(mutate.ConfigMediaType(img, types.OCIConfigJSON), file); err != nil {
		t.Fatal(err)
	}
	return img
}

// push pushes the image, such as payments/checkout:main, and returns its reference by digest.
func (w *world) push(t testing.TB, as string, img remote.Taggable) explorer.Reference {
	t.Helper()
	ref, err := name.ParseReference(w.registry.Host()+"/"+as, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	switch i := img.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, i, w.login)
	case v1.Image:
		err = remote.Write(ref, i, w.login)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := img.(interface{ Digest() (v1.Hash, error) }).Digest()
	if err != nil {
		t.Fatal(err)
	}
	repository, _, _ := strings.Cut(as, ":")
	return explorer.Reference{Repository: repository, Name: d.String()}
}

// files lists the files, for as long as it takes to make the list.
func (w *world) files(t testing.TB, ctx context.Context, q explorer.Query) *models.ImageFiles {
	t.Helper()
	f, err := w.explorer.Files(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	if f.Making != nil {
		t.Fatalf("the list was not made: %+v", f.Making)
	}
	return f
}

func paths(list []models.FileEntry) string {
	var out []string
	for _, e := range list {
		out = append(out, e.Path)
	}
	return strings.Join(out, " ")
}
