package copies_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
	"slipway.dev/services/copies"
	"slipway.dev/services/jobs"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
	"slipway.dev/services/registry"
	"slipway.dev/services/registry/registrytest"
	"slipway.dev/services/secrets"
)

const (
	chunk = 256 << 10
	large = 10 * chunk // of a layer that is sent in chunks
)

// world is a portal with its registry, and a docker-registry that an admin connected.
type world struct {
	*modelstest.World
	*copies.Service
	t        *testing.T
	db       *models.Database
	house    *models.Registry // the docker-registry
	valve    *registriestest.Valve
	embedded *registriestest.Valve
	external *registriestest.Registry
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{World: modelstest.Seed(t, db), t: t, db: db, external: registriestest.Start(t)}
	people := &auth.Service{DB: db.DB, Box: box}
	own := &registry.Service{DB: db, Box: box, Folder: t.TempDir(), Reload: people.Reload,
		Authenticate: func(ctx context.Context, _, token string) (*models.Principal, error) {
			return people.AuthenticateToken(ctx, token)
		}}
	w.embedded = registriestest.NewValve(t, registrytest.Handler(own))
	own.External = "http://" + w.embedded.Host
	w.valve = w.external.Valve(t)
	all := &registries.Service{DB: db, Box: box, Embedded: own, Guard: &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	t.Cleanup(func() { all.Close() })
	w.Service = &copies.Service{DB: db, Registries: all, Standing: people.Standing, Chunk: chunk, Pause: 50 * time.Millisecond}
	w.house, err = all.Create(w.as(w.Admin), registries.Input{Name: "House", Kind: registries.KindGeneric, Host: w.valve.Host, PlainHTTP: true, AllTeams: models.RegistryPush})
	if err != nil {
		t.Fatal(err)
	}
	_, w = w.newWorker(false)
	return w
}

func (w *world) as(u *models.User) context.Context { return modelstest.As(w.t, w.db, u) }

// work starts a worker.
func (w *world) work() *world {
	w.t.Helper()
	_, w = w.newWorker(true)
	return w
}

// newWorker gives the world a queue that takes jobs, or one that only adds them.
func (w *world) newWorker(takes bool) (stop func(), _ *world) {
	w.t.Helper()
	q, err := jobs.New(w.db, jobs.Config{DeadAfter: time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	one := *w.Service
	one.Jobs = q
	next := *w
	next.Service = &one
	one.Register(q)
	stop = func() {}
	if takes {
		if err := q.Start(context.WithoutCancel(w.t.Context())); err != nil {
			w.t.Fatal(err)
		}
		stopped := false
		stop = func() {
			if stopped {
				return
			}
			stopped = true
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := q.Stop(ctx); err != nil {
				w.t.Error(err)
			}
		}
		w.t.Cleanup(stop)
	}
	return stop, &next
}

// layer is one of so many random bytes.
func layer(t *testing.T, size int) v1.Layer {
	t.Helper()
	content := make([]byte, size)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	return static.NewLayer(content, types.OCILayer)
}

// imageWith is an image of the layers.
func imageWith(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		t.Fatal(err)
	}
	return mutate.ConfigMediaType(image, types.OCIConfigJSON)
}

// world of a test that has a worker.
func working(t *testing.T, db *models.Database) *world { return newWorld(t, db).work() }

// platforms is an index of two images, one of them in an index of its own.
func platforms(t *testing.T) v1.ImageIndex {
	t.Helper()
	inner, err := random.Index(500, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: imageWith(t, layer(t, 1000)), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: inner})
	return index
}

// place opens a repository as Slipway itself, for the test to look and to push.
func (w *world) place(registryID, repository string) (name.Repository, []remote.Option) {
	w.t.Helper()
	at, err := w.Registries.Open(models.WithPrincipal(w.t.Context(), models.System("test")), registryID, repository, registries.Pull, registries.Push)
	if err != nil {
		w.t.Fatal(err)
	}
	return at.Repository, at.Options()
}

// push pushes the image or index under the tag and returns its digest.
func (w *world) push(registryID, repository, tag string, what remote.Taggable) string {
	w.t.Helper()
	at, options := w.place(registryID, repository)
	if err := remote.Push(at.Tag(tag), what, options...); err != nil {
		w.t.Fatal(err)
	}
	d, err := what.(interface{ Digest() (v1.Hash, error) }).Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	return d.String()
}

// about pushes a manifest about the digest and returns its digest.
func (w *world) about(registryID, repository, digest, text string) string {
	w.t.Helper()
	at, options := w.place(registryID, repository)
	subject, err := remote.Head(at.Digest(digest), options...)
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := imageWith(w.t, static.NewLayer([]byte(text), "text/plain")).Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	image := mutate.Subject(imageWith(w.t, static.NewLayer([]byte(text), "text/plain")), *subject).(v1.Image)
	if err := remote.Push(at.Tag("about-"+d.Hex[:8]), image, options...); err != nil {
		w.t.Fatal(err)
	}
	d, err = image.Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	return d.String()
}

// await waits until the copy is in the state.
func (w *world) await(id string, state models.CopyState) *models.Copy {
	w.t.Helper()
	return w.until(id, func(c *models.Copy) bool { return c.State == state })
}

func (w *world) until(id string, ok func(*models.Copy) bool) *models.Copy {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(4 * time.Minute)
	for {
		c, err := w.Get(w.as(w.Admin), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if ok(c) {
			return c
		}
		if c.State.Ended() {
			w.t.Fatalf("the copy ended as %s: %s", c.State, c.Error)
		}
		select {
		case <-tick.C:
		case <-late:
			w.t.Fatalf("the copy is still %s (%s), %d of %d bytes", c.State, c.Note, c.BytesDone, c.Bytes)
		}
	}
}

// create asks for a copy as the team's developer.
func (w *world) create(in copies.Input) *models.Copy {
	w.t.Helper()
	c, err := w.Create(w.as(w.Developer), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// refused is the *models.Error that the call fails with.
func refused(t *testing.T, err error) *models.Error {
	t.Helper()
	e, ok := errors.AsType[*models.Error](err)
	if !ok {
		t.Fatalf("it fails with %v", err)
	}
	return e
}

func registryError(w http.ResponseWriter, status int, code, message string) bool {
	body, _ := json.Marshal(map[string]any{"errors": []any{map[string]string{"code": code, "message": message}}})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = bytes.NewReader(body).WriteTo(w)
	return true
}

// whole reads all of an image; what is read is compared with its digests.
func whole(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		content, err := l.Compressed()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, content)
		if err = errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	_, err = image.RawConfigFile()
	return err
}

// wholeIndex reads all of an index and of those within.
func wholeIndex(index v1.ImageIndex) error {
	m, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range m.Manifests {
		if d.MediaType.IsIndex() {
			inner, err := index.ImageIndex(d.Digest)
			if err != nil {
				return err
			}
			if err := wholeIndex(inner); err != nil {
				return err
			}
			continue
		}
		image, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		if err := whole(image); err != nil {
			return err
		}
	}
	return nil
}
