package actions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// StepGitHub is the step that is open while GitHub does not answer.
const StepGitHub = "github"

const maxPause = time.Minute

// ask makes a call until it succeeds or fails for good. While GitHub is down or
// asks for patience, the build says so and waits.
func (f *following) ask(ctx context.Context, call func(ctx context.Context) error) error {
	pause := f.every()
	waited := false
	for {
		err := f.once(ctx, call)
		why, until := patience(err)
		if why == "" {
			if waited {
				f.change(StepGitHub, f.names[StepGitHub], "", models.StepSucceeded, time.Now(), "")
			}
			return err
		}
		waited = true
		if f.steps[StepGitHub] != models.StepRunning {
			f.change(StepGitHub, why+" The build goes on by itself as soon as it does; the run at GitHub is not disturbed.", "", models.StepRunning, time.Now(), "")
		}
		wait := pause
		if left := time.Until(until); left > wait {
			wait = left
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

func (f *following) once(ctx context.Context, call func(ctx context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	err := call(within)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// patience says why a call may succeed later and, where GitHub said so, when;
// it is empty for success and for failures that stay.
func patience(err error) (why string, until time.Time) {
	var rate *github.RateLimitError
	var abuse *github.AbuseRateLimitError
	var answered *github.ErrorResponse
	var told *models.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.As(err, &told):
		return "", until
	case errors.As(err, &rate):
		return fmt.Sprintf("GitHub's limit of calls is used up until %s; Slipway asks again then.", rate.Rate.Reset.UTC().Format("15:04:05 UTC")), rate.Rate.Reset.Time
	case errors.As(err, &abuse):
		if abuse.RetryAfter != nil {
			until = time.Now().Add(*abuse.RetryAfter)
		}
		return "GitHub asks for fewer calls; Slipway waits until it answers again.", until
	case errors.As(err, &answered):
		if answered.Response != nil && (answered.Response.StatusCode >= 500 || answered.Response.StatusCode == http.StatusTooManyRequests) {
			return fmt.Sprintf("GitHub does not answer (HTTP %d); Slipway waits until it does.", answered.Response.StatusCode), until
		}
		return "", until
	}
	return "GitHub can't be reached; Slipway waits until it can.", until
}

// sleep waits, and returns why ctx ended where it did.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// pause waits until it is time to look again: when a webhook or a report left
// word, or when the time between two looks is over.
func (f *following) pause(ctx context.Context) error {
	end := time.Now().Add(f.every())
	nudged, reported := f.row.NudgedAt, f.row.ReportedAt
	for time.Now().Before(end) {
		if err := sleep(ctx, min(lookEvery, time.Until(end))); err != nil {
			return err
		}
		if err := f.reload(ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue // the database does not answer; the lease says how long that may last
		}
		if later(f.row.NudgedAt, nudged) || later(f.row.ReportedAt, reported) {
			return nil
		}
	}
	return nil
}

func later(now, then *time.Time) bool { return now != nil && (then == nil || now.After(*then)) }

// cached is an answer with the tag that lets GitHub say that it did not
// change, which does not count against the limit of calls.
type cached[T any] struct {
	tag   string
	value T
}

// get asks for the path, conditionally where it was asked before.
func (c *cached[T]) get(ctx context.Context, client *github.Client, path string) error {
	req, err := client.NewRequest(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if c.tag != "" {
		req.Header.Set("If-None-Match", c.tag)
	}
	var fresh T
	res, err := client.Do(req, &fresh)
	if res != nil && res.StatusCode == http.StatusNotModified {
		return nil
	}
	if err != nil {
		return err
	}
	c.tag, c.value = res.Header.Get("ETag"), fresh
	return nil
}

// refused turns an answer that stays into words for people.
func refused(err error, doing, remedy string) error {
	var answered *github.ErrorResponse
	if !errors.As(err, &answered) || answered.Response == nil {
		return err
	}
	class := builds.ClassInfrastructure
	text := fmt.Sprintf("GitHub does not let Slipway %s (HTTP %d). %s", doing, answered.Response.StatusCode, remedy)
	if answered.Response.StatusCode == http.StatusUnauthorized {
		text = "GitHub refuses the credential of the repository's connection. Renew it, then retry the build."
	}
	return builds.Failure(class, text, err)
}
