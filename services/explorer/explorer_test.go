package explorer_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
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
	"slipway.dev/services/explorer"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
)

func base(t testing.TB) []byte {
	return layer(t, [2]string{"etc/"}, [2]string{"etc/motd", "hello\n"}, [2]string{"bin/sh", "\x7fELF and more\x00"}, [2]string{"bin/ash => bin/sh"}, [2]string{"old", "1234"}, [2]string{"l -> etc/motd"})
}

func top(t testing.TB) []byte {
	return layer(t, [2]string{"etc/motd", "<script>alert(1)</script>"}, [2]string{"root/.ssh/id_rsa", "PRIVATE"}, [2]string{".wh.old"})
}

func TestTheFilesOfAnImageAreListedAsSoonAsTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	w := newWorld(t, db)
	at := w.push(t, "payments/checkout:main", image(t, "serve", base(t), top(t)))
	ctx := w.as(t, w.Viewer)
	f := w.files(t, ctx, explorer.Query{At: at})
	if got := paths(f.Items); got != "/bin /etc /root /l" {
		t.Errorf("the root holds %s", got)
	}
	if f.Bytes != 25+7+14 || f.Files != 5 || f.Wasted != 6+4 || len(f.Layers) != 2 || f.Layers[1].Tally.Removed != 1 || f.Layers[0].Instruction == "" {
		t.Errorf("%d bytes, %d files, %d wasted, layers %+v", f.Bytes, f.Files, f.Wasted, f.Layers)
	}
	for _, c := range []struct {
		q    explorer.Query
		want string
	}{
		{explorer.Query{Path: "/etc"}, "/etc/motd"},
		{explorer.Query{Path: "etc/../etc/"}, "/etc/motd"},
		{explorer.Query{Layer: "2", Flat: true}, "/old /etc/motd /root/.ssh/id_rsa"},
		{explorer.Query{Layer: f.Layers[1].Digest, Change: "removed"}, "/old"},
		{explorer.Query{Search: "SH"}, "/bin/ash /bin/sh /root/.ssh"},
		{explorer.Query{Flat: true, BySize: true, Page: models.Page{Limit: 1}}, "/etc/motd"},
		{explorer.Query{At: explorer.Reference{Repository: at.Repository, Name: "main"}, Path: "/root"}, "/root/.ssh"},
		{explorer.Query{At: explorer.Reference{Name: at.Name}, Path: "/root"}, "/root/.ssh"},
	} {
		if c.q.At == (explorer.Reference{}) {
			c.q.At = at
		}
		if got := paths(w.files(t, ctx, c.q).Items); got != c.want {
			t.Errorf("%+v: %s", c.q, got)
		}
	}
	for _, c := range []struct {
		q    explorer.Query
		code models.Code
	}{
		{explorer.Query{Path: "/no"}, models.NotFound},
		{explorer.Query{Layer: "3"}, models.Invalid},
		{explorer.Query{Change: "touched"}, models.Invalid},
		{explorer.Query{Page: models.Page{Cursor: "1.x"}}, models.Invalid},
		{explorer.Query{Platform: "linux/arm64", At: explorer.Reference{Name: "sha256:none"}}, models.NotFound},
	} {
		if c.q.At == (explorer.Reference{}) {
			c.q.At = at
		}
		if _, err := w.explorer.Files(ctx, c.q); !models.IsCode(err, c.code) {
			t.Errorf("%+v: %v", c.q, err)
		}
	}
	for name, ctx := range map[string]context.Context{"a stranger": w.as(t, w.Stranger), "nobody": t.Context()} {
		if _, err := w.explorer.Files(ctx, explorer.Query{At: at}); err == nil {
			t.Errorf("%s sees the files", name)
		}
		if _, err := w.explorer.File(ctx, explorer.FileQuery{At: at, Path: "/etc/motd"}); err == nil {
			t.Errorf("%s reads a file", name)
		}
		if _, err := w.explorer.Compare(ctx, explorer.CompareQuery{A: at, B: at}); err == nil {
			t.Errorf("%s compares images", name)
		}
	}
}

func TestAFileIsShownAsWhatItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	at := w.push(t, "payments/checkout:main", image(t, "serve", base(t), top(t)))
	ctx := w.as(t, w.Viewer)
	w.files(t, ctx, explorer.Query{At: at})
	for _, c := range []struct{ path, layer, kind, text string }{
		{"/etc/motd", "", "text", "<script>alert(1)</script>"},
		{"/etc/motd", "1", "text", "hello\n"},
		{"/bin/ash", "", "ELF program or library", ""},
		{"/old", "1", "text", "1234"},
	} {
		f, err := w.explorer.File(ctx, explorer.FileQuery{At: at, Path: c.path, Layer: c.layer})
		if err != nil || f.Kind != c.kind || f.Text != c.text || f.Cut {
			t.Errorf("%s of layer %s: %+v %v", c.path, c.layer, f, err)
		}
	}
	key, err := w.explorer.File(ctx, explorer.FileQuery{At: at, Path: "/root/.ssh/id_rsa"})
	if err != nil || !key.Secret {
		t.Errorf("a key is no secret: %+v %v", key, err)
	}
	for path, code := range map[string]models.Code{"/old": models.NotFound, "/no": models.NotFound, "/etc": models.Conflict, "/l": models.Conflict} {
		if _, err := w.explorer.File(ctx, explorer.FileQuery{At: at, Path: path}); !models.IsCode(err, code) {
			t.Errorf("%s: %v", path, err)
		}
	}
	var whole string
	err = w.explorer.Content(ctx, explorer.FileQuery{At: at, Path: "/bin/ash"}, func(e models.FileEntry, content io.Reader) error {
		b, err := io.ReadAll(content)
		whole = e.Path + " " + string(b)
		return err
	})
	if err != nil || whole != "/bin/sh \x7fELF and more\x00" {
		t.Errorf("%q %v", whole, err)
	}
}

func TestImagesAreComparedInAllThatTheyAre(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	w := newWorld(t, db)
	a := w.push(t, "payments/checkout:1", image(t, "serve", base(t)))
	b := w.push(t, "payments/checkout:2", image(t, "serve-2", base(t), top(t), layer(t, [2]string{"usr/lib/x/1", "1"}, [2]string{"usr/lib/x/2", "22"}, [2]string{"usr/lib/y", "333"})))
	ctx := w.as(t, w.Viewer)
	c, err := w.explorer.Compare(ctx, explorer.CompareQuery{A: a, B: b, Flat: true, Change: "removed"})
	if err != nil || c.Making != nil {
		t.Fatalf("%+v %v", c, err)
	}
	if len(c.Shared) != 1 || len(c.OnlyA) != 0 || len(c.OnlyB) != 2 {
		t.Errorf("layers: %d shared, %d, %d", len(c.Shared), len(c.OnlyA), len(c.OnlyB))
	}
	if c.Files.Added != 4 || c.Files.Changed != 1 || c.Files.Removed != 1 || c.BytesB-c.BytesA != 25-6+7-4+6 || paths(c.Items) != "/old" {
		t.Errorf("files: %+v, %d and %d bytes, %s", c.Files, c.BytesA, c.BytesB, paths(c.Items))
	}
	if len(c.Settings) != 1 || c.Settings[0].Name != "Command" || len(c.Environment) != 1 || c.Environment[0].After != "serve-2" || len(c.Labels) != 1 {
		t.Errorf("settings: %+v %+v %+v", c.Settings, c.Environment, c.Labels)
	}
	if c.CommitsNote == "" || c.Below != "/" {
		t.Errorf("%q %q", c.CommitsNote, c.Below)
	}
	same, err := w.explorer.Compare(ctx, explorer.CompareQuery{A: b, B: b})
	if err != nil || same.Files.Files() != 0 || len(same.Items) != 0 || len(same.OnlyA)+len(same.OnlyB) != 0 {
		t.Errorf("an image and itself: %+v %v", same, err)
	}
	if _, err := w.explorer.Compare(ctx, explorer.CompareQuery{A: a, B: explorer.Reference{Name: "sha256:none"}}); !models.IsCode(err, models.Invalid) {
		t.Errorf("an image that is not there: %v", err)
	}
}

