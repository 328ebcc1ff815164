package registry_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"

	"slipway.dev/models/modelstest"
)

// large is a blob that needs no memory: a random block over and over, with its number at its begin.
type large struct {
	block []byte
	size  int64
}

func newLarge(size int64) *large {
	l := &large{block: make([]byte, 1<<20), size: size}
	_, _ = rand.Read(l.block)
	return l
}

// ReadAt reads within one block at a time, as io.SectionReader allows it.
func (l *large) ReadAt(p []byte, at int64) (int, error) {
	if at >= l.size {
		return 0, io.EOF
	}
	number, offset := at/int64(len(l.block)), int(at%int64(len(l.block)))
	n := copy(p[:min(int64(len(p)), l.size-at)], l.block[offset:])
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], uint64(number))
	if offset < len(head) {
		copy(p[:n], head[offset:])
	}
	if n < len(p) {
		return n, io.ErrShortBuffer
	}
	return n, nil
}

// from is what follows the first so many bytes.
func (l *large) from(at, end int64) io.Reader { return &largeReader{l, at, min(end, l.size)} }

type largeReader struct {
	of      *large
	at, end int64
}

func (r *largeReader) Read(p []byte) (int, error) {
	if r.at >= r.end {
		return 0, io.EOF
	}
	n, err := r.of.ReadAt(p[:min(int64(len(p)), r.end-r.at)], r.at)
	r.at += int64(n)
	if err == io.ErrShortBuffer {
		err = nil
	}
	return n, err
}

// TestSoakALargeBlobIsPushedInChunksAndResumedWhereTheServerSays pushes 64 MB, and 1 GB under make soak. It is not
// parallel: it looks at the memory of the process.
func TestSoakALargeBlobIsPushedInChunksAndResumedWhereTheServerSays(t *testing.T) {
	size := int64(64 << 20)
	if soak(t) > 0 {
		size = 1 << 30
	}
	f := serve(t, modelstest.DB(t))
	access := f.pusher(t)
	blob := newLarge(size)
	runtime.GC()
	before, most := heap(), uint64(0)
	upload := f.begin(t, access)
	chunk := size / 4
	killed := 0
	for at := int64(0); at < size; {
		end := min(at+chunk, size)
		stop := end
		if killed < 3 { // the connection ends in the middle of the chunk
			stop = at + (end-at)/2
		}
		f.patch(t, access, upload, blob, at, end, stop)
		if stop < end {
			killed++
		}
		at = f.offset(t, access, upload, at)
		most = max(most, heap())
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, blob.from(0, size)); err != nil {
		t.Fatal(err)
	}
	d := "sha256:" + hex.EncodeToString(hash.Sum(nil))
	if a := f.ask(t, http.MethodPut, upload+"?digest="+d, "", bearer(access)); a.status != http.StatusCreated {
		t.Fatalf("the end is answered %d %s", a.status, a.body)
	}
	if got := f.hash(t, access, d); got != d {
		t.Errorf("the blob is %s", got)
	}
	most = max(most, heap())
	t.Logf("%d MB, %d connections killed, %d MB of memory", size>>20, killed, (most-min(before, most))>>20)
	if killed != 3 || most > before+64<<20 {
		t.Errorf("%d connections were killed, and memory grew from %d to %d", killed, before, most)
	}
}

// patch sends the chunk over a connection of its own, which it closes before the byte stop.
func (f *fixture) patch(t *testing.T, access, upload string, blob *large, at, end, stop int64) {
	t.Helper()
	conn, err := net.Dial("tcp", f.host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\nContent-Length: %d\r\nContent-Range: %d-%d\r\n\r\n",
		upload, f.host, access, end-at, at, end-1)
	if _, err := io.Copy(conn, blob.from(at, stop)); err != nil {
		t.Fatal(err)
	}
	if stop == end { // the answer
		_, _ = io.Copy(io.Discard, conn)
	}
}

// offset asks the server where the upload stands, until it is beyond where it was and free: the server notices the end
// of a connection in its own time.
func (f *fixture) offset(t *testing.T, access, upload string, was int64) (next int64) {
	t.Helper()
	f.await(t, "the upload has gone on", func() bool {
		a := f.ask(t, http.MethodGet, upload, "", bearer(access))
		if _, err := fmt.Sscanf(a.header.Get("Range"), "0-%d", &next); err != nil {
			t.Fatalf("%d %v", a.status, err)
		}
		next++
		return next > max(was, 1)
	})
	f.whenFree(t, func() answer { return f.ask(t, http.MethodPatch, upload, "", bearer(access)) })
	return next
}

// hash reads the blob from the server and returns the digest of what came.
func (f *fixture) hash(t *testing.T, access, d string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.registry.External+checkout+"/blobs/"+d, nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer(access)(r)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, res.Body); err != nil {
		t.Fatal(err)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}
