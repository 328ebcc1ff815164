package images

import (
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	maxRecent  = 128              // lists of names that are remembered
	recentTime = 30 * time.Second // for so long
)

// recent remembers for a short time what registries listed, so that turning the
// pages of a list does not ask for all of it each time. What may be seen of it
// is looked up anew for every reader. Its zero value is ready.
type recent struct {
	once  sync.Once
	lists *lru.Cache[string, listed]
}

// listed is an answer and when it was given. The value must not be changed.
type listed struct {
	value any
	at    time.Time
}

func (r *recent) cache() *lru.Cache[string, listed] {
	r.once.Do(func() {
		r.lists, _ = lru.New[string, listed](maxRecent) // fails for no size alone
	})
	return r.lists
}

// remember returns what is known under the key, or else asks and remembers the answer. Errors are not remembered.
func remember[T any](r *recent, key string, ask func() (T, error)) (T, error) {
	if l, ok := r.cache().Get(key); ok && time.Since(l.at) < recentTime {
		return l.value.(T), nil
	}
	value, err := ask()
	if err == nil {
		r.cache().Add(key, listed{value, time.Now()})
	}
	return value, err
}

// forget makes the next remember under the key ask again.
func (r *recent) forget(key string) { r.cache().Remove(key) }