func TestOfAnIndexTheFilesOfOnePlatformAreListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: image(t, "a", base(t)), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	at := w.push(t, "payments/checkout:multi", index)
	f := w.files(t, w.as(t, w.Viewer), explorer.Query{At: at, Platform: "linux/amd64"})
	if f.Index == nil || f.Index.Digest != at.Name || len(f.Items) != 4 {
		t.Errorf("%+v", f)
	}
	if _, err := w.explorer.Files(w.as(t, w.Viewer), explorer.Query{At: at, Platform: "linux/s390x"}); !models.IsCode(err, models.Invalid) {
		t.Errorf("a platform that it has not: %v", err)
	}
}

func TestALayerIsReadOnceHoweverManyAskForIt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		var mu sync.Mutex
		opened := map[string]int{}
		w := newWorld(t, db, func(w *world) {
			open := w.explorer.OpenBlob
			w.explorer.OpenBlob = func(ctx context.Context, registry, repository, digest string) (io.ReadCloser, int64, error) {
				mu.Lock()
				opened[digest]++
				mu.Unlock()
				return open(ctx, registry, repository, digest)
			}
		})
		a := w.push(t, "payments/checkout:1", image(t, "a", base(t)))
		b := w.push(t, "payments/checkout:2", image(t, "b", base(t), top(t)))
		other := w.push(t, "search/index:2", image(t, "b", base(t), top(t)))
		var wg sync.WaitGroup
		for range 4 {
			for at, u := range map[explorer.Reference]*models.User{a: w.Viewer, b: w.Viewer, other: w.Stranger} {
				ctx := w.as(t, u)
				wg.Go(func() {
					if f, err := w.explorer.Files(ctx, explorer.Query{At: at}); err != nil || f.Making != nil {
						t.Errorf("%v %+v", err, f)
					}
				})
			}
		}
		wg.Wait()
		mu.Lock()
		defer mu.Unlock()
		for digest, n := range opened {
			if n > 2 { // one process makes two indexes at once, which may meet at a layer
				t.Errorf("%s was read %d times", digest, n)
			}
		}
		if len(opened) != 2 {
			t.Errorf("%d layers were read", len(opened))
		}
		told := func() map[string]bool { // each team's job tells it, which may come a little later
			teams := map[string]bool{}
			var events []models.Event
			if err := db.Where("kind = 'file-index.ready'").Find(&events).Error; err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				teams[e.TeamID] = true
			}
			return teams
		}
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for range 600 {
			if teams := told(); teams[w.Team.ID] && teams[w.OtherTeam.ID] {
				return
			}
			<-tick.C
		}
		t.Errorf("told were only %v", told())
	})
}

func TestWhatCannotBeReadIsSaidAndTriedAgain(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	w := newWorld(t, modelstest.DB(t), func(w *world) {
		open := w.explorer.OpenBlob
		w.explorer.OpenBlob = func(ctx context.Context, registry, repository, digest string) (io.ReadCloser, int64, error) {
			if broken.Load() {
				return nil, 0, models.Errorf(models.NotFound, "The repository has no such blob.")
			}
			return open(ctx, registry, repository, digest)
		}
	})
	at := w.push(t, "payments/checkout:1", image(t, "a", base(t)))
	ctx := w.as(t, w.Viewer)
	f, err := w.explorer.Files(ctx, explorer.Query{At: at})
	if err != nil || f.Making == nil || f.Making.State != models.IndexFailed || !strings.Contains(f.Making.Error, "no such blob") {
		t.Fatalf("%+v %v", f.Making, err)
	}
	if _, err := w.explorer.File(ctx, explorer.FileQuery{At: at, Path: "/old"}); !models.IsCode(err, models.Conflict) {
		t.Errorf("a file of it: %v", err)
	}
	broken.Store(false)
	if err := w.db.Model(&models.FileIndex{}).Where("state = 'failed'").UpdateColumn("updated_at", w.db.NowFunc().Add(-time.Hour)).Error; err != nil {
		t.Fatal(err)
	}
	if got := paths(w.files(t, ctx, explorer.Query{At: at}).Items); got != "/bin /etc /l /old" {
		t.Errorf("after another try: %s", got)
	}
}

