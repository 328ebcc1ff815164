package builds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	changeCommits = 20 // that are listed
	changeSteps   = 5
	// worthTelling is the least change of a step's time, in milliseconds, that is worth a line.
	worthTelling = 300
)

// Changes compares a build with the last good one of its app before it: the
// commits between them, what became of the image's size and of the time, which
// steps made the difference, and where the cache helped no further and why. The
// team's viewers may. What can't be known is said in the answer and is no error.
func (s *Service) Changes(ctx context.Context, id string) (*models.BuildChanges, error) {
	b, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.ChangesOf(ctx, b)
}

// ChangesOf is Changes for a build that Get has returned.
func (s *Service) ChangesOf(ctx context.Context, b *models.Build) (*models.BuildChanges, error) {
	if err := models.Authorize(ctx, b.TeamID, models.RoleViewer, "build"); err != nil {
		return nil, err
	}
	good, err := s.lastGood(ctx, b)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return &models.BuildChanges{CommitsNote: "No build of this app succeeded before this one."}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the last good build: %w", err)
	}
	c := &models.BuildChanges{Since: good, Size: models.Difference{Now: b.ImageSize, Before: good.ImageSize}}
	s.listCommits(ctx, b, c)
	if b.StartedAt != nil && b.FinishedAt != nil && good.StartedAt != nil && good.FinishedAt != nil {
		c.Duration = models.Difference{Now: b.FinishedAt.Sub(*b.StartedAt).Milliseconds(), Before: good.FinishedAt.Sub(*good.StartedAt).Milliseconds()}
		c.Steps = stepChanges(b.Steps, good.Steps)
	}
	c.Miss = s.miss(ctx, b, good)
	return c, nil
}

// lastGood finds the build to compare with, with its steps.
func (s *Service) lastGood(ctx context.Context, b *models.Build) (*models.Build, error) {
	var good models.Build
	before := func() *gorm.DB {
		return s.DB.WithContext(ctx).Where("app_id = ? AND id < ? AND state = ?", b.AppID, b.ID, models.BuildSucceeded).Order("id DESC").Limit(1)
	}
	err := before().Where("ref = ?", b.Ref).Take(&good).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = before().Take(&good).Error
	}
	if err != nil {
		return nil, err
	}
	return &good, s.DB.WithContext(ctx).Where("build_id = ?", good.ID).Order("seq").Find(&good.Steps).Error
}

// listCommits lists what the build has and the good one has not. That needs the repository's copy on this machine.
func (s *Service) listCommits(ctx context.Context, b *models.Build, c *models.BuildChanges) {
	if b.Commit == c.Since.Commit {
		c.CommitsNote = "Both built the same commit."
		return
	}
	repo := b.App.RepositoryID
	commits, more, err := s.Git.Log(ctx, repo, c.Since.Commit, b.Commit, changeCommits)
	if err != nil {
		c.CommitsNote = "The commits can't be listed: this server has no copy of the repository that holds both."
		return
	}
	for _, commit := range commits {
		c.Commits = append(c.Commits, models.ChangeCommit{ID: commit.ID, Subject: commit.Subject, Author: commit.Author, Email: commit.Email, Time: commit.Time})
	}
	c.MoreCommits = more
	if contains, err := s.Git.Contains(ctx, repo, b.Commit, c.Since.Commit); err == nil && !contains {
		c.CommitsNote = fmt.Sprintf("The commit of build %s is not part of this history: another branch, or a rewritten one.", c.Since.Title())
		if len(commits) == 0 {
			c.CommitsNote = fmt.Sprintf("This build goes back to a commit from before build %s.", c.Since.Title())
		}
	}
}

// stepChanges compares the times of steps that are the same work in both builds.
func stepChanges(now, before []models.BuildStep) []models.StepChange {
	byWork := map[string]*models.StepChange{}
	var all []*models.StepChange
	change := func(step models.BuildStep) *models.StepChange {
		key := work(step)
		if byWork[key] == nil {
			byWork[key] = &models.StepChange{Name: step.Name}
			all = append(all, byWork[key])
		}
		return byWork[key]
	}
	for _, step := range now {
		c := change(step)
		c.ID = step.ID
		c.Now += step.DurationMS
	}
	for _, step := range before {
		change(step).Before += step.DurationMS
	}
	var told []models.StepChange
	for _, c := range all {
		if size := c.Change(); size >= worthTelling || size <= -worthTelling {
			told = append(told, *c)
		}
	}
	slices.SortStableFunc(told, func(a, b models.StepChange) int { return cmp.Compare(abs(b.Change()), abs(a.Change())) })
	return told[:min(len(told), changeSteps)]
}

func abs(n int64) int64 { return max(n, -n) }
