// Package engines keeps the engines that builds run on and spreads builds over
// them, by platform and load. It is a builder itself: one that hands each build
// to an engine, and to another one where an engine dies.
//
// Which engine runs which build is in the database, so that all workers see the
// same load.
package engines

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/logs"
	"slipway.dev/services/secrets"
)

const (
	// pause is how long a build waits before it looks again for a free engine.
	pause = time.Second
	// shunned is how long an engine of the configuration that died is taken last.
	shunned   = 30 * time.Second
	stepWait  = "engine"
	lastWords = 5 * time.Second
)

// Service keeps the engines.
type Service struct {
	DB  *models.Database
	Box *secrets.Box
	// Fixed are the engines of this process's own configuration.
	Fixed []Fixed
	// Open returns the builder for an engine that admins keep.
	Open func(Connection) builds.Builder

	mu     sync.Mutex
	failed map[string]time.Time // when an engine of the configuration was lost
}

// Fixed is an engine that the configuration names.
type Fixed struct {
	Key       string // tells it from all other engines, also those of other machines
	Name      string // for people
	Address   string
	MaxBuilds int // at once, of all workers that share the key; 0: any number
	Builder   builds.Builder
}

// Connection is how an engine is reached.
type Connection struct {
	Name    string
	Address string
	TLS     *tls.Config
}

// engine is one that a build may run on.
type engine struct {
	key, name string
	max       int64
	running   int64
	platforms []string
	suspect   bool // it did not answer last
	can       builds.Capabilities
	builder   builds.Builder
}

// Build runs the build on the engine that suits it best, and where that one is lost on the next, one after the other.
func (s *Service) Build(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
	tried := map[string]bool{}
	var lost error
	for {
		e, err := s.take(ctx, r, tried, emit)
		if err != nil {
			return nil, err
		}
		if e == nil {
			return nil, lost
		}
		say(emit, "Built on %s.", e.name)
		result, err := e.builder.Build(ctx, r, emit)
		failure, ok := errors.AsType[*builds.Error](err)
		if !ok || !failure.Lost || ctx.Err() != nil {
			return result, err
		}
		s.shun(ctx, e, failure)
		say(emit, "%s", failure.Message)
		tried[e.key], lost = true, err
	}
}

func say(emit func(builds.Event), format string, args ...any) {
	emit(builds.Event{At: time.Now(), Stream: logs.Slipway, Output: fmt.Appendf(nil, format+"\n", args...)})
}

// Capabilities are those of the best engine for an ordinary build.
func (s *Service) Capabilities(ctx context.Context) (builds.Capabilities, error) {
	all, err := s.candidates(s.DB.WithContext(ctx), "")
	if err != nil {
		return builds.Capabilities{}, err
	}
	if len(all) == 0 {
		return builds.Capabilities{}, noEngine()
	}
	rank(all, builds.Request{})
	return all[0].builder.Capabilities(ctx)
}

func noEngine() error {
	return builds.Failure(builds.ClassInfrastructure, "There is no engine to build on. An admin adds one under Build engines, or starts a Docker Engine beside the worker.", nil)
}

// take waits until an engine that suits the request has a place free and gives the build to it. It returns nil where
// all that suit were tried.
func (s *Service) take(ctx context.Context, r builds.Request, tried map[string]bool, emit func(builds.Event)) (*engine, error) {
	wait := builds.Event{At: time.Now(), Step: stepWait, State: models.StepRunning, Name: "Wait for a build engine"}
	waits := false
	for {
		e, full, err := s.choose(ctx, r, tried)
		if err != nil || e != nil || full == 0 {
			if waits {
				wait.At, wait.State = time.Now(), models.StepSucceeded
				if err != nil || ctx.Err() != nil {
					wait.State = models.StepCanceled
				}
				emit(wait)
			}
			return e, err
		}
		if !waits {
			waits = true
			emit(wait)
			emit(builds.Event{At: time.Now(), Step: stepWait, Stream: logs.Slipway, Output: fmt.Appendf(nil, "All engines that can do this (%d) run as many builds as they may; this one takes the next free place.\n", full)})
		}
		select {
		case <-ctx.Done():
			wait.At, wait.State = time.Now(), models.StepCanceled
			emit(wait)
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// choose gives the build to the best engine in one transaction. It returns nil where none is free, with how many
// that suit are full.
func (s *Service) choose(ctx context.Context, r builds.Request, tried map[string]bool) (chosen *engine, full int, err error) {
	fixed := s.capable(ctx, r)
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		locked := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
		all, err := s.candidates(locked, r.BuildID)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return noEngine()
		}
		suited, lack := suitable(all, fixed, r)
		if len(suited) == 0 {
			return builds.Failure(builds.ClassUser, lack, nil)
		}
		rank(suited, r)
		for _, e := range suited {
			switch {
			case tried[e.key]:
			case e.max > 0 && e.running >= e.max:
				full++
			default:
				chosen = e
				return tx.Model(&models.Build{}).Where("id = ? AND state = ?", r.BuildID, models.BuildRunning).
					Updates(map[string]any{"engine": e.key, "engine_name": e.name}).Error
			}
		}
		return nil
	})
	return chosen, full, err
}

