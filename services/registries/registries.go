// Package registries knows the external registries that admins connected, who
// may use them, and the way to a repository of any registry: [Service.Open].
//
// A registry's credential is sealed in the database, goes to the registry's own
// host and to hosts for its tokens that its kind or an admin named, and nowhere
// else, whatever a registry answers: the gate holds that for each request.
package registries

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
)

// The actions on a repository (distribution's token authentication).
const (
	Pull = "pull"
	Push = "push"
)

// Service connects, checks and opens registries. It is safe for concurrent use.
type Service struct {
	DB        *models.Database
	Box       *secrets.Box
	Guard     *outbound.Guard
	Embedded  *registry.Service
	Endpoints Endpoints
	// Federation gives the credential that a cloud gives a target without a stored key; on Google that of the
	// account, where one is named. Nil: the portal is no issuer.
	Federation func(ctx context.Context, target, account string) (CloudCredential, error)
	Patience   time.Duration // how long a registry may take for a manifest, or for the next byte of a blob; 30 s where zero

	once   sync.Once
	own    *http.Transport // to the embedded registry
	beyond *http.Transport // to where it redirects
	mu     sync.Mutex
	ways   map[string]way   // by registry id
	logins map[string]login // by registry id
	made   map[string]bool  // repositories that are known to be there, by registry id and name
}

// Endpoints are addresses of the clouds' own APIs, where they are not the
// public ones: a private endpoint, or a test's.
type Endpoints struct {
	ECR    string // of Amazon's ECR API; by the region where empty
	Google string // of Google's token endpoint; https://oauth2.googleapis.com/token where empty
	ACR    string // of the registry that exchanges Azure's tokens; the registry itself where empty
}

// Open returns a way to one repository of a registry for the context's
// principal, who must be allowed the actions there: Pull, Push. The empty id is
// the embedded registry, reached by its URL with a short-lived credential, so
// that it works from every worker. A repository is named without its host.
//
// It is NotFound where the principal may not know of the registry, and Denied
// where a grant does not cover the repository or the action. With Push, a
// repository that its registry does not make by itself is made.
func (s *Service) Open(ctx context.Context, registryID, repository string, actions ...string) (*Remote, error) {
	return s.openWhere(ctx, registryID, repository, actions, func(r *models.Registry, repository, action string) error {
		return may(models.PrincipalFrom(ctx), r, repository, action)
	})
}

// OpenForTeam is Open for work that a team's app has queued: the team, not the
// context's principal, must be granted the actions. Who may cause the work is the caller's to know.
func (s *Service) OpenForTeam(ctx context.Context, teamID, registryID, repository string, actions ...string) (*Remote, error) {
	return s.openWhere(ctx, registryID, repository, actions, func(r *models.Registry, repository, action string) error {
		return teamMay(teamID, r, repository, action)
	})
}

// openWhere opens the repository where all actions are allowed there.
func (s *Service) openWhere(ctx context.Context, registryID, repository string, actions []string, allowed func(r *models.Registry, repository, action string) error) (*Remote, error) {
	if registryID == "" {
		return s.openEmbedded(ctx, repository, actions)
	}
	r, err := s.registry(ctx, registryID)
	if err != nil {
		return nil, err
	}
	for _, action := range needed(actions) {
		if err := allowed(r, repository, action); err != nil {
			return nil, err
		}
	}
	return s.open(ctx, r, repository, actions, func(other string) error { return allowed(r, other, Pull) })
}

// needed are the actions to be allowed: nothing is opened without a right, so that to pull is the least.
func needed(actions []string) []string {
	if len(actions) == 0 {
		return []string{Pull}
	}
	return actions
}

// open opens what is allowed; others says which other repositories may be pulled from.
func (s *Service) open(ctx context.Context, r *models.Registry, repository string, actions []string, others func(string) error) (*Remote, error) {
	repo, err := repositoryOf(r, repository)
	if err != nil {
		return nil, err
	}
	way, err := s.way(r)
	if err != nil {
		return nil, err
	}
	remote := &Remote{Repository: repo, Registry: r, path: repository, actions: actions, allowed: others, service: s, gate: s.newGate(way)}
	if slices.Contains(actions, Push) {
		return remote, s.ensure(ctx, r, repository)
	}
	return remote, nil
}

// registry returns the registry with its grants and its sealed credential.
func (s *Service) registry(ctx context.Context, id string) (*models.Registry, error) {
	var r models.Registry
	if err := s.DB.WithContext(ctx).Preload("Grants").First(&r, "id = ?", id).Error; err != nil {
		return nil, models.FromDB(err, "registry")
	}
	return &r, nil
}

func (s *Service) patience() time.Duration {
	if s.Patience > 0 {
		return s.Patience
	}
	return patience
}

// Close ends idle connections to all registries.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.ways {
		w.transport.CloseIdleConnections()
	}
	if s.own != nil {
		s.own.CloseIdleConnections()
		s.beyond.CloseIdleConnections()
	}
	return nil
}
