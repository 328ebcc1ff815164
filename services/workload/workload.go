// Package workload gives runs of CI systems short-lived credentials. A run
// proves what it is with an OpenID Connect token that its CI system signed, and
// exchanges it here (RFC 8693) for a credential of one repository of images.
// Nobody has to store a password at the CI system.
//
// An app's models.Workflow says which runs are trusted. The repository counts
// by its number, which no other repository ever gets, never by its name.
package workload

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/limits"
	"slipway.dev/services/registry"
)

const (
	// CredentialLife is how long an exchanged credential is good: long enough to
	// push an image. Generated workflows exchange after the image is built.
	CredentialLife = 15 * time.Minute
	keepExchanges  = 90 * 24 * time.Hour
)

// Service exchanges tokens. It is safe for concurrent use.
type Service struct {
	DB       *models.Database
	External string       // the portal's URL: the one audience that tokens must name
	Issuers  []string     // the exact URLs of the issuers of CI tokens
	Client   *http.Client // reaches them
	Registry *registry.Service

	once     sync.Once
	known    map[string]*issuer
	tries    limits.Limiter // exchanges of one peer
	refusals limits.Limiter // refusals that one app's list keeps
}

func (s *Service) open() {
	s.once.Do(func() {
		s.known = map[string]*issuer{}
		for _, at := range s.Issuers {
			s.known[at] = &issuer{url: at, client: s.Client}
		}
		s.tries.Burst, s.tries.Every = 60, time.Second
		s.refusals.Burst, s.refusals.Every = 20, 10*time.Second
	})
}

// Reload returns the workload as it is now. It fails with Unauthorized once its
// credential has expired, and as soon as the app's workflow no longer trusts the run.
func (s *Service) Reload(ctx context.Context, p *models.Principal) (*models.Principal, error) {
	x, app, err := s.exchange(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	w, err := s.workflow(ctx, app)
	if err != nil {
		return nil, err
	}
	if refuse(w, app.Repository.DefaultBranch, x) != "" {
		return nil, errEnded
	}
	return principal(x, app), nil
}

var errEnded = models.Errorf(models.Unauthorized, "The credential of this run has expired, or the app no longer trusts it. Exchange the run's token again.")

// exchange returns the granted exchange of the id while its credential is good, with the app.
func (s *Service) exchange(ctx context.Context, id string) (*models.Exchange, *models.App, error) {
	var x models.Exchange
	db := s.DB.WithContext(ctx)
	err := db.Where("id = ? AND granted AND expires_at > ?", id, s.DB.NowFunc()).Take(&x).Error
	if models.IsCode(models.FromDB(err, "exchange"), models.NotFound) {
		return nil, nil, errEnded
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading an exchange: %w", err)
	}
	var app models.App
	if err := db.Preload("Team").Preload("Repository").Where("id = ?", x.AppID).Take(&app).Error; err != nil {
		return nil, nil, models.FromDB(err, "app")
	}
	return &x, &app, nil
}

func (s *Service) workflow(ctx context.Context, app *models.App) (*models.Workflow, error) {
	var w models.Workflow
	err := s.DB.WithContext(ctx).Where("app_id = ?", app.ID).Take(&w).Error
	if models.IsCode(models.FromDB(err, "workflow"), models.NotFound) {
		return nil, errEnded
	}
	return &w, err
}

// principal is the workload that the exchange made.
func principal(x *models.Exchange, app *models.App) *models.Principal {
	return &models.Principal{
		Kind: models.PrincipalWorkload, ID: x.ID, Name: fmt.Sprintf("GitHub Actions of %s, run %d", x.Repository, x.RunID),
		Scopes: []models.Scope{}, Repository: app.Team.Slug + "/" + app.Name,
	}
}

// Granted returns the exchange that made the context's principal, with the app;
// anyone but a workload is Denied.
func (s *Service) Granted(ctx context.Context) (*models.Exchange, *models.App, error) {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return nil, nil, models.Errorf(models.Unauthorized, "Exchange the run's token first.")
	}
	if p.Kind != models.PrincipalWorkload {
		return nil, nil, models.Errorf(models.Denied, "Only a run that exchanged its own token can do this.")
	}
	return s.exchange(ctx, p.ID)
}

// Filter narrows the list of exchanges.
type Filter struct {
	models.Page
	AppID string
}

// List returns the attempts of runs to get a credential of the app, newest
// first, with why some were refused; the team's viewers may read it.
func (s *Service) List(ctx context.Context, f Filter) (models.List[models.Exchange], error) {
	none := models.List[models.Exchange]{}
	var app models.App
	if err := s.DB.WithContext(ctx).Where("id = ?", f.AppID).Take(&app).Error; err != nil {
		return none, models.FromDB(err, "app")
	}
	if err := models.Authorize(ctx, app.TeamID, models.RoleViewer, "app"); err != nil {
		return none, err
	}
	q := s.DB.WithContext(ctx).Where("app_id = ?", app.ID)
	return models.Newest(q, f.Page, "id", func(x models.Exchange) string { return x.ID })
}

// Prune forgets tokens that have expired, and exchanges of long ago.
func (s *Service) Prune(ctx context.Context) error {
	db, now := s.DB.WithContext(ctx), s.DB.NowFunc()
	gone := db.Where("expires_at < ?", now.Add(-leeway)).Delete(&models.SpentToken{})
	if gone.Error != nil {
		return fmt.Errorf("forgetting spent tokens: %w", gone.Error)
	}
	if err := db.Where("created_at < ?", now.Add(-keepExchanges)).Delete(&models.Exchange{}).Error; err != nil {
		return fmt.Errorf("forgetting old exchanges: %w", err)
	}
	slog.DebugContext(ctx, "spent tokens forgotten", "count", gone.RowsAffected)
	return nil
}
