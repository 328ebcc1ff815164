// Package workflows is what Slipway does about an app in GitHub Actions besides
// following runs: the settings and the trust, the workflow's file, the pull
// request that brings it into the repository, and what runs and webhooks report.
package workflows

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-github/v88/github"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/builds"
	"slipway.dev/services/events"
	"slipway.dev/services/registry"
	"slipway.dev/services/workload"
)

// Service holds the workflows of apps.
type Service struct {
	DB        *models.Database
	External  string // the portal's URL
	Issuer    string // of runs, where a workflow names none: the first that is configured
	Issuers   []string
	Registry  *registry.Service
	Builds    *builds.Service
	Workloads *workload.Service
	// GitHub returns a client of the repository's connection, or an error of the
	// code Conflict where it has none.
	GitHub func(ctx context.Context, r *models.Repository) (*github.Client, error)
}

// Detail is a workflow with what follows from it.
type Detail struct {
	models.Workflow
	App       *models.App // with team and repository
	File      string      // as it should be in the repository
	Image     string      // what it pushes, without a tag
	Connected bool        // Slipway may ask GitHub about the repository
}

// Get returns the app's workflow; the team's viewers may. It fails with NotFound where the app has none.
func (s *Service) Get(ctx context.Context, appID string) (*Detail, error) {
	app, err := s.app(ctx, appID, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	return s.detail(ctx, app)
}

func (s *Service) detail(ctx context.Context, app *models.App) (*Detail, error) {
	d := &Detail{App: app, Connected: s.connected(ctx, app.Repository)}
	if err := s.DB.WithContext(ctx).Where("app_id = ?", app.ID).Take(&d.Workflow).Error; err != nil {
		return nil, models.FromDB(err, "workflow of "+app.Name)
	}
	d.Image = s.image(&d.Workflow, app)
	var err error
	d.File, err = s.Render(&d.Workflow, app)
	return d, err
}

func (s *Service) connected(ctx context.Context, r *models.Repository) bool {
	_, err := s.GitHub(ctx, r)
	return err == nil
}

// Proposal is the workflow that an app without one would get: what is known fills the form.
func (s *Service) Proposal(ctx context.Context, appID string) (*Detail, error) {
	app, err := s.app(ctx, appID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	w := models.Workflow{AppID: app.ID, TeamID: app.TeamID, Issuer: s.Issuer, Repository: nameOf(app.Repository.CloneURL), Path: defaultPath(app),
		Destination: models.DestinationPortal, Cache: models.WorkflowCacheActions, OnPush: true, Settings: map[string]string{}}
	return &Detail{Workflow: w, App: app, Image: s.image(&w, app), Connected: s.connected(ctx, app.Repository)}, nil
}

func defaultPath(app *models.App) string { return ".github/workflows/slipway-" + app.Name + ".yml" }

// Save sets the app's workflow and with it which runs may push its images; the
// team's maintainers may.
func (s *Service) Save(ctx context.Context, appID string, in WorkflowInput) (*Detail, error) {
	app, err := s.app(ctx, appID, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	w := in.workflow(app, s.Issuer)
	if err := s.learn(ctx, app, w); err != nil {
		return nil, err
	}
	if err := s.check(w, app); err != nil {
		return nil, err
	}
	if _, err := s.Render(w, app); err != nil {
		return nil, err
	}
	w.UpdatedAt = s.DB.NowFunc()
	w.CreatedAt = w.UpdatedAt
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		keep := []string{"issuer", "repository", "github_id", "path", "refs", "environment", "destination", "image", "settings", "cache", "on_push", "updated_at"}
		err := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "app_id"}}, DoUpdates: clause.AssignmentColumns(keep)}).Create(w).Error
		if err != nil {
			return err
		}
		return record(ctx, tx, app, "workflow.save", map[string]string{
			"repository": w.Repository, "repository_id": fmt.Sprint(w.GitHubID), "file": w.Path, "refs": fmt.Sprint(w.Refs),
			"environment": w.Environment, "destination": string(w.Destination), "issuer": w.Issuer})
	})
	if err != nil {
		return nil, fmt.Errorf("saving the workflow of %s: %w", app.Name, err)
	}
	return s.detail(ctx, app)
}

