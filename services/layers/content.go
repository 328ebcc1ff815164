package layers

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"slipway.dev/models"
)

// Content finds the content of a file in a layer: of the entry with the number,
// which an index of the same layer named. It reads the layer from its beginning
// and runs use with the file's size and content. What use does not read is not unpacked.
func Content(ctx context.Context, r io.Reader, seq int, l Limits, use func(size int64, content io.Reader) error) error {
	s := &source{ctx: ctx, from: r}
	m, _, done, err := unpack(s, l.withDefaults())
	if err != nil {
		return unreadable(s, err)
	}
	defer done()
	archive := tar.NewReader(m)
	for n := 0; ; n++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return errNoEntry
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return unreadable(s, err)
		}
		if n < seq {
			continue
		}
		if typeOf(h.Typeflag) != File {
			return errNoEntry
		}
		return use(h.Size, &metered{archive, m, 0})
	}
}

// unreadable is a layer that ends, or is damaged, before the file.
func unreadable(s *source, err error) error {
	if s.err != nil {
		return fmt.Errorf("reading a file of a layer: %w", s.err)
	}
	return &models.Error{Code: models.Conflict, Message: "The file can't be read: its layer is damaged or too large.", Err: err}
}

// metered counts a file's bytes too: a sparse one has more than its archive.
type metered struct {
	from  io.Reader
	meter *meter
	n     int64
}

func (r *metered) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.n += int64(n)
	if over := r.meter.check(r.n); over != nil {
		return n, over
	}
	return n, err
}
