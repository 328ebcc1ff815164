// Package previews gives pull requests environments of their own: each good
// build of a pull request is deployed to one, under an address of its own,
// until the pull request is closed or nothing was pushed for long.
//
// What happens elsewhere is written down in the transaction in which it
// happens: that a build has moved (BuildChanged), that a pull request was
// closed (PullClosed). Tend does what follows from it. Every worker runs it;
// each step is a transaction that only one of them can make.
package previews

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/deploy"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
)

// Service knows the previews of pull requests and tends them.
type Service struct {
	DB          *models.Database
	Deploy      *deploy.Service
	ExternalURL string // of the portal, without a slash at its end
	TeamLimit   int    // previews of a team at once where an admin has not said otherwise; 0: any number
	// Comment notes in tx that what the comment on the pull request says has changed. Nil: nobody writes comments.
	Comment func(tx *gorm.DB, repositoryID string, number int64) error
	Now     func() time.Time // nil: the database's clock
}

const (
	tendEvery = 2 * time.Second
	atOnce    = 200                 // previews that one look deals with, of each kind of work
	keep      = 90 * 24 * time.Hour // how long the record of an ended preview is kept
)

// Register has the workers of the queue tend previews.
func (s *Service) Register(q *jobs.Queue) {
	q.Every(tendEvery, "tending previews", s.Tend)
	q.Every(time.Hour, "forgetting ended previews", s.Prune)
}

// Topic is the event topic of a preview.
func Topic(id string) string { return "preview:" + id }

func (s *Service) now() time.Time {
	if s.Now != nil {
		return s.Now().UTC().Truncate(time.Microsecond)
	}
	return s.DB.NowFunc()
}

// changed tells the pages, and the pull request, that the preview is another one than before.
func (s *Service) changed(tx *gorm.DB, p *models.Preview, kind string) error {
	data := map[string]string{"state": string(p.State), "number": p.Name()}
	err := events.Publish(tx, models.Event{TeamID: p.TeamID, Kind: kind, Topic: Topic(p.ID), Parent: "app:" + p.AppID, Data: data})
	if err != nil || s.Comment == nil {
		return err
	}
	return s.Comment(tx, p.RepositoryID, p.Number)
}

// record writes who did what to the preview, and tells that it changed.
func (s *Service) record(ctx context.Context, tx *gorm.DB, p *models.Preview, action string, detail map[string]string) error {
	var app models.App
	if err := tx.Select("id", "name").Take(&app, "id = ?", p.AppID).Error; err != nil {
		return models.FromDB(err, "app")
	}
	entry := audit.Entry{TeamID: p.TeamID, Action: action, Subject: Topic(p.ID), Name: fmt.Sprintf("%s %s", app.Name, p.Name()), Detail: detail}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return err
	}
	return s.changed(tx, p, action)
}

// Prune forgets previews that ended long ago.
func (s *Service) Prune(ctx context.Context) error {
	err := s.DB.WithContext(ctx).Where("state = ? AND updated_at < ?", models.PreviewEnded, s.now().Add(-keep)).Delete(&models.Preview{}).Error
	if err != nil {
		return fmt.Errorf("forgetting old previews: %w", err)
	}
	return nil
}

// Unload is the part of previews in the deletion of an app: in tx it deletes
// their environments, after deployments have seen to it that what runs there
// ends. Whoever deletes the app has authorized it.
func (s *Service) Unload(ctx context.Context, tx *gorm.DB, app *models.App) error {
	if err := s.Deploy.Unload(ctx, tx, app); err != nil {
		return err
	}
	var all []models.Preview
	if err := tx.Where("app_id = ?", app.ID).Order("id").Find(&all).Error; err != nil {
		return err
	}
	for i := range all {
		if all[i].EnvironmentID != nil {
			if err := s.Deploy.UnloadPreview(ctx, tx, *all[i].EnvironmentID); err != nil {
				return fmt.Errorf("deleting the environment of a preview: %w", err)
			}
		}
		if err := s.changed(tx, &all[i], "preview.deleted"); err != nil {
			return err
		}
	}
	return nil
}
