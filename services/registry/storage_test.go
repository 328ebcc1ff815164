package registry_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"gocloud.dev/blob"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registry"
)

// bytesOf returns so many random bytes.
func bytesOf(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// chunk sends a part of an upload and returns the answer.
func (f *fixture) chunk(t testing.TB, address, access string, from int, content []byte) answer {
	t.Helper()
	return f.ask(t, http.MethodPatch, address, string(content), func(r *http.Request) {
		bearer(access)(r)
		r.Header.Set("Content-Range", fmt.Sprintf("%d-%d", from, from+len(content)-1))
	})
}

// left is what the storage still has: files or objects.
func (f *fixture) left(t testing.TB) (names []string) {
	t.Helper()
	if f.registry.Bucket == nil {
		for range files(t.(*testing.T), f.folder) - 1 { // but for the owner's mark
			names = append(names, "a file")
		}
		return names
	}
	for list := f.registry.Bucket.List(nil); ; {
		o, err := list.Next(t.Context())
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		if o.Key != "owner" {
			names = append(names, o.Key)
		}
	}
}

func (f *fixture) runs(t testing.TB) []models.RegistryCollection {
	t.Helper()
	list, err := f.registry.Collections(modelstest.As(t, f.db, f.Admin), models.Page{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func TestAnImageGoesInComesOutAndGoesAwayInEveryStorage(t *testing.T) {
	t.Parallel()
	eachStorage(t, func(t *testing.T, db *models.Database, store func(*registry.Service)) {
		f := serve(t, db, store)
		login := f.writer(t, f.Maintainer)
		img := f.push(t, "payments/checkout:v1", 3, login)
		if got, err := remote.Image(f.ref(t, "payments/checkout:v1"), login); err != nil || whole(got) != nil {
			t.Fatalf("the image is not whole: %v", err)
		}
		access := f.pusher(t)
		content := bytesOf(300_000)
		d := f.blob(t, access, string(content))
		for ranges, want := range map[string][]byte{"bytes=100000-100009": content[100_000:100_010], "bytes=-5": content[299_995:], "bytes=299999-": content[299_999:]} {
			a := f.ask(t, http.MethodGet, checkout+"/blobs/"+d, "", func(r *http.Request) { bearer(access)(r); r.Header.Set("Range", ranges) })
			if a.status != http.StatusPartialContent || a.body != string(want) {
				t.Errorf("%s is answered %d with %d bytes", ranges, a.status, len(a.body))
			}
		}
		if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+d, "", func(r *http.Request) { bearer(access)(r); r.Header.Set("Range", "bytes=300000-") }); a.status != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("a range behind the end is answered %d", a.status)
		}
		if a := f.ask(t, http.MethodHead, checkout+"/blobs/"+d, "", bearer(access)); a.status != http.StatusOK || a.header.Get("Content-Length") != "300000" {
			t.Errorf("HEAD is answered %d with %v", a.status, a.header)
		}
		in, size, err := f.registry.OpenBlob(t.Context(), "payments/checkout", d)
		if err != nil || size != 300_000 {
			t.Fatalf("opening it in process: %d bytes, %v", size, err)
		}
		if _, err := in.Seek(-10, io.SeekEnd); err != nil {
			t.Fatal(err)
		}
		if tail, err := io.ReadAll(in); err != nil || !bytes.Equal(tail, content[299_990:]) || in.Close() != nil {
			t.Errorf("the last bytes are %d others: %v", len(tail), err)
		}
		empty := f.blob(t, access, "")
		if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+empty, "", bearer(access)); a.status != http.StatusOK || a.body != "" {
			t.Errorf("the empty blob is answered %d", a.status)
		}

		f.ask(t, http.MethodDelete, checkout+"/manifests/"+digestOf(t, img), "", bearer(access))
		stale := f.begin(t, access)
		f.chunk(t, stale, access, 0, content[:1000])
		var blobsLeft, bytesLeft int64
		if err := db.Model(&models.RegistryBlob{}).Select("COUNT(*), SUM(size)").Row().Scan(&blobsLeft, &bytesLeft); err != nil {
			t.Fatal(err)
		}
		f.age(t)
		f.collect(t)
		if names := f.left(t); len(names) > 0 {
			t.Errorf("the storage still has %v", names)
		}
		runs := f.runs(t)
		if len(runs) != 1 || runs[0].Bytes != bytesLeft+1000 || runs[0].Blobs != blobsLeft || runs[0].Uploads != 1 || runs[0].FinishedAt == nil || runs[0].Error != "" {
			t.Errorf("the runs are %+v; %d blobs had %d bytes", runs, blobsLeft, bytesLeft)
		}
		var entry models.AuditEntry
		if err := db.Where("action = 'registry.collected'").Take(&entry).Error; err != nil || entry.Detail["freed"] != strconv.FormatInt(bytesLeft+1000, 10) {
			t.Errorf("the audit log says %+v: %v", entry, err)
		}
		f.collect(t)
		if n := len(f.runs(t)); n != 1 {
			t.Errorf("a run that freed nothing made it %d", n)
		}
	})
}

// alternate is one address for all processes: each request goes to the next.
func alternate(t testing.TB, behind ...*registry.Service) string {
	t.Helper()
	var proxies []http.Handler
	for _, s := range behind {
		at, err := url.Parse(s.External)
		if err != nil {
			t.Fatal(err)
		}
		proxies = append(proxies, httputil.NewSingleHostReverseProxy(at))
	}
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxies[int(n.Add(1))%len(proxies)].ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// collecting runs the collectors again and again until the test calls the function that it returns.
func collecting(t testing.TB, all ...*registry.Service) (stop func()) {
	t.Helper()
	var done atomic.Bool
	var running sync.WaitGroup
	for _, s := range all {
		running.Go(func() {
			for !done.Load() {
				if err := s.Collect(t.Context()); err != nil {
					t.Errorf("collecting: %v", err)
					return
				}
			}
		})
	}
	return func() { done.Store(true); running.Wait() }
}

func TestChunksOfOneUploadGoThroughProcessesThatShareNoFolder(t *testing.T) {
	t.Parallel()
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := modelstest.Postgres(t)
			f := serve(t, db, inBucket(t, place))
			other := f.process(t, inBucket(t, place))
			front := alternate(t, f.registry, other)
			access := f.pusher(t)
			stop := collecting(t, f.registry, other)
			defer stop()
			for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
				content := bytesOf(1_000_000)
				d := algorithm.FromBytes(content).String()
				upload := front + f.begin(t, access)
				for from := 0; from < 900_000; from += 90_000 {
					if a := f.chunk(t, upload, access, from, content[from:from+90_000]); a.status != http.StatusAccepted || a.header.Get("Range") != fmt.Sprintf("0-%d", from+89_999) {
						t.Fatalf("the chunk at %d is answered %d %s %s", from, a.status, a.header.Get("Range"), a.body)
					}
				}
				if a := f.chunk(t, upload, access, 0, content[:10]); a.status != http.StatusRequestedRangeNotSatisfiable {
					t.Errorf("a chunk that was there before is answered %d", a.status)
				}
				if a := f.ask(t, http.MethodPut, upload+"?digest="+d, string(content[900_000:]), bearer(access)); a.status != http.StatusCreated {
					t.Fatalf("the end is answered %d %s", a.status, a.body)
				}
				for range 2 { // both processes
					if a := f.ask(t, http.MethodGet, front+checkout+"/blobs/"+d, "", bearer(access)); a.body != string(content) {
						t.Errorf("the %s blob is answered %d with %d bytes", algorithm, a.status, len(a.body))
					}
				}
				a := f.ask(t, http.MethodGet, front+checkout+"/blobs/"+d, "", func(r *http.Request) { bearer(access)(r); r.Header.Set("Range", "bytes=89990-180009") })
				if a.body != string(content[89_990:180_010]) {
					t.Errorf("a range over three parts is answered %d with %d bytes", a.status, len(a.body))
				}
			}
		})
	}
}

