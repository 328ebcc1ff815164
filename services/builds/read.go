package builds

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Filter narrows the list of builds.
type Filter struct {
	models.Page
	AppID        string            `query:"app_id"`
	RepositoryID string            `query:"repository_id"`
	Team         string            `query:"team"` // the team's slug
	State        models.BuildState `query:"state"`
	Ref          string            `query:"ref"`
}

// List returns the builds of the principal's teams, newest first, each with its app.
func (s *Service) List(ctx context.Context, f Filter) (models.List[models.Build], error) {
	none := models.List[models.Build]{}
	p := models.PrincipalFrom(ctx)
	switch {
	case p == nil:
		return none, models.Errorf(models.Unauthorized, "Sign in first.")
	case !p.HasScope(models.ScopeRead):
		return none, models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeRead)
	}
	if err := checkState(f.State); err != nil {
		return none, err
	}
	q, err := s.narrowed(ctx, f, p)
	if err != nil {
		return none, err
	}
	list, err := models.Newest(q, f.Page, "builds.id", func(b models.Build) string { return b.ID })
	if err != nil {
		return none, fmt.Errorf("listing builds: %w", err)
	}
	return list, nil
}

func checkState(state models.BuildState) error {
	switch state {
	case "", models.BuildWaiting, models.BuildQueued, models.BuildRunning, models.BuildSucceeded, models.BuildFailed, models.BuildCanceled:
		return nil
	}
	return models.InvalidField("state", "%q is no state of a build: use waiting, queued, running, succeeded, failed or canceled.", state)
}

// narrowed is the query of the builds that the filter asks for and the
// principal may see. Its time must not grow with the number of builds. So names
// are turned into ids first, with which the database knows which index is right;
// and of several teams or apps the newest of each are taken by themselves, for
// no index has the builds of several in the order of their ids.
func (s *Service) narrowed(ctx context.Context, f Filter, p *models.Principal) (*gorm.DB, error) {
	q := s.DB.WithContext(ctx).Preload("App.Team")
	wanted := equal{"builds.app_id": f.AppID, "builds.state": string(f.State), "builds.ref": f.Ref}
	teams, all := p.TeamIDs()
	if f.Team != "" {
		named, err := ids(s.DB.WithContext(ctx).Model(&models.Team{}).Where("slug = ?", f.Team))
		if err != nil {
			return nil, err
		}
		if !all {
			named = slices.DeleteFunc(named, func(id string) bool { return !slices.Contains(teams, id) })
		}
		teams, all = named, false
	}
	if !all {
		q = q.Where("builds.team_id IN ?", teams)
	}
	switch {
	case f.RepositoryID != "":
		of := s.DB.WithContext(ctx).Model(&models.App{}).Where("repository_id = ?", f.RepositoryID)
		if !all {
			of = of.Where("team_id IN ?", teams)
		}
		apps, err := ids(of)
		if err != nil {
			return nil, err
		}
		q = s.newestOf(q, "builds.app_id", apps, wanted, f.Page)
	case f.AppID == "" && !all:
		q = s.newestOf(q, "builds.team_id", teams, wanted, f.Page)
	}
	return wanted.where(q), nil
}

// equal are columns and what they have to hold, empty where that does not matter.
type equal map[string]string

func (e equal) where(q *gorm.DB) *gorm.DB {
	for column, value := range e {
		if value != "" {
			q = q.Where(column+" = ?", value)
		}
	}
	return q
}

// newestOf narrows q to the newest builds of each of the ids, a page of each.
func (s *Service) newestOf(q *gorm.DB, column string, ids []string, wanted equal, page models.Page) *gorm.DB {
	if len(ids) < 2 {
		return q.Where(column+" IN ?", ids)
	}
	parts, values := make([]string, len(ids)), make([]any, len(ids))
	for i, id := range ids {
		own := wanted.where(s.DB.Model(&models.Build{}).Select("builds.id").Where(column+" = ?", id))
		if page.Cursor != "" {
			own = own.Where("builds.id < ?", page.Cursor)
		}
		parts[i], values[i] = "SELECT id FROM (?) AS own", own.Order("builds.id DESC").Limit(page.Size()+1)
	}
	values = append(values, page.Size()+1)
	return q.Where("builds.id IN (SELECT id FROM ("+strings.Join(parts, " UNION ALL ")+") AS newest ORDER BY id DESC LIMIT ?)", values...)
}

func ids(of *gorm.DB) (all []string, err error) {
	if err := of.Pluck("id", &all).Error; err != nil {
		return nil, fmt.Errorf("narrowing the list of builds: %w", err)
	}
	return all, nil
}

// Get returns a build with its app, repository, team and steps; the team's viewers may read it.
func (s *Service) Get(ctx context.Context, id string) (*models.Build, error) {
	b, err := s.build(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	if err := s.DB.WithContext(ctx).Where("build_id = ?", id).Order("seq").Find(&b.Steps).Error; err != nil {
		return nil, fmt.Errorf("reading the steps of a build: %w", err)
	}
	if b.Builder != models.BuilderActions {
		return b, nil
	}
	var runs []models.WorkflowRun
	if err := s.DB.WithContext(ctx).Where("build_id = ?", id).Find(&runs).Error; err != nil {
		return nil, fmt.Errorf("reading the run of a build: %w", err)
	}
	if len(runs) > 0 {
		b.WorkflowRun = &runs[0]
	}
	return b, nil
}

func (s *Service) build(ctx context.Context, id string, role models.Role) (*models.Build, error) {
	var b models.Build
	err := s.DB.WithContext(ctx).Preload("App.Team").Preload("App.Repository").Where("id = ?", id).Take(&b).Error
	if err != nil {
		return nil, models.FromDB(err, "build")
	}
	return &b, models.Authorize(ctx, b.TeamID, role, "build")
}
