package registry

import (
	"context"
	"fmt"
	"io"

	"slipway.dev/models"
)

// Config returns the config of an image, of which at most 4 MiB are read. Who
// may see the repository is the caller's to know.
func (s *Service) Config(ctx context.Context, repository, config string) ([]byte, error) {
	d, err := parseDigest(config)
	if err != nil {
		return nil, models.Errorf(models.NotFound, "No such image.")
	}
	f, err := s.openBlob(ctx, repository, d)
	if err != nil {
		return nil, fmt.Errorf("reading the config of an image of %s: %w", repository, err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfig))
}
