package workflows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-github/v88/github"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// The events of GitHub that are about runs.
const (
	EventRun = "workflow_run"
	EventJob = "workflow_job"
)

// started are what may start a run that becomes a build of its own. Runs of
// pull requests do not: they can push nothing.
var started = []string{"push", "workflow_dispatch", "schedule", "release"}

// Webhook takes a verified delivery of a connection's GitHub about a run or a
// job: the build that is carried by the run is looked at at once, and a run
// that began at GitHub by itself becomes a build. It returns what it did, for
// the list of deliveries. Only Slipway itself may call it.
func (s *Service) Webhook(ctx context.Context, connectionID, event string, payload []byte) (string, error) {
	if p := models.PrincipalFrom(ctx); p == nil || p.Kind != models.PrincipalSystem {
		return "", models.Errorf(models.Denied, "Only Slipway's own work takes deliveries.")
	}
	switch event {
	case EventJob:
		var e github.WorkflowJobEvent
		if err := json.Unmarshal(payload, &e); err != nil {
			return "", models.Errorf(models.Invalid, "The delivery is no workflow_job of GitHub.")
		}
		n, err := s.nudge(ctx, e.GetRepo().GetID(), e.GetWorkflowJob().GetRunID())
		return looked(n), err
	case EventRun:
		var e github.WorkflowRunEvent
		if err := json.Unmarshal(payload, &e); err != nil || e.WorkflowRun == nil {
			return "", models.Errorf(models.Invalid, "The delivery is no workflow_run of GitHub.")
		}
		return s.takeRun(ctx, connectionID, &e)
	}
	return "", models.Errorf(models.Invalid, "%q is not about runs.", event)
}

func looked(n int64) string {
	if n == 0 {
		return "No build is carried by this run."
	}
	return "The run's build is looked at."
}

// nudge has the builds of the run looked at.
func (s *Service) nudge(ctx context.Context, githubID, runID int64) (int64, error) {
	r := s.DB.WithContext(ctx).Model(&models.WorkflowRun{}).Where("github_id = ? AND run_id = ? AND run_id > 0", githubID, runID).Update("nudged_at", s.DB.NowFunc())
	if r.Error != nil {
		return 0, fmt.Errorf("telling a run's follower: %w", r.Error)
	}
	return r.RowsAffected, nil
}

func (s *Service) takeRun(ctx context.Context, connectionID string, e *github.WorkflowRunEvent) (string, error) {
	run, id := e.WorkflowRun, e.GetRepo().GetID()
	apps, err := s.appsOf(ctx, connectionID, id, run)
	if err != nil {
		return "", err
	}
	if len(apps) == 0 {
		return "No app is built by this workflow.", nil
	}
	var said []string
	for i := range apps {
		text, err := s.takeRunFor(ctx, &apps[i], run, id)
		if err != nil {
			return "", err
		}
		said = append(said, apps[i].Name+": "+text)
	}
	return strings.Join(said, " "), nil
}

// appsOf are the apps that the run's workflow builds and whose repositories have the connection.
func (s *Service) appsOf(ctx context.Context, connectionID string, githubID int64, run *github.WorkflowRun) ([]models.App, error) {
	path, _, _ := strings.Cut(run.GetPath(), "@")
	db := s.DB.WithContext(ctx)
	ids := db.Model(&models.Workflow{}).Select("app_id").Where("github_id = ? AND path = ?", githubID, path)
	repositories := db.Model(&models.Repository{}).Select("id").Where("connection_id = ?", connectionID)
	var apps []models.App
	err := db.Preload("Team").Preload("Repository").Where("id IN (?) AND repository_id IN (?)", ids, repositories).Order("id").Limit(50).Find(&apps).Error
	if err != nil {
		return nil, fmt.Errorf("looking for the apps of a run: %w", err)
	}
	return apps, nil
}

func (s *Service) takeRunFor(ctx context.Context, app *models.App, run *github.WorkflowRun, githubID int64) (string, error) {
	n, err := s.nudgeRun(ctx, app, run)
	switch {
	case err != nil:
		return "", err
	case n > 0:
		return looked(n), nil
	case !slices.Contains(started, run.GetEvent()), run.GetHeadRepository().GetID() != githubID:
		return "The run is of a pull request or of a fork; it becomes no build.", nil
	case !commitID.MatchString(run.GetHeadSHA()):
		return "The run names no commit.", nil
	}
	return s.adoptRun(ctx, app, run, githubID)
}

