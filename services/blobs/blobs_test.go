package blobs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/services/blobs"
)

func TestABlobInAFolderAppearsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "here")
	bucket, err := blobs.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	w, err := bucket.NewWriter(t.Context(), "logs/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(strings.Repeat("x", 100_000))); err != nil {
		t.Fatal(err)
	}
	if there, err := bucket.Exists(t.Context(), "logs/a"); err != nil || there {
		t.Fatalf("half a blob can be seen (error %v)", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if data, err := bucket.ReadAll(t.Context(), "logs/a"); err != nil || len(data) != 100_000 {
		t.Fatalf("read %d bytes, error %v", len(data), err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is open to others: %v %v", info, err)
	}
}

func TestABucketWithoutADriverIsRefusedByItsName(t *testing.T) {
	t.Parallel()
	_, err := blobs.Open(t.Context(), "nowhere://bucket")
	if err == nil || !strings.Contains(err.Error(), "nowhere://bucket") {
		t.Errorf("got %v", err)
	}
}

func TestAPlaceIsAFolderOrABucketWithoutCredentials(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ place, fault string }{
		{"/var/lib/slipway", ""},
		{"s3://layers?region=eu-central-1", ""},
		{"gs://layers", ""},
		{"azblob://layers?prefix=slipway", ""},
		{"s3://", "neither a folder nor the URL of a bucket"},
		{"s3://layers/below?region=x", "neither a folder nor the URL of a bucket"},
		{"https://example.com/x", `"https://example.com/x" is neither`},
		{"file:///etc", "neither a folder"},
		{"s3://key:secret@layers?region=x", "has a user or password in it"},
		{"gs://layers?grpc=true", "gs://layers asks for gRPC"},
	} {
		err := blobs.Check(tc.place)
		if (err == nil) != (tc.fault == "") || err != nil && !strings.Contains(err.Error(), tc.fault) {
			t.Errorf("%s: %v", tc.place, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the fault shows a password: %v", err)
		}
	}
}

func TestWhatLiesBelowAPlaceIsAFolderOrAPrefix(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ place, below, name string }{
		{"/data", "/data/registry", "/data/registry"},
		{"s3://layers", "s3://layers?prefix=registry%2F", "s3://layers/registry"},
		{"s3://layers?prefix=slipway&region=x", "s3://layers?prefix=slipway%2Fregistry%2F&region=x", "s3://layers/slipway/registry"},
	} {
		if got := blobs.Below(tc.place, "registry"); got != tc.below || blobs.Name(got) != tc.name {
			t.Errorf("below %s is %s, called %s", tc.place, got, blobs.Name(got))
		}
	}
}
