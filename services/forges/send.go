package forges

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
)

const (
	sendEvery = time.Second
	// lease keeps other workers from a report while it is being sent. It is longer than a call and the one before it for
	// a token may take, so that two calls about one report never cross.
	lease   = time.Minute
	atOnce  = 4   // reports that a worker sends side by side
	ofALook = 100 // reports that one look sends

	firstPause = 10 * time.Second
	maxPause   = 30 * time.Minute
	maxHold    = time.Minute    // how long one failure keeps the connection's other reports back
	maxAge     = 24 * time.Hour // how long a forge that is down is tried
	maxRefused = 3              // how often what won't pass by itself is tried
)

var errLate = errors.New("what the forge is to be told has changed")

// Register has the workers of the queue send what forges are to be told.
func (s *Service) Register(q *jobs.Queue) {
	q.Every(sendEvery, "telling forges about builds", s.SendDue)
	q.Every(sendEvery, "writing comments on pull requests", s.SendComments)
	q.Every(time.Hour, "forgetting old comments", s.PruneComments)
}

// SendDue sends every report that is due. Every worker runs it regularly. What goes wrong is written down with the
// report and tried again later; it is no error of SendDue.
func (s *Service) SendDue(ctx context.Context) error {
	ctx = models.WithPrincipal(ctx, models.System("forges"))
	now := s.now()
	held := s.DB.Model(&models.ForgeReport{}).Select("connection_id").Where("held_until > ?", now)
	var due []models.ForgeReport
	err := s.DB.WithContext(ctx).Where("next_at <= ? AND (leased_until IS NULL OR leased_until <= ?) AND connection_id NOT IN (?)", now, now, held).
		Order("next_at").Limit(ofALook).Find(&due).Error
	if err != nil {
		return fmt.Errorf("looking for what forges are to be told: %w", err)
	}
	look := newLook()
	for i := range due {
		look.send("build "+due[i].BuildID, due[i].ConnectionID, func() (bool, error) { return s.deliver(ctx, &due[i]) })
	}
	return look.wait()
}

// look is one round of sending, a few things side by side. It leaves the rest of a connection alone once one of them failed.
type look struct {
	running sync.WaitGroup
	slots   chan struct{}
	mu      sync.Mutex
	down    map[string]bool // by connection
	faults  []error
}

func newLook() *look { return &look{slots: make(chan struct{}, atOnce), down: map[string]bool{}} }

// send has the thing told of as soon as there is a slot. It tells whether the forge is down or asks to be left alone.
func (l *look) send(thing, connectionID string, deliver func() (down bool, err error)) {
	l.slots <- struct{}{}
	l.running.Go(func() {
		defer func() { <-l.slots }()
		l.mu.Lock()
		down := l.down[connectionID]
		l.mu.Unlock()
		if down {
			return
		}
		passes, err := deliver()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.down[connectionID] = l.down[connectionID] || passes
		if err != nil {
			l.faults = append(l.faults, fmt.Errorf("telling a forge about %s: %w", thing, err))
		}
	})
}

func (l *look) wait() error {
	l.running.Wait()
	return errors.Join(l.faults...)
}

// deliver sends one report: reserve it, call the forge, write down what came of it. down tells that the forge is down
// or asks to be left alone.
func (s *Service) deliver(ctx context.Context, r *models.ForgeReport) (down bool, err error) {
	if mine, err := s.reserve(ctx, r); err != nil || !mine {
		return false, err
	}
	o, err := s.Open(ctx, r.ConnectionID)
	if err == nil {
		call, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		var sent string
		if sent, err = s.tell(call, o, r); err == nil {
			return false, s.told(ctx, r, sent)
		}
	}
	if ctx.Err() != nil {
		return false, nil // this worker stops; another one sends it once the lease is over
	}
	p := s.problemOf(o, thingStatuses, err)
	slog.DebugContext(ctx, "a forge could not be told about a build", "build", r.BuildID, "connection", r.ConnectionID, "reason", p.message)
	return p.passes, s.postpone(ctx, o, r, p)
}

func (s *Service) reserve(ctx context.Context, r *models.ForgeReport) (mine bool, err error) {
	now := s.now()
	row := s.DB.WithContext(ctx).Model(&models.ForgeReport{}).
		Where("id = ? AND version = ? AND next_at <= ? AND (leased_until IS NULL OR leased_until <= ?)", r.ID, r.Version, now, now).UpdateColumn("leased_until", now.Add(lease))
	return row.RowsAffected == 1, row.Error
}

// told writes down that the forge knows.
func (s *Service) told(ctx context.Context, r *models.ForgeReport, sent string) error {
	now := s.now()
	return s.settle(ctx, r, map[string]any{"sent": sent, "sent_at": now, "next_at": nil, "held_until": nil, "error": "", "attempts": 0, "updated_at": now})
}

// postpone writes down why the forge could not be told, and when it is tried again.
func (s *Service) postpone(ctx context.Context, o Opened, r *models.ForgeReport, p problem) error {
	return s.settle(ctx, r, s.later(o, r.Attempts, r.Since, p))
}

// later is when something is tried again that could not be told, for it failed once more after so many attempts: soon
// at first, then more and more seldom for a day; only a few times where nothing will change by itself.
func (s *Service) later(o Opened, attempts int, since time.Time, p problem) map[string]any {
	if p.refused {
		s.forgetToken(o)
	}
	now := s.now()
	pause := max(backoff(attempts), p.pause)
	next := now.Add(pause)
	change := map[string]any{"attempts": attempts + 1, "error": p.message, "next_at": next, "updated_at": now}
	switch {
	case p.passes && next.Sub(since) > maxAge:
		change["next_at"], change["error"] = nil, p.message+" Slipway tried for a day."
	case p.limited:
		change["held_until"] = next
	case p.passes:
		change["held_until"] = now.Add(min(pause, maxHold))
	case attempts+1 >= maxRefused:
		change["next_at"] = nil
	}
	return change
}

// backoff is the pause after so many failures before: doubling, and never the same for two reports.
func backoff(failures int) time.Duration {
	pause := min(firstPause<<min(failures, 16), maxPause)
	return time.Duration(float64(pause) * (0.75 + rand.Float64()/2))
}

// settle ends the work on the report and tells open pages. Where another state came up meanwhile, that one is still to be sent: only
// what is known of the forge and of the credential is kept.
func (s *Service) settle(ctx context.Context, r *models.ForgeReport, change map[string]any) error {
	change["leased_until"] = nil
	err := s.DB.WithContext(context.WithoutCancel(ctx)).Transaction(func(tx *gorm.DB) error {
		row := tx.Model(&models.ForgeReport{}).Where("id = ? AND version = ?", r.ID, r.Version).UpdateColumns(change)
		if row.Error != nil {
			return row.Error
		}
		if row.RowsAffected == 0 {
			return errLate
		}
		return events.Publish(tx, models.Event{TeamID: r.TeamID, Kind: "build.reported", Topic: "build:" + r.BuildID, Parent: "app:" + r.AppID})
	})
	if !errors.Is(err, errLate) {
		return err
	}
	late := map[string]any{"leased_until": nil}
	if held, ok := change["held_until"]; ok {
		late["held_until"] = held
	}
	return s.DB.WithContext(context.WithoutCancel(ctx)).Model(&models.ForgeReport{}).Where("id = ?", r.ID).UpdateColumns(late).Error
}
