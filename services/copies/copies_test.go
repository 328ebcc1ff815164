package copies_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/copies"
)

func TestAnIndexIsCopiedWithAllItsPlatformsAndWhatIsAboutIt(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := working(t, db)
		digest := w.push("", "payments/checkout", "main", platforms(t))
		about := w.about("", "payments/checkout", digest, "bill of materials")
		signature := strings.Replace(digest, ":", "-", 1) + ".sig"
		w.push("", "payments/checkout", signature, imageWith(t, layer(t, 100)))
		in := copies.Input{Source: copies.Place{Repository: "payments/checkout"}, Reference: "main", Referrers: true,
			Target: copies.Place{RegistryID: w.house.ID, Repository: "acme/shop"}, Tag: "v1"}
		c := w.create(in)
		if c.Digest != digest || c.SourceTag != "main" || c.TeamID != w.Team.ID {
			t.Errorf("the copy is %+v", c)
		}
		c = w.await(c.ID, models.CopySucceeded)
		if c.Blobs == 0 || c.BlobsDone != c.Blobs || c.BytesDone != c.Bytes || c.BlobsThere != 0 || len(c.Uploads) != 0 || c.FinishedAt == nil {
			t.Errorf("the figures are %+v", c)
		}
		at, options := w.place(w.house.ID, "acme/shop")
		index, err := remote.Index(at.Tag("v1"), options...)
		if err != nil {
			t.Fatal(err)
		}
		if err := wholeIndex(index); err != nil {
			t.Errorf("what arrived is not whole: %v", err)
		}
		if d, _ := index.Digest(); d.String() != digest {
			t.Errorf("the tag names %s", d)
		}
		if _, err := remote.Image(at.Tag(signature), options...); err != nil {
			t.Errorf("the signature is not there: %v", err)
		}
		found, err := remote.Referrers(at.Digest(digest), options...)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := found.IndexManifest(); err != nil || len(m.Manifests) != 1 || m.Manifests[0].Digest.String() != about {
			t.Errorf("about it are %+v, %v", m, err)
		}

		before := w.valve.Asked(http.MethodPatch, "/blobs/")
		again := w.await(w.create(in).ID, models.CopySucceeded)
		if n := w.valve.Asked(http.MethodPatch, "/blobs/"); n != before || again.BlobsThere != again.Blobs {
			t.Errorf("the second copy sent %d blobs again: %+v", n-before, again)
		}
	})
}

func TestAnImageComesFromAnotherRegistryAndIsMountedWithinOne(t *testing.T) {
	t.Parallel()
	w := working(t, modelstest.DB(t))
	digest := w.push(w.house.ID, "acme/base", "1", imageWith(t, layer(t, large), layer(t, 10)))
	c := w.await(w.create(copies.Input{Source: copies.Place{RegistryID: w.house.ID, Repository: "acme/base"}, Reference: "1",
		Target: copies.Place{Repository: "payments/base"}, Tag: "1"}).ID, models.CopySucceeded)
	if c.BlobsDone != 3 || c.BytesThere != 0 || c.TeamID != w.Team.ID {
		t.Errorf("the copy is %+v", c)
	}
	at, options := w.place("", "payments/base")
	image, err := remote.Image(at.Tag("1"), options...)
	if err != nil {
		t.Fatal(err)
	}
	if err := whole(image); err != nil {
		t.Errorf("what arrived is not whole: %v", err)
	}
	sent := w.embedded.Sent()
	c = w.await(w.create(copies.Input{Source: copies.Place{Repository: "payments/base"}, Reference: digest,
		Target: copies.Place{Repository: "payments/other"}, Tag: "2"}).ID, models.CopySucceeded)
	if w.embedded.Sent() != sent || c.BlobsThere != 3 {
		t.Errorf("within one registry %d bytes were sent: %+v", w.embedded.Sent()-sent, c)
	}
	if c.SourceTag != "" || c.From() != w.embedded.Host+"/payments/base@"+digest {
		t.Errorf("it was copied from %s", c.From())
	}
}

