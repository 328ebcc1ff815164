// Package blobs opens the place that keeps what is written once and whole: packed
// logs, and the layers of images where they are not in a folder. The default place
// is a folder; others are buckets of S3, Google Cloud Storage or Azure.
package blobs

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/blob/s3blob"
)

// schemes are those of the URLs of buckets. Their drivers find credentials by
// themselves, in the order that their cloud describes.
var schemes = []string{s3blob.Scheme, gcsblob.Scheme, azureblob.Scheme}

// IsBucket tells the URL of a bucket from the path of a folder.
func IsBucket(place string) bool { return strings.Contains(place, "://") }

// Check fails where the place is neither a folder's path nor the URL of a bucket
// that can be opened. Credentials have no place in the URL.
func Check(place string) error {
	if !IsBucket(place) {
		return nil
	}
	u, err := url.Parse(place)
	switch {
	case err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || !slices.Contains(schemes, u.Scheme):
		return fmt.Errorf("%q is neither a folder nor the URL of a bucket, such as s3://NAME?region=REGION, gs://NAME or azblob://CONTAINER", Name(place))
	case u.User != nil:
		return fmt.Errorf("the URL of the bucket %s has a user or password in it; the cloud's own ways to give credentials are safe: its variables, files and roles", Name(place))
	case u.Query().Has("grpc"), u.Query().Has("zonal"):
		return fmt.Errorf("the URL of the bucket %s asks for gRPC; Slipway speaks HTTP with Cloud Storage: leave grpc and zonal out", Name(place))
	}
	return nil
}

// Name is what people are told of the place: a URL goes without settings and passwords.
func Name(place string) string {
	if !IsBucket(place) {
		return place
	}
	scheme, rest, _ := strings.Cut(place, "://")
	rest, query, _ := strings.Cut(rest, "?")
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		rest = rest[at+1:]
	}
	name := scheme + "://" + strings.Trim(rest, "/")
	if values, err := url.ParseQuery(query); err == nil && values.Get("prefix") != "" {
		name += "/" + strings.Trim(values.Get("prefix"), "/")
	}
	return name
}

// Below is the place of this name in the place: a folder in the folder, or the
// objects of the bucket whose keys begin with the name and a slash.
func Below(place, name string) string {
	if !IsBucket(place) {
		return filepath.Join(place, name)
	}
	bucket, query, _ := strings.Cut(place, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		values = url.Values{}
	}
	prefix := strings.Trim(values.Get("prefix"), "/")
	values.Set("prefix", strings.TrimPrefix(prefix+"/"+name+"/", "/"))
	return bucket + "?" + values.Encode()
}

// Open opens the bucket at place: the path of a folder, which is made where it
// is missing, or the URL of a bucket. A blob appears whole or not at all.
func Open(ctx context.Context, place string) (*blob.Bucket, error) {
	if IsBucket(place) {
		bucket, err := blob.OpenBucket(ctx, place)
		if err != nil {
			return nil, fmt.Errorf("opening the blob store %s: %w", Name(place), err)
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
