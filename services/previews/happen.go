package previews

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// begins are the states of builds that a preview can come of.
func begins(state models.BuildState) bool {
	return state != models.BuildFailed && state != models.BuildCanceled
}

// BuildChanged takes part in the transactions of builds: where a build of a
// pull request moved, and its app has previews, it writes down what the preview
// has to know. A build that was asked for before the pull request was closed starts nothing.
func (s *Service) BuildChanged(tx *gorm.DB, b *models.Build) error {
	if b.PullRequest.Number <= 0 {
		return nil
	}
	settings, ok, err := settingsOf(tx, b.AppID)
	if err != nil || !ok || !settings.Enabled {
		return err
	}
	expires := s.now().Add(settings.life())
	if begins(b.State) {
		if err := s.insert(tx, b.AppID, s.fresh(b, expires)); err != nil {
			return err
		}
	}
	mine := tx.Model(&models.Preview{}).Where("app_id = ? AND number = ? AND head_number <= ? AND (NOT closed OR closed_by < ?)", b.AppID, b.PullRequest.Number, b.Number, b.DeliveryID).
		Session(&gorm.Session{})
	removed := tx.Session(&gorm.Session{NewDB: true}).Where("head_id = ? AND end_reason = ? AND state IN ?", b.ID, models.PreviewRemoved, []models.PreviewState{models.PreviewEnding, models.PreviewEnded})
	r := mine.Not(removed).UpdateColumns(s.afterBuild(b, expires))
	if r.Error == nil && r.RowsAffected == 0 { // a person removed it while this build went on, which is no new push
		r = mine.Where(removed).UpdateColumns(s.known(b))
	}
	if r.Error != nil || r.RowsAffected == 0 {
		return r.Error
	}
	var p models.Preview
	if err := tx.Take(&p, "app_id = ? AND number = ?", b.AppID, b.PullRequest.Number).Error; err != nil {
		return err
	}
	return s.changed(tx, &p, "preview.build")
}

// fresh is the preview of a pull request that had none.
func (s *Service) fresh(b *models.Build, expires time.Time) *models.Preview {
	return &models.Preview{
		ID: models.NewID(), TeamID: b.TeamID, AppID: b.AppID, Number: b.PullRequest.Number, Author: b.CreatedByName, Fork: b.PullRequest.Fork || b.Untrusted,
		State: models.PreviewBuilding, ExpiresAt: expires,
	}
}

// insert writes the preview unless its pull request has one.
func (s *Service) insert(tx *gorm.DB, appID string, p *models.Preview) error {
	if err := tx.Model(&models.App{}).Select("repository_id").Where("id = ?", appID).Scan(&p.RepositoryID).Error; err != nil {
		return err
	}
	p.CreatedAt, p.UpdatedAt = s.now(), s.now()
	return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(p).Error
}

// afterBuild is what a preview knows after a build of its pull request moved.
// Every value is reckoned by the database, of the row as it is then.
func (s *Service) afterBuild(b *models.Build, expires time.Time) map[string]any {
	now := s.now()
	change := s.known(b)
	if !begins(b.State) {
		return change
	}
	change["closed"], change["expires_at"] = false, expires
	change["state"] = gorm.Expr("CASE WHEN state = ? THEN ? ELSE state END", models.PreviewEnded, models.PreviewBuilding)
	change["ended_at"] = gorm.Expr("CASE WHEN state = ? THEN NULL ELSE ended_at END", models.PreviewEnded)
	change["end_reason"] = gorm.Expr("CASE WHEN state = ? THEN '' ELSE end_reason END", models.PreviewEnded)
	if good(b) {
		change["wanted"], change["wanted_by"], change["wanted_by_name"] = true, b.CreatedBy, b.CreatedByName
		change["waiting_since"] = gorm.Expr("COALESCE(waiting_since, ?)", now)
		change["next_at"], change["note"] = nil, ""
	}
	return change
}

// known is what a preview knows of its pull request and of the build, whether it goes or not.
func (s *Service) known(b *models.Build) map[string]any {
	change := map[string]any{
		"title": b.PullRequest.Title, "branch": b.PullRequest.Source, "pull_url": b.PullRequest.URL,
		"head_id": b.ID, "head_number": b.Number, "head_commit": b.Commit, "head_state": b.State, "updated_at": s.now(),
	}
	if b.PullRequest.Fork || b.Untrusted {
		change["fork"] = true // once from outside, never trusted again
	}
	if good(b) {
		change["build_id"], change["build_number"], change["commit"] = b.ID, b.Number, b.Commit
	}
	return change
}

// good tells whether the build has an image that a preview can run.
func good(b *models.Build) bool { return b.State == models.BuildSucceeded && b.ImageDigest != "" }

// PullClosed takes part in the transaction in which a delivery that says that
// the app's pull request was closed is worked on: its preview ends. It tells
// whether there was something to end. Whoever calls it has checked the delivery's signature.
func (s *Service) PullClosed(ctx context.Context, tx *gorm.DB, appID string, number int64, deliveryID string) (ended bool, err error) {
	settings, ok, err := settingsOf(tx, appID)
	if err != nil || !ok {
		return false, err
	}
	if settings.Enabled { // a build that is under way must find that it comes too late
		now := s.now()
		gone := &models.Preview{ID: models.NewID(), TeamID: settings.TeamID, AppID: appID, Number: number, State: models.PreviewEnded, EndReason: models.PreviewClosed, EndedAt: &now, ExpiresAt: now}
		if err := s.insert(tx, appID, gone); err != nil {
			return false, err
		}
	}
	r := tx.Model(&models.Preview{}).Where("app_id = ? AND number = ? AND closed_by < ?", appID, number, deliveryID).
		UpdateColumns(map[string]any{"closed": true, "closed_by": deliveryID, "wanted": false, "updated_at": s.now()})
	if r.Error != nil || r.RowsAffected == 0 {
		return false, r.Error
	}
	var p models.Preview
	if err := tx.Take(&p, "app_id = ? AND number = ?", appID, number).Error; err != nil {
		return false, err
	}
	return s.finish(ctx, tx, &p, models.PreviewClosed)
}

// finish tells a preview that is going to end. It tells whether it was going.
func (s *Service) finish(ctx context.Context, tx *gorm.DB, p *models.Preview, why models.PreviewEnd) (bool, error) {
	now := s.now()
	change := map[string]any{"state": models.PreviewEnding, "end_reason": why, "wanted": false, "waiting_since": nil, "next_at": nil, "note": "", "updated_at": now}
	if p.EnvironmentID == nil {
		change["state"], change["ended_at"] = models.PreviewEnded, now
	}
	r := tx.Model(&models.Preview{}).Where("id = ? AND state IN ? AND (environment_id IS NULL) = ?", p.ID, models.PreviewsGoing, p.EnvironmentID == nil).UpdateColumns(change)
	if r.Error != nil || r.RowsAffected == 0 {
		return false, r.Error
	}
	p.State, p.EndReason = change["state"].(models.PreviewState), why
	return true, s.record(ctx, tx, p, "preview.end", map[string]string{"reason": string(why)})
}
