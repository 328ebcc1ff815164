// Package pullthrough is the cache of base images in the embedded registry:
// what is asked for below cache/HOST/ is fetched from the registry HOST once,
// and kept as the embedded registry's own, so that collection and limits know it.
//
// Nothing is fetched from a registry that no admin has turned on.
package pullthrough

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"slipway.dev/models"
	"slipway.dev/services/distribution"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registries"
	"slipway.dev/services/registry"
)

const (
	defaultFresh = 6 * time.Hour // what a tag names is not looked up anew for so long
	askWithin    = 30 * time.Second
	askAgain     = 10 * time.Second // to look up anew what is here already
	quietAfter   = 30 * time.Second // an upstream that does not answer is left alone for so long
	quietLimited = 5 * time.Minute  // one that says that it is asked too often
)

// Service fetches what the cache lacks. It is safe for concurrent use. Close ends what it has begun.
type Service struct {
	DB         *models.Database
	Registry   *registry.Service
	Registries *registries.Service
	Guard      *outbound.Guard // for upstreams without a login
	Scratch    string          // a folder for blobs on their way
	Stall      time.Duration   // how long an upstream may send no byte of a blob; 1 min where zero

	asking keyed // one look-up of a tag or manifest at a time

	mu      sync.Mutex
	ctx     context.Context // of downloads
	cancel  context.CancelFunc
	flights map[string]*flight
	slots   chan struct{}
	coming  atomic.Int64 // bytes of downloads under way
	wg      sync.WaitGroup

	once      sync.Once
	anonymous transports
}

// Upstream is what the embedded registry calls.
func (s *Service) Upstream() *registry.Upstream {
	return &registry.Upstream{Tag: s.Tag, Image: s.Image, Blob: s.Blob}
}

// Close ends all downloads and waits for their end.
func (s *Service) Close() error {
	s.mu.Lock()
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// source is a repository of an upstream.
type source struct {
	upstream   models.CacheUpstream
	repository string // its name in the cache
	path       string // its name there
}

// errNone says that no upstream which is turned on has the repository.
var errNone = errors.New("no upstream")

// find returns the upstream of a repository of the cache, or errNone.
func (s *Service) find(ctx context.Context, repository string) (*source, error) {
	var all []models.CacheUpstream
	if err := s.DB.WithContext(ctx).Where("enabled").Find(&all).Error; err != nil {
		return nil, fmt.Errorf("reading the cache's upstreams: %w", err)
	}
	for _, u := range all {
		if path, ok := strings.CutPrefix(repository, u.Repository("")); ok && path != "" {
			return &source{u, repository, path}, nil
		}
	}
	return nil, errNone
}

// open opens the source's repository, with the login of the upstream's registry where it has one.
func (s *Service) open(ctx context.Context, from *source) (*distribution.Repository, error) {
	if from.upstream.RegistryID != "" {
		remote, err := s.Registries.Open(models.WithPrincipal(ctx, models.System("cache")), from.upstream.RegistryID, from.path, registries.Pull)
		if err != nil {
			return nil, err
		}
		return distribution.Open(ctx, remote.Repository, remote, remote.Transport(), false)
	}
	at, err := name.NewRepository(from.upstream.Host + "/" + from.path)
	if err != nil {
		return nil, models.Errorf(models.NotFound, "%s can't be the name of an image.", from.path)
	}
	s.once.Do(func() { s.anonymous = newTransports(s.Guard) })
	return distribution.Open(ctx, at, authn.Anonymous, s.anonymous, false)
}

func (u *source) image(reference string) string {
	separator := ":"
	if strings.Contains(reference, ":") {
		separator = "@"
	}
	return u.upstream.Host + "/" + u.path + separator + reference
}

// keyed lets one at a time work on a key.
type keyed struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// lock waits until nobody else works on the key. The returned function must be called at the end of the work.
func (k *keyed) lock(ctx context.Context, key string) (func(), error) {
	for {
		k.mu.Lock()
		if k.held == nil {
			k.held = map[string]chan struct{}{}
		}
		wait, busy := k.held[key]
		if !busy {
			mine := make(chan struct{})
			k.held[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.held, key)
				k.mu.Unlock()
				close(mine)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
