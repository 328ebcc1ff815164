// Package images tells what images there are: their tags, platforms, sizes and
// layers, what is attested about them, which build made each and where it runs.
// It reads the embedded registry's tables, and external registries over the
// distribution API. Whoever may see a repository's team sees its images; in an
// external registry, whoever's team has a grant there.
package images

import (
	"context"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/registries"
	"slipway.dev/services/registry"
)

// Service reads images.
type Service struct {
	DB         *gorm.DB
	Registry   *registry.Service   // the embedded one
	Registries *registries.Service // the external ones

	Hub  string // Docker Hub's own API, for its lists; https://hub.docker.com where empty
	Kept int64  // bytes of what is kept of external registries; 256 MiB where zero

	recent recent
}

// reader is who reads: the teams that they see.
type reader struct {
	teams []string
	all   bool
}

func readerFrom(ctx context.Context) (reader, error) {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return reader{}, models.Errorf(models.Unauthorized, "Sign in first.")
	}
	if !p.HasScope(models.ScopeRead) {
		return reader{}, models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeRead)
	}
	ids, all := p.TeamIDs()
	return reader{ids, all}, nil
}

// only narrows a query to the reader's teams.
func (r reader) only(q *gorm.DB, column string) *gorm.DB {
	if r.all {
		return q
	}
	return q.Where(column+" IN ?", r.teams)
}

// full returns the name of a repository in all spellings that builds and deployments may have stored.
func (s *Service) full(name string) []string {
	return []string{name, s.Registry.Host() + "/" + name}
}

// local takes the registry's host off a name.
func (s *Service) local(name string) string {
	return strings.TrimPrefix(name, s.Registry.Host()+"/")
}

// RepositoryOf returns the name of the repository that the app's builds go to, such as payments/checkout.
func (s *Service) RepositoryOf(ctx context.Context, app *models.App) (string, error) {
	if app.Team != nil {
		return app.Team.Slug + "/" + app.Name, nil
	}
	var team models.Team
	if err := s.DB.WithContext(ctx).Select("slug").Where("id = ?", app.TeamID).Take(&team).Error; err != nil {
		return "", models.FromDB(err, "team")
	}
	return team.Slug + "/" + app.Name, nil
}
