package builds

import (
	"context"
	"fmt"

	"slipway.dev/models"
)

// WhyWaiting says in one sentence what a queued build waits for and what would
// end the wait. It is empty for any other build.
func (s *Service) WhyWaiting(ctx context.Context, b *models.Build) (string, error) {
	if b.State == models.BuildWaiting {
		return waitingForApproval(b), nil
	}
	if b.State != models.BuildQueued {
		return "", nil
	}
	db := s.DB.WithContext(ctx)
	workers, err := s.Jobs.Alive(ctx)
	if err != nil {
		return "", err
	}
	if workers == 0 {
		return "No worker is running, so nothing takes this build: start one with slipway worker, or slipway serve without --workers=false.", nil
	}
	var ahead, running int64
	if err := db.Model(&models.Build{}).Where("state = ? AND id < ?", models.BuildQueued, b.ID).Count(&ahead).Error; err != nil {
		return "", fmt.Errorf("counting queued builds: %w", err)
	}
	if err := db.Model(&models.Build{}).Where("state = ?", models.BuildRunning).Count(&running).Error; err != nil {
		return "", fmt.Errorf("counting running builds: %w", err)
	}
	switch {
	case running == 0 && ahead == 0:
		return "A worker takes this build in a moment.", nil
	case ahead == 0:
		return fmt.Sprintf("The workers are busy with %s; this build is next.", count(running, "build")), nil
	case running == 0:
		return fmt.Sprintf("%s ahead of this one in the queue; a worker takes them in a moment.", are(ahead)), nil
	}
	return fmt.Sprintf("%s ahead of this one in the queue, and the workers are busy with %s. More workers would end the wait.", are(ahead), count(running, "build")), nil
}

func waitingForApproval(b *models.Build) string {
	return fmt.Sprintf("Pull request #%d comes from a fork, so nothing of it runs before somebody of the team has looked at commit %s and approved it. The approval is for this commit alone.",
		b.PullRequest.Number, short(b.Commit))
}

func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func are(n int64) string {
	if n == 1 {
		return "1 build is"
	}
	return fmt.Sprintf("%d builds are", n)
}
