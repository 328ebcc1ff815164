package registry_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registry"
)

func TestAnUploadGoesOnWhereTheRowSaysAfterItsProcessWasKilled(t *testing.T) {
	t.Parallel()
	database, place := modelstest.PostgresURL(t), s3Place(s3Address(t))
	db := modelstest.Open(t, database)
	f := serve(t, db, inBucket(t, place), func(s *registry.Service) { s.Lease = 10 * time.Second })
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
	last := f.whenFree(t, func() answer { return f.chunk(t, upload, access, 100_000, content[100_000:]) })
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

// whenFree asks for something of an upload until no other request holds it.
func (f *fixture) whenFree(t testing.TB, ask func() answer) (a answer) {
	t.Helper()
	f.await(t, "the upload is free", func() bool {
		a = ask()
		return a.status != http.StatusConflict
	})
	return a
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
			a := f.whenFree(t, func() answer { return f.chunk(t, other.External+upload, access, 0, []byte("from the other")) })
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
	place := front.place()
	f := serve(t, modelstest.DB(t), inBucket(t, place))
	hasty := f.process(t, inBucket(t, place), func(s *registry.Service) { s.Patience = 2 * time.Second }) // asked only what can't be answered
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
		unavailable("a chunk to a bucket "+what, f.chunk(t, hasty.External+upload, access, 50_000, content[50_000:100_000]))
		unavailable("an end to a bucket "+what, f.ask(t, http.MethodPut, hasty.External+upload+"?digest="+d, string(content[50_000:]), bearer(access)))
		unavailable("reading from a bucket "+what, f.ask(t, http.MethodGet, hasty.External+checkout+"/blobs/"+kept, "", bearer(access)))
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