// capable asks the engines of the configuration what they can do, where the request depends on it.
func (s *Service) capable(ctx context.Context, r builds.Request) map[string]builds.Capabilities {
	if len(r.Platforms) == 0 && !r.Provenance && !r.SBOM && r.Cache.Ref == "" {
		return nil
	}
	known := map[string]builds.Capabilities{}
	for _, f := range s.Fixed {
		if can, err := f.Builder.Capabilities(ctx); err == nil {
			known[f.Key] = can
		}
	}
	return known
}

// suitable are the engines that can do what the request needs; where none can, it says what is lacking.
func suitable(all []*engine, fixed map[string]builds.Capabilities, r builds.Request) (suited []*engine, lack string) {
	for _, e := range all {
		if can, known := fixed[e.key]; known {
			e.can, e.platforms = can, can.Platforms
		}
		if why := e.can.Lacks(r); why != "" {
			lack = why
			continue
		}
		suited = append(suited, e)
	}
	return suited, lack
}

// candidates are all engines that are on, with the builds that run on them now, but for the one of the id.
func (s *Service) candidates(tx *gorm.DB, buildID string) ([]*engine, error) {
	var rows []models.BuildEngine
	if err := tx.Where("enabled").Order("id").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading the build engines: %w", err)
	}
	running, err := s.running(tx, buildID)
	if err != nil {
		return nil, err
	}
	var all []*engine
	for _, row := range rows {
		e := &engine{key: row.ID, name: row.Name, max: int64(row.MaxBuilds), platforms: row.Platforms, suspect: row.Error != "", can: everything(row)}
		connection, err := s.connection(&row)
		if err != nil {
			return nil, err
		}
		e.builder = s.Open(connection)
		all = append(all, e)
	}
	for _, f := range s.Fixed {
		all = append(all, &engine{key: f.Key, name: f.Name, max: int64(f.MaxBuilds), suspect: s.shunned(f.Key), builder: f.Builder,
			can: builds.Capabilities{Engine: f.Name, MultiPlatform: true, Provenance: true, SBOM: true}}) // until it is asked
	}
	for _, e := range all {
		e.running = running[e.key]
	}
	return all, nil
}

// everything is what a buildkitd can do.
func everything(row models.BuildEngine) builds.Capabilities {
	return builds.Capabilities{Engine: row.Version, Platforms: row.Platforms, Heredoc: true, SourceErrors: true, MultiPlatform: true, RegistryCache: true, Provenance: true, SBOM: true}
}

// running counts the builds that run on each engine now.
func (s *Service) running(tx *gorm.DB, except string) (map[string]int64, error) {
	var rows []struct {
		Engine string
		N      int64
	}
	err := tx.Session(&gorm.Session{NewDB: true}).Model(&models.Build{}).Select("engine, COUNT(*) AS n").
		Where("state = ? AND engine <> '' AND id <> ?", models.BuildRunning, except).Group("engine").Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("counting the builds of engines: %w", err)
	}
	count := map[string]int64{}
	for _, row := range rows {
		count[row.Engine] = row.N
	}
	return count, nil
}

// shun remembers that the engine was lost, so that other builds try it last.
func (s *Service) shun(ctx context.Context, e *engine, failure *builds.Error) {
	s.mu.Lock()
	if s.failed == nil {
		s.failed = map[string]time.Time{}
	}
	s.failed[e.key] = time.Now()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	s.DB.WithContext(ctx).Model(&models.BuildEngine{}).Where("id = ?", e.key).
		UpdateColumns(map[string]any{"error": failure.Message, "checked_at": s.DB.NowFunc()})
}

func (s *Service) shunned(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, lost := s.failed[key]
	return lost && time.Since(at) < shunned
}