func TestAnUploadGoesOnWhereTheRowSaysAfterItsProcessWasKilled(t *testing.T) {
	t.Parallel()
	database, place := modelstest.PostgresURL(t), s3Place(s3Address(t))
	db := modelstest.Open(t, database)
	f := serve(t, db, inBucket(t, place), func(s *registry.Service) { s.Lease = time.Second })
	access := f.pusher(t)
	content := bytesOf(400_000)
	d := digest.FromBytes(content).String()
	upload := f.begin(t, access)
	doomed, kill := f.replica(t, database, place)
	if a := f.chunk(t, doomed+upload, access, 0, content[:100_000]); a.status != http.StatusAccepted {
		t.Fatalf("the first chunk is answered %d %s", a.status, a.body)
	}
	body, writer := io.Pipe()
	r, err := http.NewRequest(http.MethodPatch, doomed+upload, body)
	if err != nil {
		t.Fatal(err)
	}
	bearer(access)(r)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
			res.Body.Close()
			t.Errorf("a process that was killed answered %s", res.Status)
		}
	}()
	if _, err := writer.Write(content[100_000:200_000]); err != nil {
		t.Fatal(err)
	}
	f.awaitWriter(t)
	if a := f.chunk(t, upload, access, 100_000, content[100_000:200_000]); a.status != http.StatusConflict {
		t.Errorf("a second writer is answered %d %s", a.status, a.body)
	}
	kill()
	writer.Close()
	<-gone
	// The lease of the killed one is that of a process that was never told of a short one.
	if err := db.Model(&models.RegistryUpload{}).Where("1 = 1").UpdateColumn("held_until", db.NowFunc().Add(time.Second)).Error; err != nil {
		t.Fatal(err)
	}
	if a := f.ask(t, http.MethodGet, upload, "", bearer(access)); a.header.Get("Range") != "0-99999" {
		t.Errorf("the upload stands at %s", a.header.Get("Range"))
	}
	var last answer
	f.await(t, "the upload is free", func() bool {
		last = f.chunk(t, upload, access, 100_000, content[100_000:])
		return last.status != http.StatusConflict
	})
	if last.status != http.StatusAccepted {
		t.Fatalf("going on is answered %d %s", last.status, last.body)
	}
	if a := f.ask(t, http.MethodPut, upload+"?digest="+d, "", bearer(access)); a.status != http.StatusCreated {
		t.Fatalf("the end is answered %d %s", a.status, a.body)
	}
	if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+d, "", bearer(access)); a.body != string(content) {
		t.Errorf("the blob is answered %d with %d bytes", a.status, len(a.body))
	}
	f.age(t)
	f.collect(t)
	if names := f.left(t); len(names) > 0 {
		t.Errorf("the bucket still has %v", names)
	}
}