// breakAfter lets so many chunks through and then ends every connection that brings one.
func (w *world) breakAfter(n int64) {
	var seen atomic.Int64
	w.valve.Instead(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch && seen.Add(1) > n {
			panic(http.ErrAbortHandler)
		}
		return false
	})
}

// hang answers nothing until whoever asked is gone. A server notices that once it has read the body.
func hang(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

func TestAnotherWorkerGoesOnWithALargeBlobWhereTheFirstStood(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.push("", "payments/checkout", "main", imageWith(t, layer(t, large)))
		var seen atomic.Int64
		entered := make(chan struct{})
		w.valve.Instead(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPatch && r.ContentLength == chunk && seen.Add(1) == 6 {
				close(entered)
				hang(r)
			}
			return false
		})
		stop, first := w.newWorker(true)
		c := first.create(copies.Input{Source: copies.Place{Repository: "payments/checkout"}, Reference: "main",
			Target: copies.Place{RegistryID: w.house.ID, Repository: "acme/shop"}, Tag: "v1"})
		<-entered
		stop()
		w.work().await(c.ID, models.CopySucceeded)
		if sent, most := w.valve.Sent(), int64(large+2*chunk+1000); sent > most {
			t.Errorf("%d bytes were sent for a layer of %d", sent, large)
		}
		at, options := w.place(w.house.ID, "acme/shop")
		image, err := remote.Image(at.Tag("v1"), options...)
		if err != nil {
			t.Fatal(err)
		}
		if err := whole(image); err != nil {
			t.Errorf("what arrived is not whole: %v", err)
		}
	})
}

func TestACopyWaitsForARegistryThatIsDown(t *testing.T) {
	t.Parallel()
	w := working(t, modelstest.DB(t))
	w.push("", "payments/checkout", "main", imageWith(t, layer(t, large)))
	w.breakAfter(3)
	c := w.create(copies.Input{Source: copies.Place{Repository: "payments/checkout"}, Reference: "main",
		Target: copies.Place{RegistryID: w.house.ID, Repository: "acme/shop"}})
	c = w.until(c.ID, func(c *models.Copy) bool { return c.Note != "" })
	if c.NextTryAt == nil || !strings.Contains(c.Note, "can't be reached, or broke the connection") || !strings.Contains(c.Note, w.valve.Host) {
		t.Errorf("it waits because %q", c.Note)
	}
	w.valve.Instead(nil)
	w.await(c.ID, models.CopySucceeded)
	if sent := w.valve.Sent(); sent > int64(large+4*chunk) {
		t.Errorf("%d bytes were sent for a layer of %d", sent, large)
	}
}

func TestARegistryThatTakesNoChunksGetsABlobAtOnce(t *testing.T) {
	t.Parallel()
	w := working(t, modelstest.DB(t))
	w.push("", "payments/checkout", "main", imageWith(t, layer(t, large)))
	w.valve.Instead(func(answer http.ResponseWriter, r *http.Request) bool {
		return r.Header.Get("Content-Range") != "" && registryError(answer, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "no chunks")
	})
	c := w.await(w.create(copies.Input{Source: copies.Place{Repository: "payments/checkout"}, Reference: "main",
		Target: copies.Place{RegistryID: w.house.ID, Repository: "acme/shop"}}).ID, models.CopySucceeded)
	if c.BytesDone != c.Bytes {
		t.Errorf("the copy is %+v", c)
	}
}

