package observe

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"strconv"
	"sync"
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
	newest string      // of the instances that are listened to

	mu      sync.Mutex
	hearing context.CancelFunc // of what is read now
}

// again has it listen to the instances that there are now: others may have come, and those that were there go on.
func (l *listener) again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hearing != nil {
		l.hearing()
	}
}

// reads tells what is read from now on; until it has ended again can end it.
func (l *listener) reads(ctx context.Context) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, l.hearing = context.WithCancel(ctx)
	return ctx, l.hearing
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
	l := &listener{cancel: cancel, done: make(chan struct{}), newest: r.Newest}
	go func() {
		defer close(l.done)
		defer cancel()
		wait := againAfter
		for ctx.Err() == nil && !l.over.Load() {
			reading, stop := l.reads(ctx)
			err := k.hear(ctx, reading, r)
			anew := reading.Err() != nil && ctx.Err() == nil
			stop()
			switch {
			case anew && !lost(err):
				continue
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
// known of each, until they end, can't be heard, or reading ends.
func (k *keeper) hear(ctx, reading context.Context, r release) error {
	target, err := k.Deploy.OpenTarget(ctx, r.TargetID)
	if err != nil {
		return err
	}
	if err := k.Deploy.HideSecrets(ctx, r.ID, k.mask); err != nil {
		return err // what can't be masked is not stored
	}
	known, o, err := k.known(ctx, r)
	if err != nil {
		return err
	}
	for line, err := range target.Logs(reading, r.ID, o) {
		if err != nil {
			return err
		}
		if line.At.UnixNano() <= max(known[keyOf(line)], known[strconv.Itoa(line.Replica)]) {
			continue
		}
		if err := k.take(ctx, r, line); err != nil {
			return err
		}
	}
	return nil
}

// known returns the times of the last lines that are known, and what is to be asked for beyond them.
func (k *keeper) known(ctx context.Context, r release) (map[string]int64, deploy.LogOptions, error) {
	var ids []string
	err := k.DB.WithContext(ctx).Model(&models.Instance{}).Where("deployment_id = ?", r.ID).Pluck("runtime_id", &ids).Error
	if err != nil {
		return nil, deploy.LogOptions{}, fmt.Errorf("looking for a deployment's instances: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.segment.names(r)
	there := map[string]bool{}
	for _, id := range ids {
		there[id] = true
	}
	k.there[r.ID] = there
	known, o := maps.Clone(k.heard[r.ID]), deploy.LogOptions{AfterOf: map[string]time.Time{}, Follow: true}
	replicas, first := 0, int64(math.MaxInt64)
	for key, at := range known {
		if numbered(key) {
			replicas, first = replicas+1, min(first, at)
		} else {
			o.AfterOf[key] = time.Unix(0, at).UTC()
		}
	}
	if len(o.AfterOf) == 0 && replicas > 0 && replicas >= r.Instances {
		o.After = time.Unix(0, first).UTC()
	}
	return known, o, nil
}

// Heard waits until the last line that the deployment's instances have printed
// is kept, for some seconds at most: they are about to be removed, and their log with them.
func (s *Service) Heard(ctx context.Context, d *models.Deployment) {
	ctx, cancel := context.WithTimeout(ctx, heardTime)
	defer cancel()
	last := s.lastLine(ctx, d)
	if last.At.IsZero() {
		return
	}
	for {
		var row models.PlaceLog
		err := s.DB.WithContext(ctx).Select("cursors").Where("environment_id = ? AND app_id = ?", d.EnvironmentID, d.AppID).Limit(1).Find(&row).Error
		if err == nil && row.Cursors[d.ID][keyOf(last)] >= last.At.UnixNano() {
			return
		}
		if pause(ctx, heardEvery) != nil {
			return
		}
	}
}

// lastLine returns the deployment's last line; one without a time where there is none.
func (s *Service) lastLine(ctx context.Context, d *models.Deployment) (last deploy.LogLine) {
	target, err := s.Deploy.OpenTarget(ctx, d.Environment.TargetID)
	if err != nil {
		return last
	}
	for line, err := range target.Logs(ctx, d.ID, deploy.LogOptions{Tail: 1}) {
		if err != nil {
			return deploy.LogLine{}
		}
		last = line
	}
	return last
}
