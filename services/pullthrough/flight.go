package pullthrough

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/distribution"
)

const (
	downloadsAtOnce = 8 // of one process; others wait
	downloadTries   = 4 // each goes on where the one before broke off
)

var (
	errStalled = errors.New("no byte came for too long")
	errClosing = errors.New("this server is shutting down")
)

// flight is one download of a blob that any number of readers follow while it is written to a file.
type flight struct {
	digest digest.Digest
	size   int64
	file   *os.File // has no name any more; gone once it is closed
	done   chan struct{}

	mu      sync.Mutex
	cond    *sync.Cond
	written int64
	sum     hash.Hash // of what was written; only the download touches it
	right   bool      // all is there, and has the digest
	err     error
	users   int // readers, and the download itself
}

// fly returns the download of the blob, which begins where none is under way. leave must be called.
func (s *Service) fly(from *source, d digest.Digest, size int64) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancel(models.WithPrincipal(context.Background(), models.System("cache")))
		s.flights, s.slots = map[string]*flight{}, make(chan struct{}, downloadsAtOnce)
	}
	key := keyOf(from, d)
	if f, ok := s.flights[key]; ok && f.join() {
		return f
	}
	f := &flight{digest: d, size: size, sum: d.Algorithm().Hash(), done: make(chan struct{}), users: 2}
	f.cond = sync.NewCond(&f.mu)
	s.flights[key] = f
	s.wg.Go(func() {
		defer f.leave()
		err := s.download(s.ctx, from, f)
		s.mu.Lock()
		if s.flights[key] == f {
			delete(s.flights, key)
		}
		s.mu.Unlock()
		f.end(err)
		close(f.done)
	})
	return f
}

// flying returns the download of the blob that is under way, or nil. leave must be called.
func (s *Service) flying(from *source, d digest.Digest) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.flights[keyOf(from, d)]; ok && f.join() {
		return f
	}
	return nil
}

func keyOf(from *source, d digest.Digest) string { return from.repository + "@" + d.String() }

// download fetches the blob into the flight's file, and from there into the store.
func (s *Service) download(ctx context.Context, from *source, f *flight) (err error) {
	if here, err := s.has(ctx, from, f.digest); err != nil || here {
		return errors.Join(err, s.replay(ctx, from, f, here))
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return errClosing
	}
	s.coming.Add(f.size)
	came := sync.OnceFunc(func() { s.coming.Add(-f.size) })
	defer came()
	if err := s.makeRoom(ctx, f.size); err != nil {
		return err
	}
	if err := f.open(s.Scratch); err != nil {
		return err
	}
	if err := s.fetch(ctx, from, f); err != nil {
		if ctx.Err() != nil {
			return errClosing
		}
		return s.failed(ctx, from, f.digest.String(), err)
	}
	err = s.Registry.StoreBlob(ctx, from.repository, f.digest, f.size, io.NewSectionReader(f.file, 0, f.size))
	came() // from now on it counts as what is here
	if err != nil {
		if ctx.Err() != nil {
			return errClosing
		}
		slog.ErrorContext(ctx, "a blob of the cache could not be stored", "repository", from.repository, "digest", f.digest, "error", err)
		return err
	}
	return s.DB.WithContext(ctx).Model(&models.CacheRepository{}).Where("name = ?", from.repository).
		UpdateColumn("fetched", gorm.Expr("fetched + ?", f.size)).Error
}

// replay serves a blob that came here since it was asked for.
func (s *Service) replay(ctx context.Context, from *source, f *flight, here bool) error {
	if !here {
		return nil
	}
	if err := f.open(s.Scratch); err != nil {
		return err
	}
	content, _, err := s.Registry.OpenBlob(ctx, from.repository, f.digest.String())
	if err != nil {
		return err
	}
	defer content.Close()
	if err := f.take(content, func() {}); err != nil {
		return err
	}
	return f.verify()
}