func TestACopyIsCanceledInTheMiddleAndGoesOnWhenItIsRetried(t *testing.T) {
	t.Parallel()
	w := working(t, modelstest.DB(t))
	w.push("", "payments/checkout", "main", imageWith(t, layer(t, large)))
	var seen atomic.Int64
	entered := make(chan struct{})
	w.valve.Instead(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch && r.ContentLength == chunk && seen.Add(1) == 5 {
			close(entered)
			hang(r)
		}
		return false
	})
	c := w.create(copies.Input{Source: copies.Place{Repository: "payments/checkout"}, Reference: "main",
		Target: copies.Place{RegistryID: w.house.ID, Repository: "acme/shop"}, Tag: "v1"})
	<-entered // the chunks before it are written down
	if _, err := w.Cancel(w.as(w.Viewer), c.ID); refused(t, err).Code != models.Denied {
		t.Errorf("a viewer canceled it: %v", err)
	}
	if _, err := w.Cancel(w.as(w.Stranger), c.ID); refused(t, err).Code != models.NotFound {
		t.Errorf("a stranger learns of it: %v", err)
	}
	if _, err := w.Cancel(w.as(w.Developer), c.ID); err != nil {
		t.Fatal(err)
	}
	c = w.await(c.ID, models.CopyCanceled)
	if c.CanceledBy != w.Developer.Name {
		t.Errorf("it was canceled by %q", c.CanceledBy)
	}
	w.valve.Instead(nil)
	if _, err := w.Retry(w.as(w.Developer), c.ID); err != nil {
		t.Fatal(err)
	}
	w.await(c.ID, models.CopySucceeded)
	if sent := w.valve.Sent(); sent > int64(large+2*chunk+1000) {
		t.Errorf("%d bytes were sent for a layer of %d", sent, large)
	}
	if _, err := w.Retry(w.as(w.Developer), c.ID); refused(t, err).Code != models.Conflict {
		t.Errorf("a good copy was retried: %v", err)
	}
}

func TestOnlyWhoMayPullThereAndPushHereCopies(t *testing.T) {
	t.Parallel()
	w := working(t, modelstest.DB(t))
	w.push("", "payments/checkout", "main", imageWith(t, layer(t, 10)))
	in := copies.Input{Source: copies.Place{Repository: "payments/checkout"}, Reference: "main",
		Target: copies.Place{RegistryID: w.house.ID, Repository: "acme/shop"}}
	for who, code := range map[*models.User]models.Code{w.Viewer: models.Denied, w.Stranger: models.NotFound} {
		if _, err := w.Create(w.as(who), in); refused(t, err).Code != code {
			t.Errorf("%s: %v", who.Name, err)
		}
	}
	other := in
	other.Target = copies.Place{Repository: "search/checkout"}
	if _, err := w.Create(w.as(w.Developer), other); refused(t, err).Code != models.NotFound {
		t.Errorf("into another team: %v", err)
	}
	if _, err := w.Create(w.as(w.Stranger), other); refused(t, err).Code != models.Denied {
		t.Errorf("out of another team: %v", err)
	}
	other.Target = copies.Place{Repository: "cache/docker.io/library/alpine"}
	if _, err := w.Create(w.as(w.Admin), other); err == nil {
		t.Error("into the cache")
	}
	in.Tag, in.Reference = "-bad", "sha256:zz"
	if e := refused(t, func() error { _, err := w.Create(w.as(w.Developer), in); return err }()); e.Fields["tag"] == "" || e.Fields["reference"] == "" {
		t.Errorf("wrong input: %+v", e)
	}
	in.Tag, in.Reference = "", "missing"
	if e := refused(t, func() error { _, err := w.Create(w.as(w.Developer), in); return err }()); !strings.Contains(e.Fields["reference"], "no such image") {
		t.Errorf("a tag that is not there: %+v", e)
	}
}

