package registry

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/limits"
)

const (
	anonymousBurst = 1000                   // requests of one address without a login at once
	anonymousEvery = 100 * time.Millisecond // and one more after each pause
)

// strangers slows down addresses that pull without a login, so that they leave room for those with one.
type strangers struct {
	once    sync.Once
	limiter limits.Limiter
}

// anonymous is whoever the request comes from, without a login.
func anonymous(ctx context.Context) *models.Principal {
	return &models.Principal{Kind: models.PrincipalAnonymous, Name: "anonymous from " + models.RequestFrom(ctx).IP, Scopes: []models.Scope{}}
}

// admitStranger counts a request without a login and fails where its address sends too many.
func (s *Service) admitStranger(ctx context.Context) error {
	s.strangers.once.Do(func() {
		s.strangers.limiter.Burst, s.strangers.limiter.Every = anonymousBurst, anonymousEvery
		if s.AnonymousBurst > 0 {
			s.strangers.limiter.Burst = s.AnonymousBurst
		}
		if s.AnonymousEvery > 0 {
			s.strangers.limiter.Every = s.AnonymousEvery
		}
	})
	if s.strangers.limiter.Allow(limits.Peer(models.RequestFrom(ctx).IP)) {
		return nil
	}
	return models.Errorf(models.TooMany, "Too many pulls without a login came from this address. Wait a minute, or sign in: docker login %s.", s.Host())
}

// admitAnonymous lets a request without a login go on, unless it asks for the list of repositories.
func (s *Service) admitAnonymous(w http.ResponseWriter, r *http.Request, c call) error {
	if c.what == callCatalog {
		s.challenge(w, c, nil, "insufficient_scope")
		return models.Errorf(models.Unauthorized, "The list of repositories is for those who signed in: docker login %s.", s.Host())
	}
	return s.admitStranger(r.Context())
}

// Public returns those of the repositories from which anybody may pull, without
// a login. Who may know that a repository is there is the caller's to know.
func (s *Service) Public(ctx context.Context, names []string) ([]string, error) {
	named := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !repositoryName.MatchString(name) })
	out := []string{}
	if len(named) == 0 {
		return out, nil
	}
	err := s.DB.WithContext(ctx).Table("registry_repositories").Joins("JOIN teams ON teams.id = registry_repositories.team_id").
		Where("registry_repositories.name IN ?", named).
		Where("registry_repositories.anonymous_pull = ? OR (registry_repositories.anonymous_pull = '' AND teams.anonymous_pull = ?)", models.AnonymousYes, true).
		Pluck("registry_repositories.name", &out).Error
	if err != nil {
		return nil, fmt.Errorf("looking for public repositories: %w", err)
	}
	return out, nil
}
