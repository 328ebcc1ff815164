package pullthrough_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/pullthrough"
	"slipway.dev/services/registry"
)

func TestTheQuotaOfEveryTeamDoesNotBindTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	if err := w.db.Create(&models.RegistryQuota{Bytes: 1}).Error; err != nil {
		t.Fatal(err)
	}
	one := image(t, 300_000)
	w.upload("library/alpine:3", one)
	want, _ := one.Digest()
	if got, err := pull(w.cached("library/alpine:3"), w.reader()); err != nil || got != want.String() {
		t.Fatalf("the cache gives %s, %v", got, err)
	}
	w.settled(300_000)
}

func TestAnImageIsFetchedOnceAndServedWhileItsRegistryIsAway(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		one := image(t, 300_000)
		index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
			mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
			mutate.IndexAddendum{Add: image(t, 10), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
		w.upload("library/alpine:3", index)
		login := w.reader()
		want, _ := one.Digest()
		for range 2 {
			if got, err := pull(w.cached("library/alpine:3"), login); err != nil || got != want.String() {
				t.Fatalf("the cache gives %s, %v", got, err)
			}
		}
		if n := w.valve.Asked(http.MethodGet, "/blobs/"); n != 2 {
			t.Errorf("the registry was asked for %d blobs, there are 2", n)
		}
		if n := w.valve.Asked(http.MethodGet, "/manifests/"); n != 2 {
			t.Errorf("the registry was asked for %d manifests, there are 2", n)
		}
		w.valve.Break()
		w.stale()
		if got, err := pull(w.cached("library/alpine:3"), login); err != nil || got != want.String() {
			t.Fatalf("with its registry away the cache gives %s, %v", got, err)
		}
		o := w.settled(300_000)
		if o.Images != 2 || o.Repositories != 1 || o.Bytes < 300_000 || !strings.Contains(o.Upstreams[0].Error, "can't be reached") {
			t.Errorf("admins see %+v", o)
		}
		list, err := w.Repositories(w.admin(), models.Page{})
		if err != nil || len(list.Items) != 1 || list.Items[0].Hits == 0 || list.Items[0].Misses != 2 || list.Items[0].Bytes < 300_000 {
			t.Errorf("the repositories are %+v, %v", list.Items, err)
		}
	})
}

func TestStaleIsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.upload("acme/base:1", image(t, 10))
	if _, err := pull(w.cached("acme/base:1"), w.reader()); err != nil {
		t.Fatal(err)
	}
	w.stale()
	w.valve.Instead(func(answer http.ResponseWriter, r *http.Request) bool {
		answer.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	stale, err := w.Tag(t.Context(), w.upstream.Repository("acme/base"), "1")
	if err != nil || !strings.Contains(stale, "limits how often") {
		t.Errorf("it says %q, %v", stale, err)
	}
	before := w.valve.Asked(http.MethodHead, "/manifests/") + w.valve.Asked(http.MethodGet, "/v2/")
	if _, err := w.Tag(t.Context(), w.upstream.Repository("acme/base"), "1"); err != nil {
		t.Fatal(err)
	}
	if n := w.valve.Asked(http.MethodHead, "/manifests/") + w.valve.Asked(http.MethodGet, "/v2/"); n != before {
		t.Errorf("a registry that limits was asked %d times more", n-before)
	}
	if _, err := w.Tag(t.Context(), w.upstream.Repository("acme/other"), "1"); !models.IsCode(err, models.Unavailable) {
		t.Errorf("what is not here: %v", err)
	}
}

func TestATagThatMovedIsSeenOnceItIsNotFreshAnyMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	login := w.reader()
	first := w.upload("acme/base:1", image(t, 10))
	if got, err := pull(w.cached("acme/base:1"), login); err != nil || got != first {
		t.Fatalf("%s, %v", got, err)
	}
	second := w.upload("acme/base:1", image(t, 10))
	if got, err := pull(w.cached("acme/base:1"), login); err != nil || got != first {
		t.Errorf("while it is fresh: %s, %v", got, err)
	}
	w.stale()
	if got, err := pull(w.cached("acme/base:1"), login); err != nil || got != second {
		t.Errorf("afterwards: %s, %v", got, err)
	}
	if got, err := pull(w.cached("acme/base@"+first), login); err != nil || got != first {
		t.Errorf("by its digest: %s, %v", got, err)
	}
	w.stale()
	gets := w.valve.Asked(http.MethodGet, "/manifests/")
	if _, err := pull(w.cached("acme/base:1"), login); err != nil {
		t.Error(err)
	}
	if n := w.valve.Asked(http.MethodGet, "/manifests/"); n != gets {
		t.Errorf("a tag that did not move was fetched %d times", n-gets)
	}
}

