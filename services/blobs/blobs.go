// Package blobs opens the bucket that keeps what is written once and whole: packed
// logs now, artifacts later. The default bucket is a folder.
package blobs

import (
	"context"
	"fmt"
	"os"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
)

// Open opens the bucket at place: the path of a folder, which is made where it
// is missing, or the URL of a bucket whose driver the program carries. A blob
// appears whole or not at all.
func Open(ctx context.Context, place string) (*blob.Bucket, error) {
	if strings.Contains(place, "://") {
		bucket, err := blob.OpenBucket(ctx, place)
		if err != nil {
			return nil, fmt.Errorf("opening the blob store %s: %w", place, err)
		}
		return bucket, nil
	}
	bucket, err := fileblob.OpenBucket(place, &fileblob.Options{
		CreateDir: true, DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the blob store in %s: %w", place, err)
	}
	return bucket, os.Chmod(place, 0o700)
}
