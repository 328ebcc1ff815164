package google

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/api/logging/v2"
	"slipway.dev/services/deploy"
)

const (
	lateness  = 30 * time.Second // that a line may arrive in Cloud Logging after younger ones
	lookWhole = 10               // questions for lines between two whether the releases are still there
)

// feed asks Cloud Logging for new lines of all releases that somebody follows in
// one question, because a project may ask 60 times a minute. It asks while there are followers.
type feed struct {
	mu        sync.Mutex
	followers map[*follower]bool
	stop      context.CancelFunc
}

// follower is one reader of a release's new lines.
type follower struct {
	release string
	woken   chan struct{} // something is there for it

	queue []*logging.LogEntry
	err   error
	gone  bool // the release is
}

// follow begins to ask for the release's lines.
func (t *target) follow(a *api, release string) *follower {
	f := &follower{release: release, woken: make(chan struct{}, 1)}
	t.feed.mu.Lock()
	defer t.feed.mu.Unlock()
	if t.feed.followers == nil {
		t.feed.followers = map[*follower]bool{}
	}
	if t.feed.followers[f] = true; t.feed.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		t.feed.stop = stop
		go t.ask(ctx, a, time.Now())
	}
	return f
}

// leaveFeed ends the follower; after the last one nothing is asked any more.
func (t *target) leaveFeed(f *follower) {
	t.feed.mu.Lock()
	defer t.feed.mu.Unlock()
	if delete(t.feed.followers, f); len(t.feed.followers) == 0 {
		t.feed.stop()
		t.feed.stop = nil
	}
}

// take returns what is there for the follower.
func (t *target) take(f *follower) (all []*logging.LogEntry, gone bool, err error) {
	t.feed.mu.Lock()
	defer t.feed.mu.Unlock()
	all, f.queue = f.queue, nil
	return all, f.gone, f.err
}

// ask asks until ctx ends. A question that had no answer is asked again, with the
// time that it was about; that the account may not ask is the followers' to know.
func (t *target) ask(ctx context.Context, a *api, since time.Time) {
	for n := 1; deploy.WaitFor(ctx, t.pace.follow) == nil; n++ {
		began := time.Now()
		found, err := t.entries(ctx, a, t.ofReleases(t.followed())+" AND "+t.printed()+` AND timestamp>="`+since.Add(-lateness).UTC().Format(time.RFC3339Nano)+`"`, oldestFirst, 0)
		if f := new(deploy.Failure); errors.As(err, &f) && f.Stage == deploy.StageTarget && ctx.Err() == nil {
			t.give(func(to *follower) { to.err = err })
		}
		if err != nil {
			continue
		}
		since = began
		for _, e := range found {
			if e.Resource == nil {
				continue
			}
			name := e.Resource.Labels["revision_name"]
			t.give(func(to *follower) {
				if strings.HasSuffix(name, "-"+short(to.release)) {
					to.queue = append(to.queue, e)
				}
			})
		}
		if n%lookWhole == 0 {
			t.look(ctx, a)
		}
	}
}

// look tells followers whose release is gone.
func (t *target) look(ctx context.Context, a *api) {
	all, err := t.services(ctx, a)
	if err != nil {
		return // it is looked again
	}
	t.give(func(to *follower) {
		for _, s := range all {
			if entryOf(s, to.release) != nil {
				return
			}
		}
		to.gone = true
	})
}

// give changes what is there for each follower, and wakes those that have something.
func (t *target) give(change func(*follower)) {
	t.feed.mu.Lock()
	defer t.feed.mu.Unlock()
	for f := range t.feed.followers {
		change(f)
		if len(f.queue) == 0 && !f.gone && f.err == nil {
			continue
		}
		select {
		case f.woken <- struct{}{}:
		default:
		}
	}
}

// followed are the releases that somebody follows.
func (t *target) followed() (out []string) {
	t.feed.mu.Lock()
	defer t.feed.mu.Unlock()
	for f := range t.feed.followers {
		out = append(out, f.release)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
