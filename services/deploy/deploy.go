// Package deploy runs images in environments: targets and who may use them,
// environments with their variables and secrets, and the rollout that puts a
// new version beside the old one, waits until it is healthy, switches the
// requests over and lets the old one drain. What a target must do stands on
// [Target]; each kind of target is a package below this one.
package deploy

import (
	"context"
	"errors"
	"sync"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/copies"
	"slipway.dev/services/git"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registries"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
)

// Service knows targets and environments and deploys to them.
type Service struct {
	DB       *models.Database
	Queue    *jobs.Queue
	Box      *secrets.Box
	Registry *registry.Service
	// Registries are the external ones that images may come from; nil: none.
	Registries *registries.Service
	// Copies bring images to registries that targets pull from; nil: targets have no such.
	Copies *copies.Service
	Git    *git.Service
	Kinds  []Kind
	Apps   Address // where apps answer
	// Identity gives what makes the tokens by which a cloud knows this portal for
	// the target of the name; nil: the portal is no issuer.
	Identity func(target string) Identity
	// Certificate gives the certificate and the key, in PEM, that was given for the team's host; nothing where none was.
	// Nil: there are no certificates.
	Certificate func(ctx context.Context, teamID, host string) (chain, key []byte, err error)
	// Refresh reads a repository on this machine, so that its commits can be counted; nil: what is there has to do.
	Refresh func(ctx context.Context, repositoryID string) error

	// Heard, where set, waits for a bounded time until what the deployment's
	// instances have printed is kept. It is called before they are removed.
	Heard func(ctx context.Context, d *models.Deployment)

	Start time.Duration // how long a new version may take to become healthy; 2 minutes where zero
	Pull  time.Duration // how long an image may take to arrive; 15 minutes where zero
	Drain time.Duration // how long requests to the old version may last; 30 s where zero
	// Minute is how long a minute of a gradual switch lasts; a minute where zero.
	Minute time.Duration

	mu   sync.Mutex
	open map[string]openTarget // by target id
}

// Address says where apps answer: scheme://{app}-{environment}.domain:port.
type Address struct {
	Scheme string // http or https
	Domain string // such as localhost
	Port   string // empty: the scheme's own
}

// URL returns the address of the host name.
func (a Address) URL(host string) string {
	if a.Port != "" {
		host += ":" + a.Port
	}
	return a.Scheme + "://" + host
}

type openTarget struct {
	Target
	updated time.Time
}

// identity is the target's Config.Identity.
func (s *Service) identity(target string) Identity {
	if s.Identity == nil {
		return nil
	}
	return s.Identity(target)
}

func (s *Service) startTime() time.Duration { return orElse(s.Start, 2*time.Minute) }
func (s *Service) pullTime() time.Duration  { return orElse(s.Pull, 15*time.Minute) }
func (s *Service) drainTime() time.Duration { return orElse(s.Drain, 30*time.Second) }

func orElse(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// Close closes the connections to all targets.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for id, t := range s.open {
		errs = append(errs, t.Close())
		delete(s.open, id)
	}
	return errors.Join(errs...)
}