func TestTheWorkerAsksAgainWhetherWhoAskedMay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.push("", "payments/checkout", "main", imageWith(t, layer(t, 10)))
	ask := func() *models.Copy {
		return w.create(copies.Input{Source: copies.Place{Repository: "payments/checkout"}, Reference: "main",
			Target: copies.Place{RegistryID: w.house.ID, Repository: "acme/shop"}})
	}
	c := ask()
	if err := w.db.Model(&models.Member{}).Where("user_id = ?", w.Developer.ID).Update("role", models.RoleViewer).Error; err != nil {
		t.Fatal(err)
	}
	worker := w.work()
	if c = worker.await(c.ID, models.CopyFailed); !strings.Contains(c.Error, "needs a developer") {
		t.Errorf("it failed with %q", c.Error)
	}
	if err := w.db.Model(&models.User{}).Where("id = ?", w.Developer.ID).Update("disabled_at", w.db.NowFunc()).Error; err != nil {
		t.Fatal(err)
	}
	again, err := w.Retry(w.as(w.Maintainer), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if c = worker.await(again.ID, models.CopySucceeded); c.CreatedByName != w.Maintainer.Name || c.Error != "" {
		t.Errorf("the copy is %+v", c)
	}
}

func TestARefusedTagIsSaidInWordsAndTheImageIsThere(t *testing.T) {
	t.Parallel()
	w := working(t, modelstest.DB(t))
	digest := w.push("", "payments/checkout", "main", imageWith(t, layer(t, 10)))
	w.valve.Instead(func(answer http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/v1") && registryError(answer, http.StatusConflict, "DENIED", "tag v1 is immutable")
	})
	c := w.create(copies.Input{Source: copies.Place{Repository: "payments/checkout"}, Reference: "main",
		Target: copies.Place{RegistryID: w.house.ID, Repository: "acme/shop"}, Tag: "v1"})
	c = w.await(c.ID, models.CopyFailed)
	if !strings.Contains(c.Error, "HTTP 409): DENIED") || !strings.Contains(c.Error, "under its digest") {
		t.Errorf("it failed with %q", c.Error)
	}
	at, options := w.place(w.house.ID, "acme/shop")
	if _, err := remote.Get(at.Digest(digest), options...); err != nil {
		t.Errorf("the image is not there: %v", err)
	}
}

func TestWhatASourceForgesIsNeverStored(t *testing.T) {
	t.Parallel()
	w := working(t, modelstest.DB(t))
	image := imageWith(t, layer(t, large))
	w.push(w.house.ID, "acme/shop", "1", image)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"other": make([]byte, large), "more": make([]byte, large+1), "less": make([]byte, 1000)} {
		w.valve.Instead(func(answer http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, d.String()) {
				return false
			}
			_, _ = answer.Write(content)
			return true
		})
		c := w.create(copies.Input{Source: copies.Place{RegistryID: w.house.ID, Repository: "acme/shop"}, Reference: "1", Target: copies.Place{Repository: "payments/" + name}})
		c = w.await(c.ID, models.CopyFailed)
		if !strings.Contains(c.Error, "something else than it announced") || !strings.Contains(c.Error, w.valve.Host) {
			t.Errorf("%s: it failed with %q", name, c.Error)
		}
		var stored int64
		sum := sha256.Sum256(content)
		if err := w.db.Model(&models.RegistryBlob{}).Where("digest IN ?", []string{d.String(), "sha256:" + hex.EncodeToString(sum[:])}).Count(&stored).Error; err != nil || stored > 0 {
			t.Errorf("%s: %d blobs were stored, %v", name, stored, err)
		}
	}
}

func TestACopyThatMovesNothingIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.Service.Stall = 4 * time.Second
	w = w.work()
	w.push(w.house.ID, "acme/shop", "1", imageWith(t, layer(t, large)))
	var held atomic.Bool
	w.valve.Instead(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && held.CompareAndSwap(false, true) {
			hang(r)
		}
		return false
	})
	c := w.create(copies.Input{Source: copies.Place{RegistryID: w.house.ID, Repository: "acme/shop"}, Reference: "1", Target: copies.Place{Repository: "payments/shop"}})
	w.await(c.ID, models.CopySucceeded)
}
