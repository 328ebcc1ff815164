package copies

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	"slipway.dev/models"
	"slipway.dev/services/distribution"
	"slipway.dev/services/registries"
)

// openFor is how long an opened repository is used before it is opened anew: its login may end.
const openFor = 30 * time.Minute

// opened is a repository that was opened, with where it is.
type opened struct {
	remote     *registries.Remote
	repository *distribution.Repository
}

// open opens the place for the context's principal, who must be allowed to pull, or also to push. from are repositories
// of the same registry that blobs may be mounted from.
func (s *Service) open(ctx context.Context, p Place, push bool, from ...string) (*opened, error) {
	actions := []string{registries.Pull}
	if push {
		actions = append(actions, registries.Push)
	}
	remote, err := s.Registries.Open(ctx, p.RegistryID, p.Repository, actions...)
	if err != nil {
		return nil, err
	}
	others := make([]name.Repository, 0, len(from))
	for _, other := range from {
		at, err := remote.PullFrom(ctx, other)
		if err != nil {
			return nil, err
		}
		others = append(others, at)
	}
	o := &opened{remote: remote}
	if o.repository, err = distribution.Open(ctx, remote.Repository, remote, remote.Transport(), push, others...); err != nil {
		return nil, &placeError{place: remote.Name(), own: p.RegistryID == "", reading: !push, err: err}
	}
	o.repository.Chunk = s.Chunk
	return o, nil
}

// asSlipway is the context of what is done once the person's right is known: by Slipway itself, so that a copy outlives
// the session of whoever asked for it.
func asSlipway(ctx context.Context) context.Context {
	return models.WithPrincipal(ctx, models.System("copy"))
}

// name is the repository with its host.
func (o *opened) name() string { return o.remote.Name() }

func (o *opened) host() string {
	return strings.TrimSuffix(o.remote.Name(), "/"+o.remote.Path())
}

// place is one end of a copy, opened when it is needed and again before its login ends.
type place struct {
	open func(ctx context.Context) (*opened, error)

	mu  sync.Mutex
	now *opened
	at  time.Time
}

func (p *place) repository(ctx context.Context) (*distribution.Repository, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil || time.Since(p.at) > openFor {
		now, err := p.open(ctx)
		if err != nil {
			return nil, err
		}
		p.now, p.at = now, time.Now()
	}
	return p.now.repository, nil
}

// authorize asks anew whether whoever asked for the copy may do it: as a developer of its team, who may pull there and push here.
func (s *Service) authorize(ctx context.Context, c *models.Copy) error {
	asked := &models.Principal{Kind: c.AskedKind, ID: c.AskedID, UserID: c.CreatedBy, Name: c.CreatedByName}
	if asked.Kind == models.PrincipalSystem {
		asked = models.System(c.CreatedByName)
	}
	who, err := s.Standing(ctx, asked)
	if models.IsCode(err, models.Unauthorized) {
		return models.Errorf(models.Denied, "%s, who asked for the copy, can't sign in any more. Somebody else can retry it.", c.CreatedByName)
	}
	if err != nil {
		return err
	}
	ctx = models.WithPrincipal(ctx, who)
	if err := models.Authorize(ctx, c.TeamID, models.RoleDeveloper, "team"); err != nil {
		return err
	}
	if _, err := s.Registries.Open(ctx, c.Source.Registry, c.Source.Repository, registries.Pull); err != nil {
		return err
	}
	_, err = s.Registries.Open(ctx, c.Target.Registry, c.Target.Repository, registries.Pull, registries.Push)
	return err
}

// places are both ends of the copy. Authorize has asked whether the person may.
func (s *Service) places(c *models.Copy) (source, target *place) {
	source = &place{open: func(ctx context.Context) (*opened, error) {
		return s.open(asSlipway(ctx), Place{c.Source.Registry, c.Source.Repository}, false)
	}}
	target = &place{open: func(ctx context.Context) (*opened, error) {
		var from []string
		if mounts(c) {
			from = []string{c.Source.Repository}
		}
		return s.open(asSlipway(ctx), Place{c.Target.Registry, c.Target.Repository}, true, from...)
	}}
	return source, target
}

// mounts tells whether both ends are one registry, so that blobs need not move.
func mounts(c *models.Copy) bool {
	return c.Source.Registry == c.Target.Registry && c.Source.Repository != c.Target.Repository
}

func digestOf(c *models.Copy) digest.Digest { return digest.Digest(c.Digest) }

// placeError is a failure at one end of a copy.
type placeError struct {
	place   string // the repository with its host
	own     bool   // it is in the embedded registry
	reading bool
	err     error
}

// Error names the place.
func (e *placeError) Error() string { return e.place + ": " + e.err.Error() }

// Unwrap returns what happened there.
func (e *placeError) Unwrap() error { return e.err }

// at says that the failure happened at the place, unless it is known already where.
func at(err error, place models.ImagePlaceName, reading bool) error {
	var known *placeError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &placeError{place.Name(), place.Registry == "", reading, err}
}
