package observe

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const (
	againAfter = time.Second      // between two attempts to listen
	awayAfter  = 15 * time.Second // the longest pause while the target is away
	lastWords  = 30 * time.Second // at most, for what instances said at their end, once they are gone; their log ends by itself
	heardTime  = 5 * time.Second  // how long the removal of instances waits for their last lines
	heardEvery = 100 * time.Millisecond
)

// listener follows the instances of one release.
type listener struct {
	cancel context.CancelFunc
	done   chan struct{}
	over   atomic.Bool // the instances are gone: what is left of their log is read, and no more
}

func (l *listener) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// finish gives the listener a moment to hear the rest.
func (l *listener) finish() {
	if l.over.CompareAndSwap(false, true) {
		time.AfterFunc(lastWords, l.cancel)
	}
}

func (k *keeper) listen(ctx context.Context, r release) *listener {
	ctx, cancel := context.WithCancel(ctx)
	l := &listener{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		defer cancel()
		wait := againAfter
		for ctx.Err() == nil && !l.over.Load() {
			err := k.hear(ctx, r)
			switch {
			case lost(err):
				return // the keeper ends too
			case err == nil:
				wait = againAfter // not there yet, or between two runs
			case ctx.Err() == nil:
				slog.DebugContext(ctx, "an instance's log can't be read just now", "deployment", r.ID, "error", err)
				wait = min(2*wait, awayAfter)
			}
			if pause(ctx, wait) != nil {
				return
			}
		}
	}()
	return l
}

// hear stores what the release's instances print after the last line that is
// known of each, until they end or can't be heard.
func (k *keeper) hear(ctx context.Context, r release) error {
	target, err := k.Deploy.OpenTarget(ctx, r.TargetID)
	if err != nil {
		return err
	}
	if err := k.Deploy.HideSecrets(ctx, r.ID, k.mask); err != nil {
		return err // what can't be masked is not stored
	}
	known, after := k.known(r)
	for line, err := range target.Logs(ctx, r.ID, deploy.LogOptions{After: after, Follow: true}) {
		if err != nil {
			return err
		}
		if line.At.UnixNano() <= known[line.Replica] {
			continue
		}
		if err := k.take(ctx, r, line); err != nil {
			return err
		}
	}
	return nil
}

// known returns the time of the last line of each of the release's instances,
// and the time after which there may be lines that are not known.
func (k *keeper) known(r release) (map[int]int64, time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.segment.names(r)
	known := map[int]int64{}
	first := int64(0)
	for replica, at := range k.heard[r.ID] {
		known[replica] = at
		if first == 0 || at < first {
			first = at
		}
	}
	if len(known) < r.Instances || first == 0 {
		return known, time.Time{}
	}
	return known, time.Unix(0, first).UTC()
}

// Heard waits until the last line that the deployment's instances have printed
// is kept, for some seconds at most: they are about to be removed, and their log with them.
func (s *Service) Heard(ctx context.Context, d *models.Deployment) {
	ctx, cancel := context.WithTimeout(ctx, heardTime)
	defer cancel()
	replica, last := s.lastLine(ctx, d)
	if last.IsZero() {
		return
	}
	for {
		var row models.PlaceLog
		err := s.DB.WithContext(ctx).Select("cursors").Where("environment_id = ? AND app_id = ?", d.EnvironmentID, d.AppID).Limit(1).Find(&row).Error
		if err == nil && row.Cursors[d.ID][replica] >= last.UnixNano() {
			return
		}
		if pause(ctx, heardEvery) != nil {
			return
		}
	}
}

// lastLine returns when and by which replica the deployment's last line was printed; zero where there is none.
func (s *Service) lastLine(ctx context.Context, d *models.Deployment) (replica int, at time.Time) {
	target, err := s.Deploy.OpenTarget(ctx, d.Environment.TargetID)
	if err != nil {
		return 0, time.Time{}
	}
	for line, err := range target.Logs(ctx, d.ID, deploy.LogOptions{Tail: 1}) {
		if err != nil {
			return 0, time.Time{}
		}
		replica, at = line.Replica, line.At
	}
	return replica, at
}
