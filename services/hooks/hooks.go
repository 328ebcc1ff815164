// Package hooks takes the webhooks of forges: it checks their signatures, stores what was delivered, and decides which
// apps a push or a pull request builds.
package hooks

import (
	"context"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/events"
	"slipway.dev/services/forges"
	"slipway.dev/services/git"
	"slipway.dev/services/jobs"
)

// Service takes webhooks and works on them.
type Service struct {
	DB     *models.Database
	Jobs   *jobs.Queue
	Forges *forges.Service
	Builds *builds.Service
	Git    *git.Service
	// Remote returns how a repository is read, its credential opened.
	Remote func(ctx context.Context, r *models.Repository) (git.Remote, error)
	// Refresh reads a repository now and stores its branches and tags.
	Refresh func(ctx context.Context, repositoryID string) error
	// Runs takes a delivery about a run at the forge, or one of its jobs, and says what it did; taking one twice is the
	// same as once. Nil: nobody follows runs.
	Runs func(ctx context.Context, connectionID, event string, body []byte) (string, error)
	// Elsewhere says why the forge builds the app by itself when it sends such an event; empty where Slipway has to ask
	// for a build. Nil: it always has to.
	Elsewhere func(ctx context.Context, app *models.App, trigger models.BuildTrigger) (string, error)
	// PullClosed ends in tx what runs of an app's pull request, and tells whether there was anything. Nil: nothing ever does.
	PullClosed func(ctx context.Context, tx *gorm.DB, appID string, number int64, deliveryID string) (bool, error)
}

// keep is how long deliveries are kept.
const keep = 30 * 24 * time.Hour

// Register names the work on deliveries to the queue.
func (s *Service) Register(q *jobs.Queue) {
	jobs.Register(q, s.Work)
	q.Every(time.Hour, "forgetting old webhooks", s.Prune)
}

// Args is the job that works on a delivery.
type Args struct {
	DeliveryID string `json:"delivery_id"`
}

// Kind names the job.
func (Args) Kind() string { return "delivery" }

// Topic is the event topic of a delivery.
func Topic(id string) string { return "delivery:" + id }

// publish says in tx that the delivery changed.
func publish(tx *gorm.DB, d *models.Delivery) error {
	return events.Publish(tx, models.Event{TeamID: d.TeamID, Kind: "delivery." + string(d.State), Topic: Topic(d.ID), Parent: "connection:" + d.ConnectionID})
}