func TestWhileAListIsMadeItsProgressIsTold(t *testing.T) {
	t.Parallel()
	going := make(chan struct{})
	w := newWorld(t, modelstest.DB(t), func(w *world) {
		w.explorer.Patience = time.Millisecond
		open := w.explorer.OpenBlob
		w.explorer.OpenBlob = func(ctx context.Context, registry, repository, digest string) (io.ReadCloser, int64, error) {
			<-going
			return open(ctx, registry, repository, digest)
		}
	})
	at := w.push(t, "payments/checkout:1", image(t, "a", base(t)))
	ctx := w.as(t, w.Viewer)
	f, err := w.explorer.Files(ctx, explorer.Query{At: at})
	if err != nil || f.Making == nil || f.Making.State != models.IndexWaiting || len(f.Layers) != 1 {
		t.Fatalf("%+v %v", f, err)
	}
	close(going)
	w.explorer.Patience = time.Minute
	w.files(t, ctx, explorer.Query{At: at})
	var told int64
	if err := w.db.Model(&models.Event{}).Where("topic = ?", models.FileIndexTopic(f.Making.ID)).Count(&told).Error; err != nil || told == 0 {
		t.Errorf("nobody was told: %v", err)
	}
}

func TestIndexesGoWithTheirLayers(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		at := w.push(t, "payments/checkout:1", image(t, "a", base(t)))
		kept := w.push(t, "payments/checkout:2", image(t, "b", top(t)))
		ctx := w.as(t, w.Viewer)
		w.files(t, ctx, explorer.Query{At: at})
		w.files(t, ctx, explorer.Query{At: kept})
		if err := w.explorer.Prune(t.Context()); err != nil || w.indexes(t) != 4 || w.blobs(t) != 4 {
			t.Fatalf("%d indexes, %d blobs, %v", w.indexes(t), w.blobs(t), err)
		}
		digest := w.files(t, ctx, explorer.Query{At: at}).Layers[0].Digest
		for _, row := range []any{&models.RegistryLink{}, &models.RegistryBlob{}} {
			if err := db.Where("digest = ?", digest).Delete(row).Error; err != nil {
				t.Fatal(err)
			}
		}
		if err := w.explorer.Prune(t.Context()); err != nil || w.indexes(t) != 2 || w.blobs(t) != 2 {
			t.Errorf("%d indexes, %d blobs, %v", w.indexes(t), w.blobs(t), err)
		}
		if err := db.Model(&models.FileIndex{}).Where("1 = 1").UpdateColumn("last_used_at", db.NowFunc().Add(-40*24*time.Hour)).Error; err != nil {
			t.Fatal(err)
		}
		if err := w.explorer.Prune(t.Context()); err != nil || w.indexes(t) != 0 || w.blobs(t) != 0 {
			t.Errorf("%d indexes, %d blobs, %v", w.indexes(t), w.blobs(t), err)
		}
		w.files(t, ctx, explorer.Query{At: kept}) // is made anew
	})
}

func TestAnIndexWhoseBlobIsGoneIsMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	at := w.push(t, "payments/checkout:1", image(t, "a", base(t)))
	ctx := w.as(t, w.Viewer)
	w.files(t, ctx, explorer.Query{At: at})
	var row models.FileIndex
	if err := w.db.Where("kind = 'image'").Take(&row).Error; err != nil {
		t.Fatal(err)
	}
	if err := w.bucket.Delete(t.Context(), row.Blob); err != nil {
		t.Fatal(err)
	}
	f, err := w.explorer.Files(ctx, explorer.Query{At: at})
	if err != nil || f.Making == nil {
		t.Errorf("%+v %v", f, err)
	}
	w.files(t, ctx, explorer.Query{At: at})
}

func TestADeadWorkersIndexIsMadeByAnother(t *testing.T) {
	t.Parallel()
	db := modelstest.DB(t)
	w := newWorld(t, db)
	at := w.push(t, "payments/checkout:1", image(t, "a", base(t)))
	now := db.NowFunc()
	digest := w.layerOf(t, at)
	held := &models.FileIndex{ID: "layer1:" + digest, Kind: models.IndexOfLayer, State: models.IndexWaiting, Top: digest, Teams: []string{}, Lease: models.Lease{Worker: models.NewID()}, CreatedAt: now, UpdatedAt: now, LastUsedAt: now}
	if err := db.Create(held).Error; err != nil {
		t.Fatal(err)
	}
	w.files(t, w.as(t, w.Viewer), explorer.Query{At: at})
}

