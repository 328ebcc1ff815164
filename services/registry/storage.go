package registry

import (
	"context"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// partSize is how many bytes of one request an upload takes before it writes
// down what it has: what a process that dies can lose of it.
const partSize = 128 << 20

// defaultLease is for how long a request holds an upload without a sign of life, where the bucket keeps it.
const defaultLease = 30 * time.Second

// storage keeps the bytes of blobs and uploads; which of them there are the
// database says alone. The row comes before the bytes that it is about and goes
// after them, so that a crash leaves nothing that is seen without its content,
// and nothing that the collector does not find.
type storage interface {
	// create adds a new upload, to which about so many bytes will come; a negative size is not known.
	create(ctx context.Context, up *models.RegistryUpload, size int64) error

	// take gives the upload to this request alone until it is released. Others
	// get errUploadBusy, and errUploadUnknown once it is gone.
	take(ctx context.Context, repository, id string) (upload, error)

	// drop deletes the upload, also while a request writes to it: that one fails when it comes to its end.
	drop(ctx context.Context, id string) error

	// expire deletes the upload where nobody has touched it since the time and no request has it.
	expire(ctx context.Context, id string, before time.Time) (gone bool, freed int64, err error)

	// open returns the content of a blob and its size, or errBlobUnknown where it is not there.
	open(ctx context.Context, d digest.Digest) (io.ReadSeekCloser, int64, error)

	// destroy deletes a blob that is marked, unless it was pushed again since, and its row.
	destroy(ctx context.Context, d digest.Digest) (gone bool, freed int64, err error)

	// orphans gives rows that are marked to what nobody has touched since the time and no row knows.
	orphans(ctx context.Context, before time.Time) error

	// purge deletes what blobs and uploads left behind, and tells each.
	purge(ctx context.Context, before time.Time, done func(bytes int64) error) error

	// owner returns whose storage this is; it becomes the installation's where it was nobody's.
	owner(ctx context.Context, installation string) (string, error)

	// room fails where so many more bytes have no place.
	room(more int64) error
}

// upload is an upload in the hands of one request.
type upload interface {
	// row is the upload as it was when it was taken, or kept last.
	row() *models.RegistryUpload

	// Write adds bytes behind those that it has. They count once they are kept.
	io.Writer

	// keep writes down that the upload has so many bytes, over which h is the sum.
	keep(ctx context.Context, size int64, h hash.Hash) error

	// content reads all that is kept.
	content(ctx context.Context) (io.ReadCloser, error)

	// publish makes the upload, to its last byte written, the content of the
	// blob. then runs in the transaction that ends the upload.
	publish(ctx context.Context, d digest.Digest, size int64, then func(tx *gorm.DB) error) error

	// release lets others have the upload; what was not kept is lost.
	release(ctx context.Context)
}

// storage is where this registry keeps its bytes.
func (s *Service) storage() storage {
	if s.Bucket != nil {
		return bucket{s}
	}
	return folder{s}
}

func (s *Service) lease() time.Duration {
	if s.Lease > 0 {
		return s.Lease
	}
	return defaultLease
}

// announce writes the blob's row, which takes it out of the collector's hands.
func (s *Service) announce(tx *gorm.DB, d digest.Digest, size int64) error {
	row := models.RegistryBlob{Digest: d.String(), Size: size, TouchedAt: s.DB.NowFunc()}
	if err := tx.Clauses(anew("digest", "size", "touched_at", "deleting_at")).Create(&row).Error; err != nil {
		return fmt.Errorf("announcing the blob %s: %w", d, err)
	}
	return nil
}
