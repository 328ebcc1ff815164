package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"slipway.dev/models"
)

const (
	// stall is after how long without a sign of life of its own this process
	// doubts what it knows: others may soon take it for gone, and go on without it.
	stall = models.ProxySilence / 3
	// pulseEvery is how often it gives that sign.
	pulseEvery = 500 * time.Millisecond
	// settleTime is how long a request waits for the routes at the start and after
	// a stall. A database that is away must not keep apps from being reached.
	settleTime = 5 * time.Second
	// longest is how long a request that nobody answered waits for the routes to be read.
	longest = 20 * time.Second
)

// news is how old the proxy's knowledge of the routes is.
type news struct {
	pulse atomic.Int64 // when the process last had time, in nanoseconds since 1970
	doubt atomic.Int64 // when it noticed that it had none for long; 0: never
	known atomic.Bool  // the routes were read once

	mu      sync.Mutex
	read    time.Time     // when the last reading of the routes began that went well
	changed chan struct{} // closed after the next one
}

// beat follows the process's own time until ctx ends.
func (n *news) beat(ctx context.Context) {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for {
		n.notice()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// notice gives a sign of life, and doubts where the last one was long ago. The
// clock is the wall's: it goes on while a machine is suspended.
func (n *news) notice() {
	now := time.Now().UnixNano()
	if last := n.pulse.Swap(now); last != 0 && now-last > int64(stall) {
		n.doubt.Store(now)
	}
}

// since returns when the routes as they are known began to be read, and what is
// closed once they were read again.
func (n *news) since() (time.Time, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	return n.read, n.changed
}

// taken says that the routes are known as they were when the reading began.
func (n *news) taken(began time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.read = began
	n.known.Store(true)
	if n.changed != nil {
		close(n.changed)
	}
	n.changed = nil
}

// settle waits until the routes were read once and, after the process had no time
// for long, since then: what was switched over meanwhile may be gone by now.
func (n *news) settle(ctx context.Context) {
	if last := n.pulse.Load(); last != 0 && time.Now().UnixNano()-last > int64(stall) {
		n.notice()
	}
	doubt := n.doubt.Load()
	if doubt == 0 && n.known.Load() {
		return
	}
	limit := time.NewTimer(settleTime)
	defer limit.Stop()
	for {
		read, changed := n.since()
		if !read.IsZero() && read.UnixNano() > doubt {
			n.doubt.CompareAndSwap(doubt, 0)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-limit.C:
			n.doubt.CompareAndSwap(doubt, 0) // once is enough
			return
		case <-changed:
		}
	}
}
