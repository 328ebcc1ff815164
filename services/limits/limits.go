// Package limits slows down whoever tries things too often, such as passwords.
// The counts live in this process: with several, each allows its own share.
package limits

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxKeys is how many keys one generation holds, so that memory stays bounded whoever asks.
const maxKeys = 10_000

// Limiter allows each key Burst attempts at once and one more after every
// pause of Every. It is safe for concurrent use; the zero value allows nothing.
type Limiter struct {
	Every time.Duration
	Burst int

	mu       sync.Mutex
	now, old map[string]*rate.Limiter // two generations: when the first is full, the older one is forgotten
}

// Allow counts an attempt of the key and tells whether it may go on.
func (l *Limiter) Allow(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.find(key).Allow()
}

// Forget starts the key's count anew, as after a right password.
func (l *Limiter) Forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.now, key)
	delete(l.old, key)
}

func (l *Limiter) find(key string) *rate.Limiter {
	if found, ok := l.now[key]; ok {
		return found
	}
	found, ok := l.old[key]
	if !ok {
		found = rate.NewLimiter(rate.Every(l.Every), l.Burst)
	}
	if l.now == nil || len(l.now) >= maxKeys {
		l.now, l.old = make(map[string]*rate.Limiter), l.now
	}
	l.now[key] = found
	return found
}

// Peer returns the key of an address: IPv6 addresses of one network (/64) count as one, for a single machine has all of them.
func Peer(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	addr = addr.Unmap()
	if addr.Is4() {
		return addr.String()
	}
	prefix, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return addr.String()
	}
	return prefix.String()
}