// awaitWriter waits until a request writes an object.
func (f *fixture) awaitWriter(t testing.TB) {
	t.Helper()
	f.await(t, "a chunk is being written", func() bool {
		var n int64
		return f.db.Model(&models.RegistryPart{}).Where("owner = ''").Count(&n).Error == nil && n == 1
	})
}

// await asks again and again until it is so.
func (f *fixture) await(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !so(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited a minute until %s", what)
		}
	}
}

func TestAWriterThatWokeUpTooLateAddsNothing(t *testing.T) {
	t.Parallel()
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := modelstest.Postgres(t)
			f := serve(t, db, inBucket(t, place), func(s *registry.Service) { s.Lease = 200 * time.Millisecond })
			other := f.process(t, inBucket(t, place))
			access := f.pusher(t)
			upload := f.begin(t, access)
			body, writer := io.Pipe()
			r, err := http.NewRequest(http.MethodPatch, f.registry.External+upload, body)
			if err != nil {
				t.Fatal(err)
			}
			bearer(access)(r)
			late := make(chan int, 1)
			go func() {
				res, err := http.DefaultTransport.RoundTrip(r)
				if err != nil {
					t.Error(err)
					late <- 0
					return
				}
				res.Body.Close()
				late <- res.StatusCode
			}()
			if _, err := writer.Write([]byte("from the one that sleeps")); err != nil {
				t.Fatal(err)
			}
			f.awaitWriter(t)
			var a answer
			f.await(t, "the lease is over", func() bool {
				a = f.chunk(t, other.External+upload, access, 0, []byte("from the other"))
				return a.status != http.StatusConflict
			})
			if a.status != http.StatusAccepted {
				t.Fatalf("taking the upload over is answered %d %s", a.status, a.body)
			}
			writer.Close()
			if status := <-late; status != http.StatusNotFound {
				t.Errorf("the one that woke up is answered %d", status)
			}
			d := digest.FromString("from the other").String()
			if a := f.ask(t, http.MethodPut, upload+"?digest="+d, "", bearer(access)); a.status != http.StatusCreated {
				t.Errorf("the end is answered %d %s", a.status, a.body)
			}
			f.age(t)
			f.collect(t)
			if names := f.left(t); len(names) > 0 {
				t.Errorf("the bucket still has %v", names)
			}
		})
	}
}

