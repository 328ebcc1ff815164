package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"gocloud.dev/blob"
	"slipway.dev/models"
)

// defaultPatience is how long the bucket may take to do something before it is given up.
const defaultPatience = time.Minute

func (s *Service) patience() time.Duration {
	if s.Patience > 0 {
		return s.Patience
	}
	return defaultPatience
}

// watch ends what waits for a bucket that does nothing any more.
type watch struct {
	ctx      context.Context
	cancel   context.CancelFunc
	timer    *time.Timer
	patience time.Duration
}

func newWatch(ctx context.Context, patience time.Duration) *watch {
	w := &watch{patience: patience}
	w.ctx, w.cancel = context.WithCancel(ctx)
	w.timer = time.AfterFunc(patience, w.cancel)
	w.timer.Stop()
	return w
}

// within runs one step, which uses the watch's context.
func (w *watch) within(step func() error) error {
	w.timer.Reset(w.patience)
	defer w.timer.Stop()
	return step()
}

func (w *watch) end() {
	w.timer.Stop()
	w.cancel()
}

// storageFault is an error of the bucket, which clients learn of as the storage that does not answer.
func storageFault(what string, err error) error {
	return fmt.Errorf("%s: %w: %w", what, errStorage, err)
}

// content reads objects one after another as if they were one.
type content struct {
	watch  *watch
	bucket *blob.Bucket
	parts  []models.RegistryPart // without a gap, from 0 on
	size   int64
	at     int64        // where the next byte is read
	open   *blob.Reader // at the byte at; nil where none is open
	until  int64        // where the open part ends
}

func (b bucket) newContent(ctx context.Context, parts []models.RegistryPart) *content {
	c := &content{watch: newWatch(ctx, b.patience()), bucket: b.Bucket, parts: parts}
	for _, p := range parts {
		c.size += p.Size
	}
	return c
}

// Read reads from the part that has the next byte.
func (c *content) Read(b []byte) (n int, err error) {
	if c.at >= c.size {
		return 0, io.EOF
	}
	err = c.watch.within(func() error {
		if c.open == nil {
			if err := c.openPart(); err != nil {
				return err
			}
		}
		n, err = c.open.Read(b)
		return err
	})
	c.at += int64(n)
	switch {
	case c.at == c.until && n > 0:
		return n, c.closePart()
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, storageFault("reading from the bucket", err)
	}
	return n, nil
}

func (c *content) openPart() (err error) {
	for _, p := range c.parts {
		if c.at < p.Start+p.Size {
			c.until = p.Start + p.Size
			c.open, err = c.bucket.NewRangeReader(c.watch.ctx, p.Name, c.at-p.Start, c.until-c.at, nil)
			return err
		}
	}
	return io.ErrUnexpectedEOF
}

func (c *content) closePart() error {
	if c.open == nil {
		return nil
	}
	err := c.open.Close()
	c.open = nil
	return err
}

// Seek says where to read next. Nothing is read before it has to be.
func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 {
		return c.at, fmt.Errorf("seeking to %d: %w", offset, fs.ErrInvalid)
	}
	if offset == c.at {
		return offset, nil
	}
	c.at = offset
	return offset, c.closePart()
}

// Close ends the reading.
func (c *content) Close() error {
	err := c.closePart()
	c.watch.end()
	return err
}