// fetch reads the blob from its upstream, and goes on where a connection breaks.
func (s *Service) fetch(ctx context.Context, from *source, f *flight) error {
	var err error
	for try := range downloadTries {
		if try > 0 && !again(err) {
			return err
		}
		if err = s.fetchFrom(ctx, from, f); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	return f.verify()
}

// again tells whether the rest of the blob may come at another try.
func again(err error) bool {
	status := distribution.Status(err)
	return !wrong(err) && !refused(err) && !errors.Is(err, errStalled) && (status == 0 || status >= 500)
}

func (s *Service) fetchFrom(ctx context.Context, from *source, f *flight) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := s.Stall
	if stall <= 0 {
		stall = time.Minute
	}
	watch := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer watch.Stop()
	err := f.receive(ctx, func() (*distribution.Repository, error) { return s.open(ctx, from) }, func() { watch.Reset(stall) })
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

func (f *flight) receive(ctx context.Context, open func() (*distribution.Repository, error), moved func()) error {
	there, err := open()
	if err != nil {
		return err
	}
	content, err := there.Blob(ctx, f.digest, f.have())
	if err != nil {
		return err
	}
	defer content.Close()
	return f.take(content, moved)
}

// take writes the content behind what is there.
func (f *flight) take(content io.Reader, moved func()) error {
	buffer := make([]byte, 128<<10)
	for {
		n, err := content.Read(buffer)
		if n > 0 {
			moved()
			if f.have()+int64(n) > f.size {
				return &distribution.SizeError{What: "the blob " + f.digest.String(), Limit: f.size}
			}
			if err := f.write(buffer[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF && f.have() < f.size:
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

func (f *flight) open(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(folder, "blob-")
	if err != nil {
		return fmt.Errorf("making a file for a blob on its way: %w", err)
	}
	f.mu.Lock()
	f.file = file
	f.mu.Unlock()
	return os.Remove(file.Name())
}

func (f *flight) have() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written
}

func (f *flight) write(b []byte) error {
	n, err := f.file.WriteAt(b, f.have())
	f.sum.Write(b[:n])
	f.mu.Lock()
	f.written += int64(n)
	f.mu.Unlock()
	f.cond.Broadcast()
	return err
}

// verify compares what arrived with the digest. Only then do readers get the last of it.
func (f *flight) verify() error {
	if got := digest.NewDigest(f.digest.Algorithm(), f.sum); got != f.digest {
		return &distribution.DigestError{Want: f.digest, Got: got}
	}
	f.mu.Lock()
	f.right = true
	f.mu.Unlock()
	f.cond.Broadcast()
	return nil
}

// end tells the readers that nothing more comes.
func (f *flight) end(err error) {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	f.cond.Broadcast()
}

// wait returns once the blob is stored, or why it is not.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join adds a reader. It is false where the last one has just left.
func (f *flight) join() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users == 0 || f.err != nil {
		return false
	}
	f.users++
	return true
}

// leave takes a reader away, and the file with the last.
func (f *flight) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users--; f.users == 0 && f.file != nil {
		f.file.Close()
	}
}

// reader reads the blob from its beginning, as it comes.
func (f *flight) reader(ctx context.Context) io.Reader { return &follower{flight: f, ctx: ctx} }

type follower struct {
	flight *flight
	ctx    context.Context
	at     int64
}

// Read waits for bytes. The last byte comes once all are known to be right.
func (r *follower) Read(b []byte) (int, error) {
	f := r.flight
	stop := context.AfterFunc(r.ctx, f.cond.Broadcast)
	defer stop()
	f.mu.Lock()
	for {
		switch {
		case r.ctx.Err() != nil:
			f.mu.Unlock()
			return 0, r.ctx.Err()
		case f.right && r.at >= f.size:
			f.mu.Unlock()
			return 0, io.EOF
		case f.err != nil && !f.right:
			err := f.err
			f.mu.Unlock()
			return 0, err
		}
		there := f.written
		if !f.right {
			there = min(there, f.size-1)
		}
		if n := there - r.at; n > 0 {
			file := f.file
			f.mu.Unlock()
			n, err := file.ReadAt(b[:min(int64(len(b)), n)], r.at)
			r.at += int64(n)
			return n, err
		}
		f.cond.Wait()
	}
}