func TestABucketThatDoesNotAnswerIsAnErrorAndLosesNothing(t *testing.T) {
	t.Parallel()
	front := newFrontier(t)
	f := serve(t, modelstest.DB(t), inBucket(t, front.place()), func(s *registry.Service) { s.Patience = 2 * time.Second })
	access := f.pusher(t)
	content := bytesOf(200_000)
	d := digest.FromBytes(content).String()
	kept := f.blob(t, access, "kept")
	upload := f.begin(t, access)
	if a := f.chunk(t, upload, access, 0, content[:50_000]); a.status != http.StatusAccepted {
		t.Fatalf("the first chunk is answered %d %s", a.status, a.body)
	}
	unavailable := func(what string, a answer) {
		t.Helper()
		if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `"UNAVAILABLE"`) || a.header.Get("Docker-Content-Digest") != "" {
			t.Errorf("%s is answered %d %s", what, a.status, a.body)
		}
	}
	for what, broken := range map[string]*atomic.Bool{"down": &front.down, "standing still": &front.still} {
		broken.Store(true)
		unavailable("a chunk to a bucket "+what, f.chunk(t, upload, access, 50_000, content[50_000:100_000]))
		unavailable("an end to a bucket "+what, f.ask(t, http.MethodPut, upload+"?digest="+d, string(content[50_000:]), bearer(access)))
		unavailable("reading from a bucket "+what, f.ask(t, http.MethodGet, checkout+"/blobs/"+kept, "", bearer(access)))
		broken.Store(false)
		if a := f.ask(t, http.MethodGet, upload, "", bearer(access)); a.status != http.StatusNoContent || a.header.Get("Range") != "0-49999" {
			t.Errorf("after a bucket %s the upload is answered %d %s", what, a.status, a.header.Get("Range"))
		}
		if a := f.ask(t, http.MethodHead, checkout+"/blobs/"+d, "", bearer(access)); a.status != http.StatusNotFound {
			t.Errorf("after a bucket %s half a blob is answered %d", what, a.status)
		}
	}
	if a := f.ask(t, http.MethodPut, upload+"?digest="+d, string(content[50_000:]), bearer(access)); a.status != http.StatusCreated {
		t.Fatalf("the end is answered %d %s", a.status, a.body)
	}
	front.short.Store(true)
	res, err := http.DefaultTransport.RoundTrip(request(t, f.registry.External+checkout+"/blobs/"+d, access))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("an answer that broke off looks whole, with %d bytes", len(got))
	}
	front.short.Store(false)
	if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+d, "", bearer(access)); a.body != string(content) {
		t.Errorf("the blob is answered %d with %d bytes", a.status, len(a.body))
	}

	f.age(t)
	front.down.Store(true)
	if err := f.registry.Collect(t.Context()); err == nil {
		t.Error("collecting from a bucket that is down is no error")
	}
	if runs := f.runs(t); len(runs) != 1 || !strings.Contains(runs[0].Error, "could not be reached") {
		t.Errorf("the runs are %+v", runs)
	}
	front.down.Store(false)
	f.collect(t)
	if names := f.left(t); len(names) > 0 {
		t.Errorf("the bucket still has %v", names)
	}
}

func request(t testing.TB, address, access string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer(access)(r)
	return r
}

