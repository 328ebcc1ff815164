package registry_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"testing"

	"slipway.dev/models/modelstest"
)

func TestALargeBlobComesWholeAndFromTheMiddle(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	access := f.pusher(t)
	content := string(bytesOf(9<<20 + 12345))
	d := f.blob(t, access, content)
	for ranges, want := range map[string]string{"": content, "bytes=70001-": content[70001:], "bytes=8000000-8999999": content[8_000_000:9_000_000]} {
		a := f.ask(t, http.MethodGet, checkout+"/blobs/"+d, "", func(r *http.Request) {
			bearer(access)(r)
			if ranges != "" {
				r.Header.Set("Range", ranges)
			}
		})
		if a.body != want {
			t.Errorf("%q: answer %d with %d bytes that are not the %d of the blob", ranges, a.status, len(a.body), len(want))
		}
	}
}

// The bytes that are on their way when the file is cut are fewer than those that follow.
func TestABlobWhoseFileIsCutOnItsWayBreaksOffAndNothingElseDoes(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	access := f.pusher(t)
	content := string(bytesOf(96 << 20))
	d, other := f.blob(t, access, content), f.blob(t, access, "another")
	response, err := http.DefaultTransport.RoundTrip(request(t, f.registry.External+checkout+"/blobs/"+d, access))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.ReadFull(response.Body, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f.blobFile(d), 2<<20); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, response.Body)
	if response.StatusCode != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("answer %d, and %d bytes more, then %v", response.StatusCode, n, err)
	}
	if a := f.ask(t, http.MethodGet, checkout+"/blobs/"+other, "", bearer(access)); a.body != "another" {
		t.Errorf("the registry answers %d afterwards: %s", a.status, a.body)
	}
}
