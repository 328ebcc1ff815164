package copies

import (
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"slipway.dev/services/distribution"
)

// progress is how far a copy is.
type progress struct {
	mu       sync.Mutex
	blobs    int64
	bytes    int64
	blobsOld int64 // that were at the target before
	bytesOld int64
	open     map[digest.Digest]int64 // bytes sent of blobs that are under way
	touched  time.Time               // when something moved last
	changed  bool                    // since it was written down
	moved    bool                    // since the copy was taken up
}

func newProgress() *progress {
	return &progress{open: map[digest.Digest]int64{}, touched: time.Now()}
}

func (p *progress) touch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touched = time.Now()
}

// at says how many bytes of the blob are sent.
func (p *progress) at(b blob, sent int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved = p.moved || sent > p.open[b.Digest]
	p.open[b.Digest], p.touched, p.changed = sent, time.Now(), true
}

// sent says that the blob is at the target now.
func (p *progress) sent(b blob) { p.done(b, false) }

// there says that the blob was at the target before.
func (p *progress) there(b blob) { p.done(b, true) }

func (p *progress) done(b blob, before bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, b.Digest)
	p.blobs++
	p.bytes += b.Size
	if before {
		p.blobsOld++
		p.bytesOld += b.Size
	}
	p.touched, p.changed = time.Now(), true
}

// figures are what is shown.
type figures struct{ blobs, blobsThere, bytes, bytesThere int64 }

// take returns the figures, and whether they changed since they were taken last.
func (p *progress) take() (figures, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := figures{p.blobs, p.blobsOld, p.bytes, p.bytesOld}
	for _, n := range p.open {
		f.bytes += n
	}
	changed := p.changed
	p.changed = false
	return f, changed
}

func (p *progress) idle() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.touched)
}

func (p *progress) hasMoved() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moved || p.blobs > p.blobsOld
}

// uploads are those under way, as they are written down.
type uploads struct {
	mu  sync.Mutex
	all map[string]json.RawMessage
}

func newUploads(all map[string]json.RawMessage) *uploads {
	u := &uploads{all: map[string]json.RawMessage{}}
	maps.Copy(u.all, all)
	return u
}

// get returns how far the blob's upload is, or a new one.
func (u *uploads) get(d digest.Digest) *distribution.Upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := &distribution.Upload{}
	if raw, ok := u.all[d.String()]; ok && json.Unmarshal(raw, out) != nil {
		return &distribution.Upload{}
	}
	return out
}

func (u *uploads) set(d digest.Digest, raw json.RawMessage) map[string]json.RawMessage {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all[d.String()] = raw
	return maps.Clone(u.all)
}

func (u *uploads) drop(d digest.Digest) (all map[string]json.RawMessage, had bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, had = u.all[d.String()]
	delete(u.all, d.String())
	return maps.Clone(u.all), had
}
