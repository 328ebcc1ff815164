package workflows

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/builds"
)

// Report is what a run says that it made.
type Report struct {
	Build  string   `json:"build,omitempty" maxLength:"64" doc:"The build that asked for the run; empty for a run that began by itself."`
	Commit string   `json:"commit" maxLength:"64" doc:"That was built."`
	Image  string   `json:"image" maxLength:"300" doc:"The image's name without a tag."`
	Digest string   `json:"digest" maxLength:"100" doc:"Of the manifest that was pushed."`
	Tags   []string `json:"tags,omitempty" maxItems:"50" doc:"The names that it was pushed under."`
}

var (
	commitID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	digestID = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	tagName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

// Report takes over what the context's run has pushed: into the build that
// asked for the run, or into a build of its own. Saying the same again is no error.
func (s *Service) Report(ctx context.Context, in Report) (*models.Build, error) {
	x, app, err := s.Workloads.Granted(ctx)
	if err != nil {
		return nil, err
	}
	var w models.Workflow
	if err := s.DB.WithContext(ctx).Where("app_id = ?", app.ID).Take(&w).Error; err != nil {
		return nil, models.FromDB(err, "workflow of "+app.Name)
	}
	if err := in.check(s.image(&w, app)); err != nil {
		return nil, err
	}
	row, err := s.rowOf(ctx, x, in.Build)
	if models.IsCode(err, models.NotFound) {
		return s.adoptReport(ctx, in, x, app, &w)
	}
	if err != nil {
		return nil, err
	}
	return s.takeReport(ctx, in, x, app, row)
}

func (in Report) check(image string) error {
	wrong := map[string]string{}
	if !commitID.MatchString(in.Commit) {
		wrong["commit"] = "Name a commit by its whole id."
	}
	if in.Image != image {
		wrong["image"] = fmt.Sprintf("Runs of this app push %s.", image)
	}
	if !digestID.MatchString(in.Digest) {
		wrong["digest"] = "Name the image's digest, sha256: and 64 digits."
	}
	for _, tag := range in.Tags {
		if !tagName.MatchString(tag) {
			wrong["tags"] = "Use names that a registry takes."
		}
	}
	return models.InvalidFields(wrong)
}

// rowOf finds the build of the run: by the run's number, or, where GitHub has
// not said yet which run a build asked for, by what the run says.
func (s *Service) rowOf(ctx context.Context, x *models.Exchange, buildID string) (*models.WorkflowRun, error) {
	db := s.DB.WithContext(ctx)
	var row models.WorkflowRun
	err := db.Where("app_id = ? AND run_id = ? AND run_attempt = ?", x.AppID, x.RunID, x.RunAttempt).Take(&row).Error
	if err == nil || !errors.Is(err, gorm.ErrRecordNotFound) || buildID == "" {
		return &row, models.FromDB(err, "build of the run")
	}
	mine := db.Model(&models.WorkflowRun{}).Where("build_id = ? AND app_id = ? AND run_id = 0 AND dispatched_at IS NOT NULL", buildID, x.AppID).
		Updates(map[string]any{"run_id": x.RunID, "run_attempt": x.RunAttempt})
	if mine.Error != nil {
		return nil, fmt.Errorf("finding the build of a run: %w", mine.Error)
	}
	err = db.Where("app_id = ? AND run_id = ? AND run_attempt = ?", x.AppID, x.RunID, x.RunAttempt).Take(&row).Error
	return &row, models.FromDB(err, "build of the run")
}

// takeReport writes the report into the build's run, whose follower goes on with it.
func (s *Service) takeReport(ctx context.Context, in Report, x *models.Exchange, app *models.App, row *models.WorkflowRun) (*models.Build, error) {
	var b models.Build
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Preload("App.Team").Where("id = ?", row.BuildID).Take(&b).Error; err != nil {
			return models.FromDB(err, "build")
		}
		switch {
		case row.ReportedAt != nil && row.ImageDigest == in.Digest:
			return nil
		case row.ReportedAt != nil:
			return models.Errorf(models.Conflict, "The run has reported the image %s already.", row.ImageDigest)
		case b.State.Ended():
			return models.Errorf(models.Conflict, "Build %s of %s is over: it is %s.", b.Title(), app.Name, b.State)
		case b.Commit != in.Commit:
			return models.InvalidField("commit", "Build %s is of the commit %s.", b.Title(), b.Commit)
		}
		now := s.DB.NowFunc()
		r := tx.Model(&models.WorkflowRun{}).Where("build_id = ? AND reported_at IS NULL", b.ID).Select("ReportedAt", "NudgedAt", "ImageRepository", "ImageDigest", "ImageTags").
			Updates(models.WorkflowRun{ReportedAt: &now, NudgedAt: &now, ImageRepository: in.Image, ImageDigest: in.Digest, ImageTags: in.Tags})
		if r.Error != nil {
			return fmt.Errorf("taking a report: %w", r.Error)
		}
		if r.RowsAffected == 0 {
			return models.Errorf(models.Conflict, "The run is reporting twice at once.")
		}
		return recordReport(ctx, tx, in, x, &b, app)
	})
	if err != nil {
		return nil, err
	}
	return &b, nil
}

