// Package builds queues builds and runs them: check out, build, push, record.
// A build is a row and a job; whichever worker holds the row carries it, and
// every write of its work fails once another worker holds it.
package builds

import (
	"context"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
	"slipway.dev/services/git"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
	"slipway.dev/services/registries"
	"slipway.dev/services/secrets"
)

// Registry is where images go.
type Registry interface {
	// Host is the first part of every image's name, such as localhost:8080.
	Host() string
	// Credential returns what lets a client do the actions (pull, push) on the repository until ttl is over.
	Credential(ctx context.Context, repository string, actions []string, ttl time.Duration) (username, password string, err error)
}

// Service queues builds and runs them.
type Service struct {
	DB       *models.Database
	Jobs     *jobs.Queue
	Git      *git.Service
	Logs     *logs.Service
	Box      *secrets.Box // opens build secrets
	Registry Registry
	// Registries are the external ones that images may go to; nil: none.
	Registries *registries.Service
	Builders   map[models.BuilderKind]Builder
	Dir        string // of checkouts; each build removes its own
	// Remote returns how a repository is read, its credential opened.
	Remote func(ctx context.Context, r *models.Repository) (git.Remote, error)
	// CheckTags, where set, fails with a *models.Error where a new image must not take one of the tags of the repository.
	CheckTags func(ctx context.Context, repository string, tags []string) error
	// PlainHTTP says that the registry speaks HTTP although it is on another
	// machine; on this one HTTP is tried by itself.
	PlainHTTP bool

	TeamBuilds  int           // builds that a team runs at once where an admin has not said otherwise; 0: any number
	QueueLimit  time.Duration // how long a build may wait; 0: as long as it takes
	DiskFloor   int64         // bytes that have to be free for a build to begin
	Engine      Engine        // the local build engine; nil where there is none
	CacheLimits CacheLimits

	// Bases, where set, says which base images come through a cache.
	Bases func(ctx context.Context) (Bases, error)

	carried    carried
	engineRoot atomic.Pointer[string] // the engine's folder, where it is on this machine; known after the first measuring
	// Changed, where set, takes part in every transaction that moves a build to another state.
	Changed func(tx *gorm.DB, b *models.Build) error
}

const sweepEvery = time.Minute

// Register names the work on builds to the queue.
func (s *Service) Register(q *jobs.Queue) {
	jobs.Register(q, s.Turn)
	jobs.Register(q, s.Follow)
	jobs.Register(q, s.Stop)
	q.Every(measureEvery, "measuring the disks of builds", s.Measure)
	q.Every(pruneEvery, "pruning the build cache", s.Prune)
	q.Every(sweepEvery, "clearing up after builds", s.Sweep)
}

// Args is the job of a turn; see Turn. Every build brings one into the queue.
type Args struct {
	BuildID string `json:"build_id"` // the build that brought it, for those who look into the queue
}

// Kind names the job.
func (Args) Kind() string { return "build" }

// Topic is the event topic of a build.
func Topic(id string) string { return "build:" + id }

// publish says in tx that the build's state changed, to pages and to whoever else has to know.
func (s *Service) publish(tx *gorm.DB, b *models.Build, kind string) error {
	if s.Changed != nil {
		if err := s.Changed(tx, b); err != nil {
			return err
		}
	}
	return events.Publish(tx, event(b, kind))
}

func event(b *models.Build, kind string) models.Event {
	return models.Event{
		TeamID: b.TeamID, Kind: kind, Topic: Topic(b.ID), Parent: "app:" + b.AppID,
		Data: map[string]string{"state": string(b.State), "number": b.Title()},
	}
}

// record writes the audit entry of what a person did to the build, and the event, in tx.
func (s *Service) record(ctx context.Context, tx *gorm.DB, b *models.Build, app *models.App, action string) error {
	err := audit.Record(ctx, tx, audit.Entry{
		TeamID: b.TeamID, Action: action, Subject: Topic(b.ID), Name: app.Name + " " + b.Title(),
		Detail: map[string]string{"ref": b.Ref, "commit": b.Commit},
	})
	if err != nil {
		return err
	}
	return s.publish(tx, b, "build."+string(b.State))
}
