package registry

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	smallManifest  = 128 << 10       // bytes up to which nobody waits; nearly all manifests and configs have fewer
	largeAtOnce    = 2               // larger manifests that are in memory at once
	manifestWithin = 2 * time.Minute // time for the rest of a larger one to arrive
)

// slots are the places for requests that take much memory.
type slots struct {
	once sync.Once
	free chan struct{}
}

// take waits for a place, as long as the request does. done gives it back.
func (s *slots) take(ctx context.Context) (done func(), err error) {
	s.once.Do(func() { s.free = make(chan struct{}, largeAtOnce) })
	select {
	case s.free <- struct{}{}:
		return func() { <-s.free }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// readManifest reads the body of a push. One that is large, and its config, are
// kept in memory for few requests at once: until done is called.
func (s *Service) readManifest(w http.ResponseWriter, r *http.Request) (body []byte, done func(), err error) {
	if r.ContentLength > maxManifest {
		return nil, nil, errManifestSize
	}
	control := http.NewResponseController(w)
	reader := &patientReader{body: r.Body, control: control}
	defer reader.end()
	body, err = io.ReadAll(io.LimitReader(reader, smallManifest))
	if err != nil {
		return nil, nil, errUploadBroken
	}
	if len(body) < smallManifest {
		return body, func() {}, nil
	}
	if done, err = s.large.take(r.Context()); err != nil {
		return nil, nil, err
	}
	_ = control.SetReadDeadline(time.Now().Add(manifestWithin)) // whoever holds a place does not hold it for long
	_ = control.SetWriteDeadline(time.Now().Add(2 * manifestWithin))
	rest, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1-smallManifest))
	if err == nil && len(body)+len(rest) <= maxManifest {
		return append(body, rest...), done, nil
	}
	done()
	if err != nil {
		return nil, nil, errUploadBroken
	}
	return nil, nil, errManifestSize
}