func recordReport(ctx context.Context, tx *gorm.DB, in Report, x *models.Exchange, b *models.Build, app *models.App) error {
	return audit.Record(ctx, tx, audit.Entry{TeamID: app.TeamID, Action: "workflow.report", Subject: builds.Topic(b.ID), Name: app.Name + " " + b.Title(),
		Detail: map[string]string{"repository": x.Repository, "run": fmt.Sprint(x.RunID), "digest": in.Digest, "commit": in.Commit}})
}

// adoptReport makes a build of a run that nobody asked for.
func (s *Service) adoptReport(ctx context.Context, in Report, x *models.Exchange, app *models.App, w *models.Workflow) (*models.Build, error) {
	run := builds.RunInput{App: app, Builder: models.BuilderActions, Commit: in.Commit, Actor: x.Actor}
	run.Ref, run.RefKind = shortRef(x.Ref)
	s.subject(ctx, app, &run)
	b, err := s.Builds.Adopt(ctx, run, func(tx *gorm.DB, b *models.Build) error {
		now := s.DB.NowFunc()
		row := &models.WorkflowRun{BuildID: b.ID, AppID: app.ID, Repository: x.Repository, GitHubID: x.GitHubID, Path: w.Path, RunID: x.RunID, RunAttempt: x.RunAttempt,
			ReportedAt: &now, NudgedAt: &now, ImageRepository: in.Image, ImageDigest: in.Digest, ImageTags: in.Tags, CreatedAt: now}
		if err := tx.Create(row).Error; err != nil {
			return err
		}
		return recordReport(ctx, tx, in, x, b, app)
	})
	if !models.IsCode(err, models.Conflict) {
		return b, err
	}
	row, again := s.rowOf(ctx, x, "") // a webhook was quicker
	if again != nil {
		return nil, err
	}
	return s.takeReport(ctx, in, x, app, row)
}

// shortRef is a ref as people write it, and its kind.
func shortRef(ref string) (name, kind string) {
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		return tag, string(models.RefTag)
	}
	return strings.TrimPrefix(ref, "refs/heads/"), string(models.RefBranch)
}

// subject fills in what the last fetch saw of the commit.
func (s *Service) subject(ctx context.Context, app *models.App, run *builds.RunInput) {
	var refs []models.Ref
	err := s.DB.WithContext(ctx).Where(`repository_id = ? AND "commit" = ?`, app.RepositoryID, run.Commit).Limit(1).Find(&refs).Error
	if err == nil && len(refs) > 0 && run.CommitSubject == "" {
		run.CommitSubject, run.CommitAuthor = refs[0].Subject, refs[0].Author
	}
}
