package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/registries"
)

const (
	maxCatalog   = 10_000 // names of a registry's list that are read
	maxElsewhere = 20     // repositories of other registries that a search shows
)

// Elsewhere lists the external registries that the reader may use, by name, with the grants of their teams.
func (s *Service) Elsewhere(ctx context.Context) ([]models.Registry, error) {
	who, err := readerFrom(ctx)
	if err != nil {
		return nil, err
	}
	var rows []models.Registry
	if err := s.DB.WithContext(ctx).Omit("secrets").Preload("Grants").Order("name").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("listing registries: %w", err)
	}
	return slices.DeleteFunc(rows, func(r models.Registry) bool { return !who.uses(r) }), nil
}

// ElsewhereNamed returns one of Elsewhere by its slug or id.
func (s *Service) ElsewhereNamed(ctx context.Context, registry string) (*models.Registry, error) {
	who, err := readerFrom(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.registryNamed(ctx, registry)
	if err != nil {
		return nil, err
	}
	if !who.uses(*r) {
		return nil, models.Errorf(models.NotFound, "No such registry.")
	}
	return r, nil
}

// uses tells whether the reader may use anything of the registry.
func (r reader) uses(registry models.Registry) bool {
	return r.all || registry.AllTeams != models.RegistryNone && len(r.teams) > 0 ||
		slices.ContainsFunc(registry.Grants, func(g models.RegistryGrant) bool { return slices.Contains(r.teams, g.TeamID) })
}

// pulls tells whether the reader may see the repository of the registry.
func (r reader) pulls(registry models.Registry, repository string) bool {
	return r.all || registry.AllTeams.Allows(registries.Pull) && len(r.teams) > 0 ||
		slices.ContainsFunc(registry.Grants, func(g models.RegistryGrant) bool {
			return slices.Contains(r.teams, g.TeamID) && g.Access.Allows(registries.Pull) && g.Covers(repository)
		})
}

// prefixes are where in the registry the reader may look; an empty one means everywhere.
func (r reader) prefixes(registry models.Registry) []string {
	var out []string
	if r.all || registry.AllTeams.Allows(registries.Pull) {
		out = append(out, "")
	}
	for _, g := range registry.Grants {
		if slices.Contains(r.teams, g.TeamID) && g.Access.Allows(registries.Pull) {
			out = append(out, g.Prefix)
		}
	}
	return out
}

// ExternalList is a page of the repositories of an external registry.
type ExternalList struct {
	models.List[models.ImageRepository]
	Registry models.Registry
	Prefixes []string // where the reader may look; an empty one means everywhere
	Listed   bool     // the registry lists its repositories; else these are those that are known here
	Away     bool     // it should have a list, and did not answer
	Problem  string   // why it was not asked, or did not answer, for people
}

// External lists repositories of an external registry whose names have the text
// in them: what its own list has, and what apps, deployments and people have
// named. A registry that is away, or has no list, is shown with what is known here.
func (s *Service) External(ctx context.Context, registry, text string, page models.Page) (*ExternalList, error) {
	who, err := readerFrom(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.ElsewhereNamed(ctx, registry)
	if err != nil {
		return nil, err
	}
	if len(text) > maxSearch {
		return nil, models.InvalidField("q", "Search for at most %d characters.", maxSearch)
	}
	out := &ExternalList{Registry: *r, Prefixes: who.prefixes(*r)}
	names, err := s.named(ctx, who, *r)
	if err != nil {
		return nil, err
	}
	listed, err := s.ownList(ctx, who, r, out)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(append(names, listed...), func(name string) bool { return !who.pulls(*r, name) })
	slices.Sort(names)
	shown, next := pageOf(slices.Compact(names), strings.TrimPrefix(text, r.Host+"/"), page.Cursor, page.Size())
	out.Next = next
	for _, name := range shown {
		out.Items = append(out.Items, models.ImageRepository{Registry: r.Slug, Host: r.Host, Name: name})
	}
	return out, s.serve(ctx, who, out.Items)
}

// ownList asks the registry for its list, and notes why there is none.
func (s *Service) ownList(ctx context.Context, who reader, r *models.Registry, out *ExternalList) ([]string, error) {
	if k, err := registries.KindOf(r.Kind); err == nil && !lists(k.Name) {
		out.Problem = k.Title + " gives no list of its repositories."
		return nil, nil
	}
	listed, err := s.catalog(ctx, who, r)
	e, ok := errors.AsType[*models.Error](err)
	if err != nil && !ok {
		return nil, err
	}
	if out.Listed = err == nil; err != nil {
		out.Away, out.Problem = true, e.Message
	}
	return listed, nil
}

// catalog is the registry's own list. It is asked for by whoever may use the
// registry at all; what they may see of it is for the caller to sort out.
func (s *Service) catalog(ctx context.Context, who reader, r *models.Registry) ([]string, error) {
	key := strings.Join([]string{r.ID, r.UpdatedAt.String(), "catalog"}, "\n")
	names, err := remember(&s.recent, key, func() ([]string, error) { return s.askCatalog(ctx, who, r) })
	return slices.Clone(names), err
}

// lists tells whether registries of the kind have a list that can be asked for
// with their credential. GitHub's is at another host, which must not have it.
func lists(kind string) bool { return kind != registries.KindGHCR }

func (s *Service) askCatalog(ctx context.Context, who reader, r *models.Registry) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if r.Kind == registries.KindDockerHub {
		return s.askOwnAPI(ctx, who, r)
	}
	names, err := s.askDistribution(ctx, who, r)
	if err != nil && r.Kind == registries.KindHarbor {
		return s.askOwnAPI(ctx, who, r)
	}
	return names, err
}

// askDistribution reads the catalog of the distribution API.
func (s *Service) askDistribution(ctx context.Context, who reader, r *models.Registry) ([]string, error) {
	way, err := s.Registries.Open(ctx, r.ID, door(who, r), registries.Pull)
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(append(way.Options(), remote.WithContext(ctx))...)
	if err != nil {
		return nil, way.Explain(err)
	}
	pages, err := puller.Catalogger(ctx, way.Repository.Registry)
	if err != nil {
		return nil, way.Explain(err)
	}
	var names []string
	for pages.HasNext() && len(names) < maxCatalog {
		page, err := pages.Next(ctx)
		if err != nil {
			return nil, way.Explain(err)
		}
		for _, name := range page.Repos {
			if registries.ValidRepository(name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// named are the repositories of the registry that apps, deployments and people have named.
func (s *Service) named(ctx context.Context, who reader, r models.Registry) ([]string, error) {
	db := s.DB.WithContext(ctx)
	var apps, opened, deployed []string
	err := who.only(db.Model(&models.App{}), "team_id").Where("registry_id = ? AND image_repository <> ''", r.ID).Limit(maxCatalog).Pluck("image_repository", &apps).Error
	if err != nil {
		return nil, fmt.Errorf("reading what apps push to %s: %w", r.Slug, err)
	}
	if err := db.Model(&models.RegistryName{}).Where("registry_id = ?", r.ID).Limit(maxCatalog).Pluck("repository", &opened).Error; err != nil {
		return nil, fmt.Errorf("reading what was opened of %s: %w", r.Slug, err)
	}
	err = who.only(db.Model(&models.Deployment{}), "team_id").Distinct().
		Where(`active = ? AND image_repository LIKE ? ESCAPE '\'`, true, containing(r.Host + "/")[1:]).Limit(maxCatalog).Pluck("image_repository", &deployed).Error
	if err != nil {
		return nil, fmt.Errorf("reading what runs of %s: %w", r.Slug, err)
	}
	for _, name := range deployed {
		apps = append(apps, strings.TrimPrefix(name, r.Host+"/"))
	}
	return slices.DeleteFunc(append(apps, opened...), func(name string) bool { return !registries.ValidRepository(name) }), nil
}

// serve fills in the apps of repositories of an external registry and where their images serve.
func (s *Service) serve(ctx context.Context, who reader, list []models.ImageRepository) error {
	if len(list) == 0 {
		return nil
	}
	var names []string
	for _, r := range list {
		names = append(names, r.FullName())
	}
	apps, err := s.apps(ctx, who, names)
	if err != nil {
		return err
	}
	serving, err := s.deployments(ctx, who, func(q *gorm.DB) *gorm.DB {
		return q.Where("deployments.active = ? AND deployments.image_repository IN ?", true, names)
	})
	if err != nil {
		return err
	}
	for k := range list {
		r := &list[k]
		r.App = apps[r.FullName()]
		for _, d := range serving {
			if d.Repository == r.FullName() {
				r.Running = append(r.Running, d)
			}
		}
	}
	return nil
}

// FindElsewhere finds repositories of external registries by words of their
// names among those that are known here. No registry is asked.
func (s *Service) FindElsewhere(ctx context.Context, text string) ([]models.ImageRepository, error) {
	who, err := readerFrom(ctx)
	if err != nil {
		return nil, err
	}
	words := strings.Fields(strings.ToLower(text))
	all, err := s.Elsewhere(ctx)
	if err != nil || len(words) == 0 {
		return nil, err
	}
	var out []models.ImageRepository
	for _, r := range all {
		names, err := s.named(ctx, who, r)
		if err != nil {
			return nil, err
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			found := models.ImageRepository{Registry: r.Slug, Host: r.Host, Name: name}
			if len(out) < maxElsewhere && who.pulls(r, name) && hasAll(found.FullName(), words) {
				out = append(out, found)
			}
		}
	}
	return out, s.serve(ctx, who, out)
}

func hasAll(name string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(name, w) {
			return false
		}
	}
	return true
}

// OpenRepository looks whether the registry has the repository and remembers
// its name, so that it is listed where the registry has no list. It answers the
// repository, or NotFound.
func (s *Service) OpenRepository(ctx context.Context, registry, repository string) (*models.ImageRepository, error) {
	r, err := s.ElsewhereNamed(ctx, registry)
	if err != nil {
		return nil, err
	}
	if p := models.PrincipalFrom(ctx); !p.HasScope(models.ScopeWrite) {
		return nil, models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeWrite)
	}
	repository = strings.Trim(strings.TrimPrefix(strings.TrimSpace(repository), r.Host+"/"), "/")
	if !registries.ValidRepository(repository) {
		return nil, models.InvalidField("repository", registries.RepositoryHelp)
	}
	at, err := s.openExternal(ctx, r.ID, repository)
	if err != nil {
		return nil, err
	}
	e := at.source.(external)
	if _, err := remember(&s.recent, e.key("tags"), func() ([]string, error) { return e.tagNames(ctx) }); err != nil {
		if models.IsCode(err, models.NotFound) {
			return nil, models.InvalidField("repository", "%s has no repository %s, or its credential may not see it.", r.Name, repository)
		}
		return nil, err
	}
	return &models.ImageRepository{Registry: r.Slug, Host: r.Host, Name: repository}, s.rememberName(ctx, r, repository)
}

func (s *Service) rememberName(ctx context.Context, r *models.Registry, repository string) error {
	p := models.PrincipalFrom(ctx)
	row := models.RegistryName{RegistryID: r.ID, Repository: repository, NamedBy: p.UserID, NamedByName: p.Name, NamedAt: s.DB.NowFunc()}
	if row.NamedBy == "" {
		row.NamedBy = p.ID
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		made := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
		if made.Error != nil || made.RowsAffected == 0 {
			return made.Error
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "registry.name", Subject: "registry:" + r.ID, Name: r.Host + "/" + repository})
	})
}

// RepositoryIn is Repository in any registry; of an external one little more than its name is known.
func (s *Service) RepositoryIn(ctx context.Context, registry, name string) (*models.ImageRepository, error) {
	if registry == "" || registry == EmbeddedRegistry {
		return s.Repository(ctx, name)
	}
	who, err := readerFrom(ctx)
	if err != nil {
		return nil, err
	}
	at, err := s.openExternal(ctx, registry, name)
	if err != nil {
		return nil, err
	}
	one := []models.ImageRepository{{Registry: at.slug(), Host: at.host, Name: name}}
	return &one[0], s.serve(ctx, who, one)
}
