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
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"gocloud.dev/blob"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
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

func TestAnImageGoesInComesOutAndGoesAwayInEveryStorage(t *testing.T) {
	t.Parallel()
	eachStorage(t, func(t *testing.T, db *models.Database, store func(*registry.Service)) {
		f := serve(t, db, func(s *registry.Service) { store(s); s.Undo = -1 })
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

func TestAFolderThatWasCopiedIntoABucketServesFromThere(t *testing.T) {
	t.Parallel()
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, modelstest.DB(t), func(s *registry.Service) { s.Undo = -1 })
			login := f.writer(t, f.Maintainer)
			img := f.push(t, "payments/checkout:v1", 2, login)
			access := f.pusher(t)
			lost := f.blob(t, access, "not copied")
			bucket := open(t, place)
			for _, d := range blobsOf(t, img) {
				upload(t, bucket, f, d)
			}
			moved := f.process(t, func(s *registry.Service) { inBucket(t, place)(s); s.Undo = -1 })
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