func TestWhatWasPushedToABucketWhileTheCollectorsRunIsWhole(t *testing.T) {
	t.Parallel()
	place := s3Place(s3Address(t))
	short := func(s *registry.Service) { s.Grace = 200 * time.Millisecond }
	f := serve(t, modelstest.Postgres(t), inBucket(t, place), short)
	other := f.process(t, inBucket(t, place), short)
	login := f.writer(t, f.Maintainer)
	stop := collecting(t, f.registry, other)
	var pushers sync.WaitGroup
	images := make([]v1.Image, 4)
	for i := range images {
		pushers.Go(func() {
			ref := f.ref(t, fmt.Sprintf("payments/checkout:n%d", i))
			img, err := random.Image(2000, 3)
			if err != nil {
				t.Error(err)
				return
			}
			for range 5 {
				if err := remote.Write(ref, img, login); err != nil {
					continue // a push that fails is fine; one that succeeds and is broken is not
				}
				if got, err := remote.Image(ref, login); err != nil || whole(got) != nil {
					t.Errorf("an image that was pushed is not whole: %v", err)
				}
				if err := remote.Delete(ref.Context().Digest(digestOf(t, img)), login); err != nil {
					t.Errorf("deleting: %v", err)
				}
			}
			images[i] = img
		})
	}
	pushers.Wait()
	stop()
	for i, img := range images {
		if err := remote.Write(f.ref(t, fmt.Sprintf("payments/checkout:n%d", i)), img, login); err != nil {
			t.Errorf("the last push: %v", err)
		}
	}
	f.registry.Grace, other.Grace = time.Hour, time.Hour
	f.age(t)
	f.collect(t)
	for i := range images {
		if got, err := remote.Image(f.ref(t, fmt.Sprintf("payments/checkout:n%d", i)), login); err != nil || whole(got) != nil {
			t.Errorf("image %d at the end: %v", i, err)
		}
	}
	if names := f.left(t); len(names) != 4*4 {
		t.Errorf("%d objects are left of 16", len(names))
	}
}

func TestWhatNoRowKnowsIsCollectedUnlessItMayBeAnothers(t *testing.T) {
	t.Parallel()
	eachStorage(t, func(t *testing.T, db *models.Database, store func(*registry.Service)) {
		f := serve(t, db, store)
		access := f.pusher(t)
		kept := f.blob(t, access, "kept")
		orphan := f.blob(t, access, "its row was lost")
		lose := func(d string) {
			for _, m := range []any{&models.RegistryLink{}, &models.RegistryBlob{}} {
				if err := db.Where("digest = ?", d).Delete(m).Error; err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Where("owner = ?", d).Delete(&models.RegistryPart{}).Error; err != nil {
				t.Fatal(err)
			}
		}
		lose(orphan)
		f.collect(t)
		if n := len(f.left(t)); n != 2 {
			t.Errorf("%d are left: something fresh was collected", n)
		}
		old := f.process(t, store, func(s *registry.Service) { s.Grace = time.Nanosecond })
		if err := db.Model(&models.RegistryLink{}).Where("1 = 1").UpdateColumn("touched_at", db.NowFunc().Add(time.Hour)).Error; err != nil {
			t.Fatal(err)
		}
		if err := old.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(f.left(t)); n != 1 {
			t.Errorf("%d are left, and one was to be", n)
		}
		if runs := f.runs(t); len(runs) != 1 || runs[0].Bytes != int64(len("its row was lost")) {
			t.Errorf("the runs are %+v", runs)
		}
		if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+kept, "", bearer(access)); a.body != "kept" {
			t.Errorf("what has a row is answered %d", a.status)
		}

		lose(kept)
		if err := db.Model(&models.Setting{}).Where("key = 'registry_installation'").UpdateColumn("value", "another").Error; err != nil {
			t.Fatal(err)
		}
		if err := old.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(f.left(t)); n != 1 {
			t.Error("what may be another installation's was collected")
		}
	})
}

