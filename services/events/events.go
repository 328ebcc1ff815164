// Package events tells open pages and API clients what changed. An event is a
// row written in the transaction of the change; every process reads the rows
// and hands them to its subscribers, so it does not matter which process changed what.
package events

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	pollEvery = 100 * time.Millisecond
	// overlap is how far back each poll looks again, for a transaction may
	// commit after one that began later. Now and then a poll looks further back,
	// for those that took very long.
	overlap     = 2 * time.Second
	deepEvery   = 2 * time.Second
	deepOverlap = 20 * time.Second
	keep        = 24 * time.Hour
)

// Publish writes the event in tx.
func Publish(tx *gorm.DB, e models.Event) error {
	e.ID = models.NewID()
	if err := tx.Create(&e).Error; err != nil {
		return fmt.Errorf("publishing %s: %w", e.Kind, err)
	}
	return nil
}

// Service hands events to subscribers while Run runs.
type Service struct {
	DB *gorm.DB

	mu    sync.Mutex
	subs  map[chan models.Event]struct{}
	since time.Time // when the first of subs came; earlier events concern nobody
}

// Subscribe returns a channel of all events from now on, until ctx ends. A
// subscriber that does not keep up loses events rather than delaying others:
// events are hints to look again, not the data itself.
func (s *Service) Subscribe(ctx context.Context) <-chan models.Event {
	ch := make(chan models.Event, 256)
	s.mu.Lock()
	if len(s.subs) == 0 {
		s.subs, s.since = map[chan models.Event]struct{}{}, time.Now()
	}
	s.subs[ch] = struct{}{}
	s.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, ch)
		close(ch)
	})
	return ch
}

// Since returns the events after the id that the principal may see, oldest first, at most limit.
func (s *Service) Since(ctx context.Context, id string, limit int) ([]models.Event, error) {
	var rows []models.Event
	err := s.DB.WithContext(ctx).Where("id > ?", id).Order("id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	visible := rows[:0]
	for _, e := range rows {
		if Visible(models.PrincipalFrom(ctx), e) {
			visible = append(visible, e)
		}
	}
	return visible, nil
}

// Visible tells whether the principal may see the event.
func Visible(p *models.Principal, e models.Event) bool {
	if p == nil || !p.HasScope(models.ScopeRead) {
		return false
	}
	return p.Admin || (e.TeamID != "" && p.RoleIn(e.TeamID) != "")
}

// Run reads new events and hands them out until ctx ends.
func (s *Service) Run(ctx context.Context) {
	r := &reader{Service: s, seen: map[string]time.Time{}}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			since, wanted := s.wanted()
			if !wanted {
				continue
			}
			if err := r.poll(ctx, since); err != nil && ctx.Err() == nil {
				slog.WarnContext(ctx, "reading events", "error", err)
			}
		}
	}
}

func (s *Service) wanted() (since time.Time, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, len(s.subs) > 0
}

// reader is how far Run has come.
type reader struct {
	*Service
	seen   map[string]time.Time // what was handed out, and when
	polled time.Time            // when the last poll began that went well
	deep   time.Time            // when the last one began that looked far back
}

// poll hands out what is new. It looks back from the last poll that went well,
// however long ago that was: a process that got no time for a while misses nothing.
func (r *reader) poll(ctx context.Context, since time.Time) error {
	now := time.Now()
	from, deep := r.polled.Add(-overlap), now.Sub(r.deep) >= deepEvery
	if deep {
		from = r.polled.Add(-deepOverlap)
	}
	if from.Before(since) {
		from = since
	}
	var rows []models.Event
	if err := r.DB.WithContext(ctx).Where("id > ?", firstID(from)).Order("id").Find(&rows).Error; err != nil {
		return err
	}
	for _, e := range rows {
		if _, ok := r.seen[e.ID]; !ok {
			r.hand(e)
		}
		r.seen[e.ID] = now
	}
	for id, at := range r.seen { // what the last far look did not find no look finds again
		if at.Before(r.deep) {
			delete(r.seen, id)
		}
	}
	if r.polled = now; deep {
		r.deep = now
	}
	return nil
}

func (s *Service) hand(e models.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.subs {
		select {
		case ch <- e:
		default:
		}
	}
}

// Prune deletes events that are too old for anyone to resume from.
func (s *Service) Prune(ctx context.Context) error {
	return s.DB.WithContext(ctx).Where("created_at < ?", time.Now().UTC().Add(-keep)).Delete(&models.Event{}).Error
}

// firstID is the lowest UUIDv7 of the millisecond (RFC 9562 §5.7).
func firstID(t time.Time) string {
	ms := t.UnixMilli()
	return fmt.Sprintf("%08x-%04x-7000-8000-000000000000", ms>>16, ms&0xffff)
}
