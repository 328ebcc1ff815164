package builds

import (
	"context"
	"fmt"
	"io"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/logs"
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
	q, err := s.filter(s.DB.WithContext(ctx).Preload("App.Team"), f)
	if err != nil {
		return none, err
	}
	if ids, all := p.TeamIDs(); !all {
		q = q.Where("builds.team_id IN ?", ids)
	}
	list, err := models.Newest(q, f.Page, "builds.id", func(b models.Build) string { return b.ID })
	if err != nil {
		return none, fmt.Errorf("listing builds: %w", err)
	}
	return list, nil
}

func (s *Service) filter(q *gorm.DB, f Filter) (*gorm.DB, error) {
	switch f.State {
	case "", models.BuildWaiting, models.BuildQueued, models.BuildRunning, models.BuildSucceeded, models.BuildFailed, models.BuildCanceled:
	default:
		return nil, models.InvalidField("state", "%q is no state of a build: use waiting, queued, running, succeeded, failed or canceled.", f.State)
	}
	equals := map[string]string{"builds.app_id": f.AppID, "builds.state": string(f.State), "builds.ref": f.Ref}
	for column, value := range equals {
		if value != "" {
			q = q.Where(column+" = ?", value)
		}
	}
	if f.RepositoryID != "" {
		q = q.Where("builds.app_id IN (?)", s.DB.Model(&models.App{}).Select("id").Where("repository_id = ?", f.RepositoryID))
	}
	if f.Team != "" {
		q = q.Where("builds.team_id IN (?)", s.DB.Model(&models.Team{}).Select("id").Where("slug = ?", f.Team))
	}
	return q, nil
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

// Log returns at most limit lines of the build's log after the number, and whether the log has ended with them.
func (s *Service) Log(ctx context.Context, id string, after int64, limit int) (lines []logs.Line, ended bool, err error) {
	if _, err := s.build(ctx, id, models.RoleViewer); err != nil {
		return nil, false, err
	}
	return s.Logs.Read(ctx, id, after, limit)
}

// LogStream returns how long the build's log is, whether it is whole, and why not.
func (s *Service) LogStream(ctx context.Context, id string) (models.LogStream, error) {
	if _, err := s.build(ctx, id, models.RoleViewer); err != nil {
		return models.LogStream{}, err
	}
	return s.Logs.Stream(ctx, id)
}

// FollowLog gives the lines of the build's log after the number as they come,
// until the log or ctx has ended; see logs.Service.Follow.
func (s *Service) FollowLog(ctx context.Context, id string, after int64) (<-chan logs.Batch, error) {
	if _, err := s.build(ctx, id, models.RoleViewer); err != nil {
		return nil, err
	}
	return s.Logs.Follow(ctx, id, after), nil
}

// WriteLog writes the text of the build's log as far as it is there.
func (s *Service) WriteLog(ctx context.Context, id string, to io.Writer) error {
	if _, err := s.build(ctx, id, models.RoleViewer); err != nil {
		return err
	}
	return s.Logs.WriteText(ctx, id, to)
}