func TestAFolderThatWasCopiedIntoABucketServesFromThere(t *testing.T) {
	t.Parallel()
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, modelstest.DB(t))
			login := f.writer(t, f.Maintainer)
			img := f.push(t, "payments/checkout:v1", 2, login)
			access := f.pusher(t)
			lost := f.blob(t, access, "not copied")
			bucket := open(t, place)
			for _, d := range blobsOf(t, img) {
				upload(t, bucket, f, d)
			}
			moved := f.process(t, inBucket(t, place))
			f.registry, f.host = moved, moved.Host()
			got, err := remote.Image(f.ref(t, "payments/checkout:v1"), login)
			if err == nil {
				err = whole(got)
			}
			if err != nil {
				t.Errorf("the image is not whole: %v", err)
			}
			if a := f.ask(t, http.MethodHead, checkout+"/blobs/"+lost, "", bearer(access)); a.status != http.StatusNotFound {
				t.Errorf("a blob that was not copied is answered %d", a.status)
			}
			f.blob(t, access, "not copied")
			if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+lost, "", bearer(access)); a.body != "not copied" {
				t.Errorf("pushed again, it is answered %d", a.status)
			}
			f.ask(t, http.MethodDelete, checkout+"/manifests/"+digestOf(t, img), "", bearer(access))
			f.age(t)
			f.collect(t)
			if names := f.left(t); len(names) > 0 {
				t.Errorf("the bucket still has %v", names)
			}
		})
	}
}

// blobsOf are the digests of the image's config and layers.
func blobsOf(t testing.TB, img v1.Image) (all []string) {
	t.Helper()
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	all = append(all, m.Config.Digest)
	for _, l := range m.Layers {
		all = append(all, l.Digest)
	}
	return all
}

// upload copies a blob's file into the bucket, under the same name.
func upload(t testing.TB, to *blob.Bucket, f *fixture, d string) {
	t.Helper()
	in, _, err := f.registry.OpenBlob(t.Context(), "payments/checkout", d)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	name := strings.TrimPrefix(f.blobFile(d), f.folder+"/")
	if err := to.Upload(t.Context(), name, in, &blob.WriterOptions{ContentType: "application/octet-stream"}); err != nil {
		t.Fatal(err)
	}
}

func TestOneProcessCollectsAtATimeAndADeadOneIsFollowed(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		access := f.pusher(t)
		f.blob(t, access, "loose")
		f.age(t)
		now := db.NowFunc()
		other := models.RegistryCollection{ID: models.NewID(), Running: true, StartedAt: now, AliveAt: now}
		if err := db.Create(&other).Error; err != nil {
			t.Fatal(err)
		}
		f.collect(t)
		if at, err := f.registry.Storage(modelstest.As(t, db, f.Admin)); err != nil || at.Blobs != 1 || at.Bytes != 5 || !at.Collecting {
			t.Errorf("while another collects, the storage has %+v: %v", at, err)
		}
		if err := db.Model(&other).UpdateColumn("alive_at", now.Add(-time.Hour)).Error; err != nil {
			t.Fatal(err)
		}
		f.collect(t)
		runs := f.runs(t)
		if len(runs) != 2 || runs[0].Bytes != 5 || runs[1].Error == "" || runs[1].Running || runs[1].FinishedAt == nil {
			t.Errorf("the runs are %+v", runs)
		}
	})
}

func TestAnAdminHasItCollectedAtOnceAndSeesWhatThatFreed(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		queue, err := jobs.New(db, jobs.Config{Others: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := jobs.Migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		f := serve(t, db, func(s *registry.Service) { s.Jobs = queue })
		f.registry.Register(queue)
		if err := queue.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer queue.Stop(t.Context())
		if err := f.registry.CollectNow(modelstest.As(t, db, f.Maintainer)); !models.IsCode(err, models.Denied) {
			t.Errorf("a maintainer had it collected: %v", err)
		}
		if err := f.registry.CollectNow(modelstest.As(t, db, f.Admin)); err != nil {
			t.Fatal(err)
		}
		f.await(t, "the job is done", func() bool { runs := f.runs(t); return len(runs) == 1 && runs[0].FinishedAt != nil })
		var entry models.AuditEntry
		if err := db.Where("action = 'registry.collect'").Take(&entry).Error; err != nil || entry.ActorID != f.Admin.ID {
			t.Errorf("the audit log says %+v: %v", entry, err)
		}
		now := db.NowFunc()
		if err := db.Create(&models.RegistryCollection{ID: models.NewID(), Running: true, StartedAt: now, AliveAt: now}).Error; err != nil {
			t.Fatal(err)
		}
		if err := f.registry.CollectNow(modelstest.As(t, db, f.Admin)); !models.IsCode(err, models.Conflict) {
			t.Errorf("while one runs, another was asked for: %v", err)
		}
	})
}
