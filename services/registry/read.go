package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"slipway.dev/models"
)

// Config returns the config of an image, of which at most 4 MiB are read. Who
// may see the repository is the caller's to know.
func (s *Service) Config(ctx context.Context, repository, config string) ([]byte, error) {
	f, _, err := s.OpenBlob(ctx, repository, config)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfig))
}

// OpenBlob opens the content of a blob that the repository has and returns its
// size in bytes, or a NotFound error. It must be closed. Reading and seeking are
// for one goroutine, and end with ctx. Who may see the repository is the caller's to know.
func (s *Service) OpenBlob(ctx context.Context, repository, blob string) (io.ReadSeekCloser, int64, error) {
	d, err := parseDigest(blob)
	if err != nil {
		return nil, 0, models.Errorf(models.NotFound, "No such image.")
	}
	f, size, err := s.openBlob(ctx, repository, d)
	if errors.Is(err, errBlobUnknown) {
		return nil, 0, models.Errorf(models.NotFound, "The repository has no such blob.")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening the blob %s of %s: %w", blob, repository, err)
	}
	return f, size, nil
}
