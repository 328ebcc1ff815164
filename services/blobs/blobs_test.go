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
