package pullthrough_test

import (
	"context"
	"crypto/rand"
	"io"
	"net/netip"
	"path/filepath"
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
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
	"slipway.dev/services/outbound"
	"slipway.dev/services/pullthrough"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
	"slipway.dev/services/registry"
	"slipway.dev/services/registry/registrytest"
	"slipway.dev/services/secrets"
)

// world is a portal whose cache has one upstream: a docker-registry behind a valve.
type world struct {
	*modelstest.World
	*pullthrough.Service
	t        *testing.T
	db       *models.Database
	host     string // the portal's
	valve    *registriestest.Valve
	upstream *models.CacheUpstream
	people   *auth.Service
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{World: modelstest.Seed(t, db), t: t, db: db, valve: registriestest.Start(t).Valve(t), people: &auth.Service{DB: db.DB, Box: box}}
	own := &registry.Service{DB: db, Box: box, Reload: w.people.Reload,
		Authenticate: func(ctx context.Context, _, token string) (*models.Principal, error) {
			return w.people.AuthenticateToken(ctx, token)
		}}
	registrytest.Serve(t, own)
	w.host = own.Host()
	guard := &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	w.Service = &pullthrough.Service{DB: db, Registry: own, Guard: guard, Scratch: t.TempDir(),
		Registries: &registries.Service{DB: db, Box: box, Embedded: own, Guard: guard}}
	t.Cleanup(func() { w.Close() })
	own.Upstream = w.Service.Upstream()
	if w.upstream, err = w.AddUpstream(w.admin(), pullthrough.UpstreamInput{Host: w.valve.Host, Enabled: true, FreshSeconds: 3600}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) admin() context.Context { return modelstest.As(w.t, w.db, w.Admin) }

// token is a token of the person with the scopes.
func (w *world) token(u *models.User, scopes ...models.Scope) string {
	w.t.Helper()
	_, secret, err := w.people.CreateToken(modelstest.As(w.t, w.db, u), auth.NewToken{Name: "test", Scopes: scopes})
	if err != nil {
		w.t.Fatal(err)
	}
	return secret
}

// reader is the login of a person of no team.
func (w *world) reader() remote.Option {
	return remote.WithAuth(&authn.Basic{Username: "x", Password: w.token(w.Stranger, models.ScopeRegistryRead)})
}

// upload puts the image into the upstream and returns its digest.
func (w *world) upload(ref string, image remote.Taggable) string {
	w.t.Helper()
	at, err := name.ParseReference(w.valve.Host + "/" + ref)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := remote.Push(at, image); err != nil {
		w.t.Fatal(err)
	}
	d, err := image.(interface{ Digest() (v1.Hash, error) }).Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	return d.String()
}

// cached is the name in the cache.
func (w *world) cached(ref string) name.Reference {
	w.t.Helper()
	at, err := name.ParseReference(w.host + "/" + w.upstream.Repository(ref))
	if err != nil {
		w.t.Fatal(err)
	}
	return at
}

// image is one with a layer of so many bytes.
func image(t *testing.T, size int) v1.Image {
	t.Helper()
	content := make([]byte, size)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	out, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(content, types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	return mutate.ConfigMediaType(out, types.OCIConfigJSON)
}

// once has the client not try again by itself.
var once = remote.WithRetryBackoff(remote.Backoff{Steps: 1})

// pull reads the whole image through the cache and returns its digest.
func pull(at name.Reference, login remote.Option) (string, error) {
	found, err := remote.Image(at, login, once)
	if err != nil {
		return "", err
	}
	layers, err := found.Layers()
	if err != nil {
		return "", err
	}
	for _, l := range layers {
		content, err := l.Compressed()
		if err != nil {
			return "", err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return "", err
		}
		content.Close()
	}
	if _, err := found.RawConfigFile(); err != nil {
		return "", err
	}
	d, err := found.Digest()
	return d.String(), err
}

func layerOf(t *testing.T, image v1.Image) string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// settled waits until so many bytes are in the cache: what was pulled is stored while its reader has it already.
func (w *world) settled(bytes int64) *pullthrough.Overview {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(2 * time.Minute)
	for {
		o, err := w.Overview(w.admin())
		if err != nil {
			w.t.Fatal(err)
		}
		if o.Bytes >= bytes {
			return o
		}
		select {
		case <-tick.C:
		case <-late:
			w.t.Fatalf("the cache has %d bytes, not %d", o.Bytes, bytes)
		}
	}
}

// stale makes what the cache knows of tags old.
func (w *world) stale() {
	w.t.Helper()
	err := w.db.Model(&models.CacheTag{}).Where("1 = 1").Update("checked_at", w.db.NowFunc().Add(-24*time.Hour)).Error
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) blobs(digest string) (n int64) {
	w.t.Helper()
	if err := w.db.Model(&models.RegistryBlob{}).Where("digest = ?", digest).Count(&n).Error; err != nil {
		w.t.Fatal(err)
	}
	return n
}