func TestManyWhoPullAtOnceShareOneDownload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	login := w.reader()
	one := image(t, 2_000_000)
	want := w.upload("acme/base:1", one)
	if _, err := remote.Get(w.cached("acme/base:1"), login); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if got, err := pull(w.cached("acme/base:1"), login); err != nil || got != want {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
	group.Wait()
	if n := w.valve.Asked(http.MethodGet, layerOf(t, one)); n != 1 {
		t.Errorf("the layer was fetched %d times", n)
	}
}

func TestADownloadGoesOnWhereItsConnectionBroke(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	one := image(t, 1_000_000)
	want := w.upload("acme/base:1", one)
	var broke sync.Once
	ranged := make(chan string, 10)
	w.valve.Instead(func(answer http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, layerOf(t, one)) {
			return false
		}
		broken := false
		broke.Do(func() { broken = true })
		if !broken {
			ranged <- r.Header.Get("Range")
			return false
		}
		layers, _ := one.Layers()
		content, _ := layers[0].Compressed()
		part := make([]byte, 400_000)
		_, _ = content.Read(part)
		answer.Header().Set("Content-Length", "1000000")
		_, _ = answer.Write(part)
		answer.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	if got, err := pull(w.cached("acme/base:1"), w.reader()); err != nil || got != want {
		t.Fatalf("%s, %v", got, err)
	}
	if from := <-ranged; !strings.HasPrefix(from, "bytes=") || from == "bytes=0-" {
		t.Errorf("it went on from %q", from)
	}
}

func TestWhatAnUpstreamForgesIsNeverStoredNorEndsWell(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.Service.Stall = time.Second
	login := w.reader()
	stop := make(chan struct{})
	defer close(stop)
	for what, content := range map[string]func(http.ResponseWriter){
		"other": func(a http.ResponseWriter) { _, _ = a.Write(make([]byte, 200_000)) },
		"more":  func(a http.ResponseWriter) { _, _ = a.Write(make([]byte, 300_000)) },
		"less":  func(a http.ResponseWriter) { _, _ = a.Write(make([]byte, 100)) },
		"slow": func(a http.ResponseWriter) {
			_, _ = a.Write(make([]byte, 100))
			a.(http.Flusher).Flush()
			<-stop
		},
	} {
		one := image(t, 200_000)
		w.upload("acme/"+what+":1", one)
		w.valve.Instead(func(answer http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, layerOf(t, one)) {
				return false
			}
			answer.Header().Set("Transfer-Encoding", "identity")
			content(answer)
			return true
		})
		if got, err := pull(w.cached("acme/"+what+":1"), login); err == nil {
			t.Errorf("%s: a forged layer was pulled as %s", what, got)
		}
		if n := w.blobs(layerOf(t, one)); n != 0 {
			t.Errorf("%s: a forged layer was stored", what)
		}
		if err := w.db.Model(&models.CacheUpstream{}).Where("1 = 1").Update("quiet_until", nil).Error; err != nil {
			t.Fatal(err)
		}
	}
	w.valve.Instead(func(answer http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		switch {
		case strings.Contains(r.URL.Path, "garbage"):
			_, _ = answer.Write([]byte("<html>"))
		case strings.Contains(r.URL.Path, "huge"):
			for range 100 {
				_, _ = answer.Write(make([]byte, 1<<20))
			}
		default:
			_, _ = answer.Write([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`))
		}
		return true
	})
	for _, ref := range []string{"acme/garbage:1", "acme/huge:1", "acme/wrong@sha256:" + strings.Repeat("0", 64)} {
		if _, err := remote.Get(w.cached(ref), login, once); err == nil {
			t.Errorf("%s was given", ref)
		}
		if err := w.db.Model(&models.CacheUpstream{}).Where("1 = 1").Update("quiet_until", nil).Error; err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoMayPullFromTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.upload("acme/base:1", image(t, 10))
	at := w.cached("acme/base:1")
	if _, err := remote.Get(at); err == nil {
		t.Error("nobody pulled")
	}
	as := func(u *models.User, scopes ...models.Scope) remote.Option {
		return remote.WithAuth(&authn.Basic{Username: "x", Password: w.token(u, scopes...)})
	}
	if _, err := remote.Get(at, as(w.Viewer, models.ScopeRead)); err == nil {
		t.Error("a token without registry:read pulled")
	}
	if _, err := remote.Get(at, as(w.Viewer, models.ScopeRegistryRead)); err != nil {
		t.Errorf("a token with registry:read: %v", err)
	}
	if err := remote.Push(at.Context().Tag("mine"), image(t, 10), as(w.Admin, models.ScopeRegistryWrite, models.ScopeRegistryRead, models.ScopeAdmin)); err == nil {
		t.Error("somebody pushed into the cache")
	}
	if _, err := w.UpdateUpstream(w.admin(), w.upstream.ID, pullthrough.UpstreamInput{Enabled: false}); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Get(at, as(w.Viewer, models.ScopeRegistryRead)); err != nil {
		t.Errorf("turned off, what is here: %v", err)
	}
	w.upload("acme/new:1", image(t, 10))
	asked := w.valve.Asked(http.MethodGet, "/acme/new/")
	if _, err := remote.Get(w.cached("acme/new:1"), as(w.Viewer, models.ScopeRegistryRead)); err == nil || w.valve.Asked(http.MethodGet, "/acme/new/") != asked {
		t.Errorf("turned off, what is not here: %v", err)
	}
}

func TestTheCacheStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		login := w.reader()
		if _, err := w.UpdateSettings(w.admin(), pullthrough.Settings{MaxBytes: 1 << 20, KeepDays: 7}); err != nil {
			t.Fatal(err)
		}
		for k := range 3 {
			w.upload(fmt.Sprintf("acme/base%d:1", k), image(t, 400_000))
			if _, err := pull(w.cached(fmt.Sprintf("acme/base%d:1", k)), login); err != nil {
				if k < 2 {
					t.Fatal(err)
				}
			} else if k == 2 {
				t.Error("more is in the cache than it may hold, all of it in use")
			}
			w.settled(400_000 * min(int64(k)+1, 2)) // one that is being stored is not yet in its place
		}
		old := db.NowFunc().Add(-time.Hour)
		if err := db.Model(&models.CacheImage{}).Where("repository = ?", w.upstream.Repository("acme/base0")).Update("pulled_at", old).Error; err != nil {
			t.Fatal(err)
		}
		if _, err := pull(w.cached("acme/base2:1"), login); err != nil {
			t.Errorf("with an image that nobody uses: %v", err)
		}
		w.settled(800_000)
		old = db.NowFunc().AddDate(0, 0, -8)
		if err := db.Model(&models.CacheImage{}).Where("1 = 1").Update("pulled_at", old).Error; err != nil {
			t.Fatal(err)
		}
		if err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if o, err := w.Overview(w.admin()); err != nil || o.Images != 0 || o.Bytes != 0 {
			t.Errorf("after the sweep: %+v, %v", o, err)
		}
		var left int64
		if err := db.Model(&models.RegistryManifest{}).Count(&left).Error; err != nil || left != 0 {
			t.Errorf("%d manifests are left, %v", left, err)
		}
		if _, err := pull(w.cached("acme/base0:1"), login); err != nil {
			t.Errorf("what was evicted is fetched again: %v", err)
		}
		if err := w.DeleteUpstream(w.admin(), w.upstream.ID); err != nil {
			t.Fatal(err)
		}
	})
}

func TestOnlyAnAdminSaysWhatTheCacheFetches(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	ctx := modelstest.As(t, w.db, w.Maintainer)
	if _, err := w.AddUpstream(ctx, pullthrough.UpstreamInput{Host: "docker.io"}); !models.IsCode(err, models.Denied) {
		t.Errorf("a maintainer: %v", err)
	}
	for _, host := range []string{"", "evil host", "http://x", w.host, "localhost"} {
		if _, err := w.AddUpstream(w.admin(), pullthrough.UpstreamInput{Host: host}); !models.IsCode(err, models.Invalid) {
			t.Errorf("%q: %v", host, err)
		}
	}
	if _, err := w.AddUpstream(w.admin(), pullthrough.UpstreamInput{Host: w.valve.Host}); !models.IsCode(err, models.Invalid) {
		t.Errorf("a second time: %v", err)
	}
}

func TestATeamThatHasTheCachesNameKeepsIt(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	if err := db.Create(&models.Team{ID: models.NewID(), Slug: models.CacheSlug, Name: "Cachers", CreatedAt: db.NowFunc()}).Error; err != nil {
		t.Fatal(err)
	}
	s := &pullthrough.Service{DB: db, Registry: &registry.Service{DB: db, External: "http://localhost:8080"}}
	admin := models.WithPrincipal(t.Context(), models.System("test"))
	if _, err := s.AddUpstream(admin, pullthrough.UpstreamInput{Host: "docker.io", Enabled: true}); !models.IsCode(err, models.Conflict) {
		t.Errorf("the cache takes a team's name: %v", err)
	}
}