func (w *world) layerOf(t *testing.T, at explorer.Reference) string {
	t.Helper()
	p, err := w.explorer.Find(models.WithPrincipal(t.Context(), models.System("test")), at)
	if err != nil {
		t.Fatal(err)
	}
	return p.Layers[0].Digest
}

func (w *world) indexes(t *testing.T) (n int64) {
	t.Helper()
	if err := w.db.Model(&models.FileIndex{}).Count(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *world) blobs(t *testing.T) (n int) {
	t.Helper()
	all := w.bucket.List(&blob.ListOptions{Prefix: "indexes/"})
	for {
		_, err := all.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
}

func TestImagesWithoutFilesSaySo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	ctx := w.as(t, w.Viewer)
	chart, err := mutate.Append(empty.Image, mutate.Addendum{Layer: static.NewLayer([]byte(`{"a": "chart"}`), "application/vnd.example.chart")})
	if err != nil {
		t.Fatal(err)
	}
	f := w.files(t, ctx, explorer.Query{At: w.push(t, "payments/chart:1", chart)})
	if !strings.Contains(f.Notice, "no tar archive") || len(f.Items) != 0 {
		t.Errorf("%q %v", f.Notice, f.Items)
	}
	if _, err := w.explorer.Files(ctx, explorer.Query{At: w.push(t, "payments/none:1", empty.Image)}); !models.IsCode(err, models.NotFound) {
		t.Errorf("an image without layers: %v", err)
	}
}

func TestImagesOfExternalRegistriesAreListedAndComparedToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	house := registriestest.StartWithLogin(t)
	_, err := w.others.Create(w.as(t, w.Admin), registries.Input{Name: "House", Kind: registries.KindGeneric, Host: house.Host, PlainHTTP: true,
		AllTeams: models.RegistryPull, CheckRepository: "acme/shop", Settings: map[string]string{"username": registriestest.User, "password": registriestest.Password}})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(house.Host+"/acme/shop:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image(t, "b", base(t), top(t)), remote.WithAuth(&authn.Basic{Username: registriestest.User, Password: registriestest.Password})); err != nil {
		t.Fatal(err)
	}
	own := w.push(t, "payments/checkout:main", image(t, "a", base(t)))
	ctx := w.as(t, w.Viewer)
	there := explorer.Reference{Repository: house.Host + "/acme/shop", Name: "v1"}
	f := w.files(t, ctx, explorer.Query{At: there, Path: "/root"})
	if paths(f.Items) != "/root/.ssh" || f.Image.Registry == "" {
		t.Errorf("%s of %q", paths(f.Items), f.Image.Registry)
	}
	content, err := w.explorer.File(ctx, explorer.FileQuery{At: there, Path: "/etc/motd"})
	if err != nil || content.Text != "<script>alert(1)</script>" {
		t.Errorf("%+v %v", content, err)
	}
	c, err := w.explorer.Compare(ctx, explorer.CompareQuery{A: own, B: there})
	if err != nil || c.Making != nil || len(c.Shared) != 1 || c.Files.Added != 1 || c.Files.Removed != 1 {
		t.Errorf("%+v %v", c, err)
	}
	unknown := explorer.Reference{Repository: "elsewhere.example/acme/shop", Name: "v1"}
	if _, err := w.explorer.Files(ctx, explorer.Query{At: unknown}); !models.IsCode(err, models.NotFound) {
		t.Errorf("a registry that nobody connected: %v", err)
	}
}

func TestReferencesAreReadAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]explorer.Reference{
		"payments/checkout:main":       {Repository: "payments/checkout", Name: "main"},
		"payments/checkout@sha256:abc": {Repository: "payments/checkout", Name: "sha256:abc"},
		" sha256:abc ":                 {Name: "sha256:abc"},
		"localhost:8080/a/b:v1":        {Repository: "localhost:8080/a/b", Name: "v1"},
	} {
		if got, err := explorer.Parse("a", text); err != nil || got != want {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "main", "payments/checkout", "@sha256:a", "a@b", ":", "localhost:8080/a/b"} {
		if got, err := explorer.Parse("a", text); !models.IsCode(err, models.Invalid) {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
}
