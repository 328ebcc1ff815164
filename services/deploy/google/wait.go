package google

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"google.golang.org/api/run/v2"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/googlelogin"
)

// askTime bounds one request to the app from outside.
const askTime = 5 * time.Second

// waiting is one Wait.
type waiting struct {
	*target
	a        *api
	r        deploy.Release
	service  string
	revision string
	story    *deploy.Transcript
	say      func(string)

	log   listener
	heard map[string]bool // of the system's log entries, by their ids
	end   ending
}

// ending is what Cloud Run's own log says of how an instance ended.
type ending struct {
	code   *int
	signal int
	memory string // how much it took, in Cloud Run's words
	probe  string // what the startup probe came to
}

func (e ending) known() bool {
	return e.code != nil || e.signal != 0 || e.memory != "" || e.probe != ""
}

// Wait looks at the release's revision until it is ready, which it is once an
// instance has passed the startup probe, and asks the app at its tag's address
// where that can be reached.
func (t *target) Wait(ctx context.Context, r deploy.Release, say func(string)) ([]deploy.Instance, error) {
	a, err := t.as(r.Subject())
	if err != nil {
		return nil, err
	}
	story := deploy.NewTranscript(say)
	defer story.Flush()
	service := serviceOf(r)
	w := &waiting{target: t, a: a, r: r, service: service, revision: revisionOf(service, r.ID), story: story, say: say, log: listener{every: t.pace.listen}, heard: map[string]bool{}}
	for {
		healthy, err := w.look(ctx)
		if ctx.Err() != nil {
			return nil, w.tooLate(ctx)
		}
		if err != nil || healthy != nil {
			return healthy, err
		}
		if deploy.WaitFor(ctx, t.pace.look) != nil {
			return nil, w.tooLate(ctx)
		}
	}
}

// look is one look: the instances when they are healthy, nothing when not yet, an error when never.
func (w *waiting) look(ctx context.Context) ([]deploy.Instance, error) {
	r, err := w.a.Projects.Locations.Services.Revisions.Get(w.path(w.service) + "/revisions/" + w.revision).Context(ctx).Do()
	if isGone(err) {
		return nil, w.unmade(ctx)
	}
	if err != nil {
		return nil, w.explain(ctx, deploy.StageTarget, err, "revision "+w.revision)
	}
	c := condition(r.Conditions, "Ready")
	switch {
	case c != nil && c.State == succeeded:
		return w.answers(ctx, r)
	case c != nil && c.State == failed:
		return nil, w.failure(ctx, c)
	}
	w.listen(ctx, false)
	if w.story.Answer() == "" || w.end.probe == "" {
		w.story.Add("revision "+w.revision, "not ready yet")
	}
	return nil, nil
}

// unmade looks why there is no revision yet.
func (w *waiting) unmade(ctx context.Context) error {
	s, err := w.a.Projects.Locations.Services.Get(w.path(w.service)).Context(ctx).Do()
	switch {
	case err != nil && !isGone(err):
		return w.explain(ctx, deploy.StageTarget, err, "service "+w.service)
	case err != nil || entryOf(s, w.r.ID) == nil:
		return deploy.Failf(deploy.StageStart, nil, "Somebody removed the revision %s while it started. Deploy again.", w.revision)
	}
	if c := s.TerminalCondition; c != nil && c.State == failed && s.ObservedGeneration == s.Generation && s.Template.Revision == w.revision {
		return w.failure(ctx, c)
	}
	w.story.Add("revision "+w.revision, "not made yet")
	return nil
}

// answers asks the app itself, at the revision's own address, where that is possible.
func (w *waiting) answers(ctx context.Context, r *run.GoogleCloudRunV2Revision) ([]deploy.Instance, error) {
	s, err := w.a.Projects.Locations.Services.Get(w.path(w.service)).Context(ctx).Do()
	if err != nil {
		return nil, w.explain(ctx, deploy.StageTarget, err, "service "+w.service)
	}
	e := entryOf(s, w.r.ID)
	if e == nil {
		return nil, deploy.Failf(deploy.StageStart, nil, "Somebody took the revision %s out of the service's traffic. Deploy again.", w.revision)
	}
	uri := uriOf(s, e.Tag)
	if uri == "" {
		w.story.Add("tag "+e.Tag, "no address yet")
		return nil, nil
	}
	inside, _ := w.asked()
	w.story.Add(inside, "passed, says Cloud Run")
	if w.r.Health == models.HealthTCP || !w.settings.reachable() {
		return instances(s, e, r), nil
	}
	if strings.HasSuffix(w.r.HealthPath, "z") { // https://cloud.google.com/run/docs/known-issues#ah
		w.story.Add("GET "+uri+w.r.HealthPath, "not asked: Google keeps paths that end in z for itself")
		return instances(s, e, r), nil
	}
	answer, healthy := w.ask(ctx, uri+w.r.HealthPath)
	w.story.Add("GET "+uri+w.r.HealthPath, answer)
	if !healthy {
		return nil, nil
	}
	return instances(s, e, r), nil
}

// asked names the startup probe, and the answer that it wants.
func (w *waiting) asked() (asked, wanted string) {
	if w.r.Health == models.HealthTCP {
		return fmt.Sprintf("TCP port %d", w.r.Port), fmt.Sprintf("nothing listens on port %d", w.r.Port)
	}
	return fmt.Sprintf("GET :%d%s", w.r.Port, w.r.HealthPath), fmt.Sprintf("GET %s on port %d never answered with a status from 200 to 399", w.r.HealthPath, w.r.Port)
}

// ask asks once. A redirect is an answer.
func (w *waiting) ask(ctx context.Context, url string) (answer string, healthy bool) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "the path is not valid", false
	}
	req.Header.Set("User-Agent", "Slipway-Health")
	client := &http.Client{Transport: w.base, CheckRedirect: googlelogin.Stay}
	res, err := client.Do(req)
	if err != nil {
		return "no answer", false
	}
	drop(res)
	answer = fmt.Sprintf("HTTP %d", res.StatusCode)
	if res.StatusCode == http.StatusForbidden {
		answer += ", as for visitors whom Google does not let in"
	}
	return answer, res.StatusCode >= 200 && res.StatusCode < 400
}

// tooLate explains why the release was not healthy when ctx ended.
func (w *waiting) tooLate(ctx context.Context) error {
	if ctx.Err() != context.DeadlineExceeded {
		return context.Cause(ctx)
	}
	last := w.story.Answer()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	w.listen(ctx, true)
	_, wanted := w.asked()
	f := deploy.Failf(deploy.StageHealth, context.DeadlineExceeded, "The app did not become healthy in time: %s.", wanted)
	if last != "" && w.end.probe == "" && strings.HasPrefix(last, "HTTP") {
		f.Message = fmt.Sprintf("The app did not become healthy in time: asked from outside for %s it answered %s.", w.r.HealthPath, last)
	}
	f.Logs = w.lastLines(ctx, w.a, w.ofRelease(w.r.ID))
	return f
}
