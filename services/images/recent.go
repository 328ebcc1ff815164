package images

import (
	"context"
	"errors"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"slipway.dev/models"
)

const (
	maxRecent  = 128              // lists of names that are remembered
	recentTime = 30 * time.Second // for so long
	awayTime   = 10 * time.Second // that a registry did not answer, so that not every reader waits for it
)

// recent remembers for a short time what registries listed, so that turning the
// pages of a list does not ask for all of it each time. What may be seen of it
// is looked up anew for every reader. Its zero value is ready.
type recent struct {
	once  sync.Once
	lists *lru.Cache[string, listed]
}

// listed is an answer and until when it counts. The value must not be changed.
type listed struct {
	value any
	err   error // that the registry was away
	until time.Time
}

func (r *recent) cache() *lru.Cache[string, listed] {
	r.once.Do(func() {
		r.lists, _ = lru.New[string, listed](maxRecent) // fails for no size alone
	})
	return r.lists
}

// remember returns what is known under the key, or else asks and remembers the
// answer. Of errors it remembers for a moment that a registry is away.
func remember[T any](r *recent, key string, ask func() (T, error)) (T, error) {
	if l, ok := r.cache().Get(key); ok && time.Now().Before(l.until) {
		return l.value.(T), l.err
	}
	value, err := ask()
	switch {
	case err == nil:
		r.cache().Add(key, listed{value, nil, time.Now().Add(recentTime)})
	case models.IsCode(err, models.Unavailable) && !errors.Is(err, context.Canceled): // a reader who left says nothing of the registry
		r.cache().Add(key, listed{value, err, time.Now().Add(awayTime)})
	}
	return value, err
}