// Delete ends the trust in the app's runs at once; the team's maintainers may.
// The file in the repository stays.
func (s *Service) Delete(ctx context.Context, appID string) error {
	app, err := s.app(ctx, appID, models.RoleMaintainer)
	if err != nil {
		return err
	}
	if app.Builder == models.BuilderActions {
		return models.Errorf(models.Conflict, "%s is built by GitHub Actions. Choose another builder in its settings first.", app.Name)
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		r := tx.Where("app_id = ?", app.ID).Delete(&models.Workflow{})
		if r.Error != nil {
			return fmt.Errorf("deleting the workflow of %s: %w", app.Name, r.Error)
		}
		if r.RowsAffected == 0 {
			return models.Errorf(models.NotFound, "No such workflow of %s.", app.Name)
		}
		return record(ctx, tx, app, "workflow.delete", nil)
	})
}

func record(ctx context.Context, tx *gorm.DB, app *models.App, action string, detail map[string]string) error {
	err := audit.Record(ctx, tx, audit.Entry{TeamID: app.TeamID, Action: action, Subject: "app:" + app.ID, Name: app.Name, Detail: detail})
	if err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: app.TeamID, Kind: action, Topic: "app:" + app.ID, Parent: "team:" + app.TeamID})
}

// app returns the app with team and repository, where the principal has the role.
func (s *Service) app(ctx context.Context, id string, role models.Role) (*models.App, error) {
	var app models.App
	err := s.DB.WithContext(ctx).Preload("Team").Preload("Repository").Where("id = ?", id).Take(&app).Error
	if err != nil {
		return nil, models.FromDB(err, "app")
	}
	return &app, models.Authorize(ctx, app.TeamID, role, "app")
}

// learn fills in the repository's number, which GitHub knows, where it was not typed.
func (s *Service) learn(ctx context.Context, app *models.App, w *models.Workflow) error {
	owner, name, ok := splitName(w.Repository)
	if !ok || w.GitHubID != 0 {
		return nil
	}
	client, err := s.GitHub(ctx, app.Repository)
	if models.IsCode(err, models.Conflict) {
		return nil // the check asks for the number
	}
	if err != nil {
		return err
	}
	r, _, err := client.Repositories.Get(ctx, owner, name)
	if err != nil {
		return explain(err, "read the repository "+w.Repository)
	}
	w.GitHubID, w.Repository = r.GetID(), r.GetFullName()
	return nil
}

// explain turns an answer of GitHub into words for people. What GitHub wrote stays in the log.
func explain(err error, doing string) error {
	if _, ok := errors.AsType[*models.Error](err); ok {
		return err
	}
	told := &models.Error{Code: models.Unavailable, Err: err, Message: fmt.Sprintf("GitHub did not let Slipway %s. Try again in a moment.", doing)}
	answered, ok := errors.AsType[*github.ErrorResponse](err)
	if !ok || answered.Response == nil {
		return told
	}
	switch code := answered.Response.StatusCode; {
	case code == 401:
		told.Code, told.Message = models.Conflict, "GitHub refuses the credential of the repository's connection. Renew it, then try again."
	case code == 403 || code == 404:
		told.Code, told.Message = models.Conflict, fmt.Sprintf("GitHub does not let Slipway %s: the connection lacks the right, or there is no such thing. It needs to read and write contents, workflows, pull requests and actions.", doing)
	case code == 409 || code == 422:
		told.Code, told.Message = models.Conflict, fmt.Sprintf("GitHub refused to %s as it is. Look at the repository there.", doing)
	}
	return told
}
