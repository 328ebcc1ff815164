package layers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	_ "crypto/sha256" // the digests that blobs are known by
	_ "crypto/sha512"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// maxWindow is how much memory a zstd layer may ask for; the usual levels ask for 8 MiB.
const maxWindow = 64 << 20

// source is a layer as the registry keeps it. It counts and sums up what is read.
type source struct {
	ctx   context.Context
	from  io.Reader
	sum   hash.Hash // nil: nobody asks for it
	n     int64
	err   error // why reading failed; nil at the end
	ended bool
	told  func(int64)
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		s.err = err
		return 0, err
	}
	n, err := s.from.Read(p)
	s.n += int64(n)
	if s.sum != nil {
		s.sum.Write(p[:n])
	}
	switch {
	case errors.Is(err, io.EOF):
		s.ended = true
	case err != nil:
		s.err = err
	}
	if s.told != nil {
		s.told(s.n)
	}
	return n, err
}

// verify reads what is left of the layer, and fails where it is not the content that the digest names.
func (s *source) verify(want digest.Digest) error {
	if _, err := io.Copy(io.Discard, s); err != nil {
		return err
	}
	if got := digest.NewDigest(want.Algorithm(), s.sum); got != want {
		return fmt.Errorf("the layer %s has the content of %s", want, got)
	}
	return nil
}

// meter counts what a layer becomes, and stops where it becomes too much.
type meter struct {
	source *source
	from   io.Reader
	limits Limits
	n      int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	m.n += int64(n)
	if over := m.check(m.n); over != nil {
		return n, over
	}
	return n, err
}

// check fails where so many bytes are too many, in all or for what they are made of.
func (m *meter) check(n int64) error {
	switch {
	case n > m.limits.Bytes:
		return limitf("It becomes larger than %d GB when it is unpacked; the rest is not shown.", m.limits.Bytes>>30)
	case n > m.limits.Free && n/m.limits.Ratio > m.source.n:
		return limitf("It becomes more than %d times as large when it is unpacked, as no honest layer does; the rest is not shown.", m.limits.Ratio)
	}
	return nil
}

// unpack finds out how the layer is packed by looking at it: what its media type says is a claim. close must be called.
func unpack(s *source, l Limits) (m *meter, format string, close func(), err error) {
	in := bufio.NewReaderSize(s, 64<<10)
	head, err := in.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", nil, err
	}
	m, close = &meter{source: s, from: in, limits: l}, func() {}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, "", nil, limitf("It begins like gzip and is damaged.")
		}
		m.from, format = z, "tar+gzip"
	case isZstd(head):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, "", nil, limitf("It begins like zstd and is damaged.")
		}
		m.from, format, close = z, "tar+zstd", z.Close
	case isTar(head):
		format = "tar"
	default:
		return nil, "", nil, limitf("It is no tar archive, alone or compressed by gzip or zstd: it holds no files that could be shown.")
	}
	return m, format, close, nil
}

// isZstd knows a frame and a skippable frame (RFC 8878 §3.1).
func isZstd(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) || len(head) > 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18})
}

// isTar compares the checksum of the first header (POSIX ustar); an archive of nothing is zeros.
func isTar(head []byte) bool {
	if len(head) < 512 {
		return false
	}
	if len(bytes.Trim(head, "\x00")) == 0 {
		return true
	}
	sum := int64(0)
	for i, b := range head {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int64(b)
	}
	var said int64
	for _, b := range bytes.Trim(head[148:156], " \x00") {
		if b < '0' || b > '7' {
			return false
		}
		said = said<<3 | int64(b-'0')
	}
	return said == sum
}
