package distribution

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Upload is how far the upload of one blob has come. Whoever has it can go on with it.
type Upload struct {
	Location string `json:"location"` // where the next chunk goes
	Offset   int64  `json:"offset"`   // bytes that have arrived
	Sum      []byte `json:"sum"`      // state of the hash over them
	Whole    bool   `json:"whole"`    // the registry takes no chunks: the blob is sent at once, and after a break from its beginning
}

// Source opens a blob's content from the byte on.
type Source func(ctx context.Context, from int64) (io.ReadCloser, error)

// Progress is told how many bytes of the blob have been sent.
type Progress func(sent int64)

// Push sends a blob that the repository has not. u says where an earlier try
// stood, and is kept up to date; save is called whenever another process could
// go on from there. A blob of more than one chunk is sent in chunks; where the
// registry refuses those it is sent at once.
//
// The bytes are hashed on their way: where they are not what the digest says,
// nothing becomes visible and *DigestError is returned.
func (r *Repository) Push(ctx context.Context, d digest.Digest, size int64, from Source, u *Upload, save func() error, progress Progress) error {
	p := &push{Repository: r, digest: d, size: size, from: from, upload: u, save: save, progress: progress}
	err := p.run(ctx)
	if refusedChunk(err) && !u.Whole && u.Offset < size && size > p.chunk() {
		*u = Upload{Whole: true}
		err = p.run(ctx)
	}
	return err
}

// push is one try to send a blob.
type push struct {
	*Repository
	digest   digest.Digest
	size     int64
	from     Source
	upload   *Upload
	save     func() error
	progress Progress
	hash     hash.Hash
}

func (p *push) chunk() int64 {
	switch {
	case p.upload.Whole:
		return max(p.size, 1)
	case p.Chunk > 0:
		return p.Chunk
	}
	return defaultChunk
}

// chunkError is a refused chunk.
type chunkError struct{ err error }

func (e *chunkError) Error() string { return e.err.Error() }
func (e *chunkError) Unwrap() error { return e.err }

// refusedChunk tells whether the registry refused a chunk for being one, as far as can be told.
func refusedChunk(err error) bool {
	var refused *chunkError
	if !errors.As(err, &refused) {
		return false
	}
	switch Status(err) {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusLengthRequired,
		http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented, http.StatusUnsupportedMediaType:
		return true
	}
	return false
}

func (p *push) run(ctx context.Context) error {
	if err := p.begin(ctx); err != nil {
		return err
	}
	source, err := p.from(ctx, p.upload.Offset)
	if err != nil {
		return err
	}
	defer source.Close()
	for p.upload.Offset < p.size {
		if err := p.sendChunk(ctx, source); err != nil {
			return err
		}
	}
	if n, err := io.ReadFull(source, make([]byte, 1)); n > 0 || err != io.EOF {
		if n > 0 {
			err = &DigestError{Want: p.digest}
		}
		return errors.Join(err, p.abandon(ctx))
	}
	if got := digest.NewDigest(p.digest.Algorithm(), p.hash); got != p.digest {
		return errors.Join(&DigestError{Want: p.digest, Got: got}, p.abandon(ctx))
	}
	return p.finish(ctx)
}

