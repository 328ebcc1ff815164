package builds

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
)

const (
	// turnEvery is how often, on average, one of the turns comes that found
	// nothing to do while builds wait, however many those are.
	turnEvery    = 100 * time.Millisecond
	leastPause   = 500 * time.Millisecond
	longestPause = 20 * time.Second
	// queueLock names the lock under which workers choose, one after the other.
	queueLock = 0x51bea7
)

// carried are the builds that this process carries.
type carried struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (c *carried) has(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ids[id]
}

func (c *carried) add(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil {
		c.ids = map[string]bool{}
	}
	c.ids[id] = true
}

func (c *carried) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ids, id)
}

// Turn is what a job of the queue is: the right of some worker to take a build,
// which one is decided when the turn comes. A build whose worker died goes
// first; then the one that line.next says. Every build brings a turn with it,
// and a turn ends only with a build, or when none waits: so there are always
// turns enough. A turn that may take none now is put off, and comes sooner when
// a build ends.
func (s *Service) Turn(ctx context.Context, _ Args) error {
	b, taken, err := s.take(ctx)
	if err != nil || !taken {
		return err
	}
	defer s.carried.drop(b.ID)
	if b.State.Ended() {
		return nil
	}
	return s.carry(ctx, b)
}

// take makes this worker the one that carries a build. taken is false where none waits.
func (s *Service) take(ctx context.Context) (b *models.Build, taken bool, err error) {
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := s.oneByOne(tx); err != nil {
			return err
		}
		l, err := s.line(tx, fewPlaces)
		if err != nil {
			return err
		}
		id, err := s.choose(l)
		if err != nil || id == "" {
			return err
		}
		b, err = s.claim(ctx, tx, id, turnEvery)
		return err
	})
	if err != nil && b != nil {
		s.carried.drop(b.ID)
	}
	return b, b != nil, err
}

// oneByOne has the transactions that choose follow each other, so that two
// workers never count the same builds. SQLite has but one writer anyway. A
// worker that freezes in between loses its connection, and the lock with it.
func (s *Service) oneByOne(tx *gorm.DB) error {
	if s.DB.Pool == nil {
		return nil
	}
	if err := tx.Exec("SET LOCAL idle_in_transaction_session_timeout = '10s'").Error; err != nil {
		return fmt.Errorf("waiting to choose a build: %w", err)
	}
	if err := tx.Exec("SELECT pg_advisory_xact_lock(?)", queueLock).Error; err != nil {
		return fmt.Errorf("waiting to choose a build: %w", err)
	}
	return nil
}

// choose returns the id of the build that this worker should carry, empty where none waits.
func (s *Service) choose(l *line) (string, error) {
	self := l.worker(s.Jobs.WorkerID())
	if self == nil {
		return "", jobs.Later(leastPause) // it was silent, and will say in a moment that it lives
	}
	if !self.Draining {
		if id := l.orphan(self); id != "" {
			return id, nil
		}
		if b := l.next(self); b != nil {
			return b.ID, nil
		}
	}
	if l.total == 0 && len(l.lost) == 0 {
		return "", nil
	}
	return "", jobs.Later(pause(l.total))
}

// pause is how long a turn is put off, so that of all of them together one comes every turnEvery.
func pause(waiting int64) time.Duration {
	mean := longestPause
	if waiting < int64(longestPause/turnEvery) {
		mean = max(time.Duration(waiting)*turnEvery, leastPause)
	}
	return mean/2 + rand.N(mean)
}

// claim takes the build with the id for this worker and begins it. Where it
// can't be had the job looks again after the pause.
func (s *Service) claim(ctx context.Context, tx *gorm.DB, id string, pause time.Duration) (*models.Build, error) {
	open := tx.Where("state IN ?", []models.BuildState{models.BuildQueued, models.BuildRunning})
	ok, err := s.Jobs.Claim(ctx, open, &models.Build{}, id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, jobs.Later(pause) // it was canceled in this moment, or somebody follows it
	}
	var b models.Build
	if err := tx.Preload("App.Team").Preload("App.Repository").Where("id = ?", id).Take(&b).Error; err != nil {
		return nil, fmt.Errorf("reading the build that was taken: %w", err)
	}
	s.carried.add(id)
	return &b, s.start(ctx, tx, &b)
}

// wake has put-off turns come now, because builds may have become possible, in tx.
func (s *Service) wake(ctx context.Context, tx *gorm.DB, turns int) error {
	return s.Jobs.Wake(ctx, tx, Args{}.Kind(), turns)
}