// nudgeRun finds the build that the run carries and has it looked at. A run
// that a build asked for names it, so that it is known before GitHub's answer.
func (s *Service) nudgeRun(ctx context.Context, app *models.App, run *github.WorkflowRun) (int64, error) {
	db, now := s.DB.WithContext(ctx), s.DB.NowFunc()
	attempt := max(run.GetRunAttempt(), 1)
	known := db.Model(&models.WorkflowRun{}).Where("app_id = ? AND run_id = ? AND run_attempt = ?", app.ID, run.GetID(), attempt).Update("nudged_at", now)
	if known.Error != nil || known.RowsAffected > 0 || run.GetEvent() != "workflow_dispatch" {
		return known.RowsAffected, known.Error
	}
	var open []models.WorkflowRun
	if err := db.Where("app_id = ? AND run_id = 0 AND dispatched_at IS NOT NULL", app.ID).Limit(100).Find(&open).Error; err != nil {
		return 0, fmt.Errorf("looking for the build of a run: %w", err)
	}
	for _, row := range open {
		if strings.Contains(run.GetDisplayTitle(), row.BuildID) {
			r := db.Model(&models.WorkflowRun{}).Where("build_id = ? AND run_id = 0", row.BuildID).
				Updates(map[string]any{"run_id": run.GetID(), "run_attempt": attempt, "nudged_at": now})
			return 1, r.Error
		}
	}
	return 0, nil
}

func (s *Service) adoptRun(ctx context.Context, app *models.App, run *github.WorkflowRun, githubID int64) (string, error) {
	subject, _, _ := strings.Cut(run.GetHeadCommit().GetMessage(), "\n")
	in := builds.RunInput{App: app, Builder: models.BuilderActions, Commit: run.GetHeadSHA(), CommitSubject: clip(subject), CommitAuthor: clip(run.GetHeadCommit().GetAuthor().GetName()), Actor: clip(run.GetActor().GetLogin())}
	var err error
	if in.Ref, in.RefKind, err = s.refOf(ctx, app, run); err != nil {
		return "", err
	}
	path, _, _ := strings.Cut(run.GetPath(), "@")
	b, err := s.Builds.Adopt(ctx, in, func(tx *gorm.DB, b *models.Build) error {
		now := s.DB.NowFunc()
		return tx.Create(&models.WorkflowRun{BuildID: b.ID, AppID: app.ID, Repository: run.GetRepository().GetFullName(), GitHubID: githubID, Path: path,
			RunID: run.GetID(), RunAttempt: int64(max(run.GetRunAttempt(), 1)), NudgedAt: &now, CreatedAt: now}).Error
	})
	if models.IsCode(err, models.Conflict) {
		return "The run's build is there already.", nil // its report was quicker
	}
	if err != nil {
		return "", err
	}
	return "Build " + b.Title() + " follows the run.", nil
}

// refOf is the run's branch or tag; GitHub calls both a branch.
func (s *Service) refOf(ctx context.Context, app *models.App, run *github.WorkflowRun) (name, kind string, err error) {
	name = clip(run.GetHeadBranch())
	var ref models.Ref
	err = s.DB.WithContext(ctx).Where("repository_id = ? AND name = ?", app.RepositoryID, name).Order("kind").Take(&ref).Error
	if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		return "", "", fmt.Errorf("looking for the ref of a run: %w", err)
	}
	if err == nil {
		return name, string(ref.Kind), nil
	}
	if run.GetEvent() == "release" {
		return name, string(models.RefTag), nil
	}
	return name, string(models.RefBranch), nil
}

// clip keeps a text of a payload to one sensible line.
func clip(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > 300 {
		return string(runes[:300])
	}
	return text
}

// Elsewhere says why GitHub builds the app by itself, or not at all, when the
// trigger fires; empty where Slipway has to ask for a build.
func (s *Service) Elsewhere(ctx context.Context, app *models.App, trigger models.BuildTrigger) (string, error) {
	if app.Builder != models.BuilderActions {
		return "", nil
	}
	if trigger == models.TriggerPullRequest {
		return "GitHub Actions builds it, which is not trusted with pull requests", nil
	}
	var found []models.Workflow
	if err := s.DB.WithContext(ctx).Where("app_id = ?", app.ID).Limit(1).Find(&found).Error; err != nil {
		return "", fmt.Errorf("reading a workflow: %w", err)
	}
	switch {
	case len(found) == 0:
		return "GitHub Actions builds it, and nobody has said by which workflow", nil
	case found[0].OnPush:
		return "its workflow runs on pushes by itself", nil
	}
	return "", nil
}