// begin goes on with the upload where there is one that can be gone on with, and begins one otherwise.
func (p *push) begin(ctx context.Context) error {
	if p.upload.Location != "" && !p.upload.Whole {
		ok, err := p.resume(ctx)
		if ok || err != nil {
			return err
		}
	}
	*p.upload = Upload{Whole: p.upload.Whole}
	p.hash = p.digest.Algorithm().Hash()
	p.progress(0)
	answer, err := p.ask(ctx, http.MethodPost, p.address("blobs", "uploads", ""), nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	defer done(answer)
	p.upload.Location, err = locationOf(answer)
	return err
}

// resume asks how far the upload is. It is false where the registry has forgotten it or is not as far as it said.
func (p *push) resume(ctx context.Context) (bool, error) {
	answer, err := p.ask(ctx, http.MethodGet, p.upload.Location, nil, http.StatusNoContent, http.StatusAccepted)
	if err != nil {
		if s := Status(err); s >= 400 && s < 500 && s != http.StatusUnauthorized && s != http.StatusTooManyRequests {
			return false, nil
		}
		return false, err
	}
	defer done(answer)
	at, ok := offsetOf(answer)
	if !ok || at < p.upload.Offset || at > p.size || !p.restore() {
		return false, p.drop(ctx, answer)
	}
	if location, err := locationOf(answer); err == nil {
		p.upload.Location = location
	}
	if err := p.catchUp(ctx, at); err != nil {
		return false, err
	}
	p.progress(at)
	return true, nil
}

// restore brings the hash to where the upload stood.
func (p *push) restore() bool {
	p.hash = p.digest.Algorithm().Hash()
	if p.upload.Offset == 0 {
		return true
	}
	h, ok := p.hash.(encoding.BinaryUnmarshaler)
	return ok && h.UnmarshalBinary(p.upload.Sum) == nil
}

// catchUp hashes what arrived since the last note of it was made: it is read again from the source, and not sent again.
func (p *push) catchUp(ctx context.Context, at int64) error {
	if at == p.upload.Offset {
		return nil
	}
	source, err := p.from(ctx, p.upload.Offset)
	if err != nil {
		return err
	}
	defer source.Close()
	if _, err := io.CopyN(p.hash, source, at-p.upload.Offset); err != nil {
		return err
	}
	return p.note(at)
}

// sendChunk sends the next chunk and notes that it arrived.
func (p *push) sendChunk(ctx context.Context, source io.Reader) error {
	n := min(p.chunk(), p.size-p.upload.Offset)
	body := &counted{from: io.TeeReader(io.LimitReader(source, n), p.hash), digest: p.digest, at: p.upload.Offset, end: p.upload.Offset + n, progress: p.progress}
	header := map[string]string{"Content-Type": "application/octet-stream"}
	if n < p.size {
		header["Content-Range"] = fmt.Sprintf("%d-%d", p.upload.Offset, p.upload.Offset+n-1)
	}
	answer, err := p.send(ctx, http.MethodPatch, p.upload.Location, body, n, header, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
	if err != nil {
		if body.err != nil {
			return fmt.Errorf("reading %s: %w", p.digest, body.err) // the source's fault, not the destination's
		}
		return &chunkError{err}
	}
	defer done(answer)
	if p.upload.Location, err = locationOf(answer); err != nil {
		return err
	}
	return p.note(p.upload.Offset + n)
}

// note writes down how far the upload is.
func (p *push) note(at int64) error {
	p.upload.Offset = at
	h, ok := p.hash.(encoding.BinaryMarshaler)
	if !ok {
		return errors.New("the hash can't be kept")
	}
	sum, err := h.MarshalBinary()
	if err != nil {
		return err
	}
	p.upload.Sum = sum
	return p.save()
}

// finish makes the upload a blob of the repository.
func (p *push) finish(ctx context.Context) error {
	u, err := url.Parse(p.upload.Location)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set("digest", p.digest.String())
	u.RawQuery = q.Encode()
	answer, err := p.ask(ctx, http.MethodPut, u.String(), map[string]string{"Content-Type": "application/octet-stream"}, http.StatusCreated, http.StatusNoContent)
	if err != nil {
		return err
	}
	done(answer)
	return nil
}

// abandon gives the upload up.
func (p *push) abandon(ctx context.Context) error {
	location := p.upload.Location
	*p.upload = Upload{}
	answer, err := p.ask(ctx, http.MethodDelete, location, nil, http.StatusNoContent, http.StatusOK, http.StatusAccepted)
	if err == nil {
		done(answer)
	}
	return p.save()
}

// offsetOf is how many bytes of an upload have arrived: its Range header names the first and the last.
func offsetOf(answer *http.Response) (int64, bool) {
	first, last, ok := strings.Cut(strings.TrimPrefix(answer.Header.Get("Range"), "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !ok || first != "0" || err != nil || n < 0 {
		return 0, false
	}
	if n == 0 { // registries say 0-0 of an upload without a byte
		return 0, true
	}
	return n + 1, true
}

// counted tells how far it was read, and keeps why reading failed.
type counted struct {
	from     io.Reader
	digest   digest.Digest
	at, end  int64
	progress Progress
	err      error
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.from.Read(b)
	c.at += int64(n)
	c.progress(c.at)
	switch {
	case err == io.EOF && c.at < c.end:
		c.err = &DigestError{Want: c.digest}
	case err != nil && err != io.EOF:
		c.err = err
	}
	return n, err
}
