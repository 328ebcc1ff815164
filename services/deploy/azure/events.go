package azure

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// maxEvents is how many events of an app or job are asked for at once.
const maxEvents = 100

// systemEvent is one line of the system log (https://learn.microsoft.com/azure/container-apps/logging#system-logs).
type systemEvent struct {
	TimeStamp    string
	Type         string // Normal or Warning
	RevisionName string
	ReplicaName  string
	Msg          string
	Reason       string
	Count        int
}

func (e systemEvent) at() time.Time { return parseTime(e.TimeStamp) }

// key names the event, so that it is heard once however often the log is read.
func (e systemEvent) key() string {
	return fmt.Sprintf("%s %s %s %s %d", e.TimeStamp, e.Reason, e.ReplicaName, e.Msg, e.Count)
}

// parseTime reads a time in one of the ways in which Azure's log streams write it; without a zone it is UTC.
func parseTime(text string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999 -0700 MST"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC()
		}
	}
	return time.Time{}
}

// systemEvents reads the last of what Azure says of an app or a job, the oldest first.
func (t *target) systemEvents(ctx context.Context, of place, endpoint string) (all []systemEvent, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	body, err := t.stream(ctx, of, endpoint, maxEvents, false)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	for r := bufio.NewReaderSize(body, maxLine); len(all) < 10*maxEvents; {
		line, more, err := r.ReadLine()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var e systemEvent
		if json.Unmarshal(line, &e) == nil && e.Reason != "StartingGettingEvents" && e.Reason != "ConnectedToEventsServer" {
			all = append(all, e)
		}
		for more && err == nil {
			_, more, err = r.ReadLine()
		}
	}
	return all, nil
}

// listen reads what Azure says of the release's revision: probes go into the
// transcript, what keeps it from starting is kept for when time is up.
//
// How a container ended counts while its replica is there: a revision that rested
// and was woken again has ends in its log that are long past.
func (w *waiting) listen(ctx context.Context, replicas []*aca.Replica) error {
	all, err := w.eventsOf(ctx, w.app, w.r.ID)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		if explained := w.explain(ctx, deploy.StageTarget, err); !passing(err) {
			w.once("Azure's system log can't be read, so that less is known if the release fails: " + explained.Error())
		}
		return nil
	}
	for _, e := range all {
		lives := slices.ContainsFunc(replicas, func(r *aca.Replica) bool { return value(r.Name) == e.ReplicaName })
		if w.told[e.key()] || !lives && exitWords.MatchString(e.Msg) {
			continue
		}
		w.told[e.key()] = true
		if err := w.hear(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// eventsOf returns what Azure says of a release's revision.
func (t *target) eventsOf(ctx context.Context, name, release string) ([]systemEvent, error) {
	app, err := t.app(ctx, name)
	if err != nil {
		return nil, err
	}
	endpoint := value(app.Properties.EventStreamEndpoint)
	if endpoint == "" {
		return nil, nil
	}
	all, err := t.systemEvents(ctx, place{apps, name}, endpoint)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(e systemEvent) bool { return e.RevisionName != revisionOf(name, release) }), nil
}

// hear takes one event.
func (w *waiting) hear(ctx context.Context, e systemEvent) error {
	text := deploy.Plain(e.Msg)
	if code, known, reason, ok := exit(text); ok {
		return w.crashed(ctx, code, known, reason)
	}
	switch {
	case e.Reason == "PullingImage":
		w.story.Add("image", "Azure pulls it")
		w.pulling[e.ReplicaName] = true
	case e.Reason == "PulledImage", e.Reason == "ImagePulled":
		delete(w.pulling, e.ReplicaName)
	case imageTrouble(text), imageTrouble(e.Reason):
		return w.unpulled(w.r, text)
	case e.Reason == "ProbeFailed", strings.Contains(strings.ToLower(text), "probe failed"), strings.Contains(text, "failed startup probe"), strings.Contains(text, "failed readiness probe"):
		w.probed = true
		if asked, answered, ok := probed(w.r, text); ok {
			w.story.Add(asked, answered)
		}
	case e.Type == "Warning":
		w.worry("Azure says: %s", azurelogin.Sentence(text))
	}
	return nil
}

// worry keeps what would be the reason if time were up now.
func (w *waiting) worry(format string, args ...any) {
	f := deploy.Failf(deploy.StageStart, nil, format, args...)
	if w.trouble == nil || w.trouble.Message != f.Message {
		w.say(f.Message)
	}
	w.trouble = f
}

// Events returns the last that Azure's system log says of the release.
func (t *target) Events(ctx context.Context, release string) ([]deploy.Event, error) {
	app, err := t.appOf(ctx, release)
	if app == "" || err != nil {
		return []deploy.Event{}, err
	}
	all, err := t.eventsOf(ctx, app, release)
	if missing(err) {
		return []deploy.Event{}, nil
	}
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err)
	}
	out := []deploy.Event{}
	for _, e := range all {
		object := "Revision " + e.RevisionName
		if e.ReplicaName != "" {
			object = "Replica " + e.ReplicaName
		}
		text := deploy.Plain(e.Msg)
		if e.Count > 1 {
			text = fmt.Sprintf("%s (%d times)", strings.TrimRight(text, ". "), e.Count)
		}
		out = append(out, deploy.Event{At: e.at(), Object: object, Text: e.Reason + ": " + text, Warning: e.Type == "Warning"})
	}
	slices.SortStableFunc(out, func(a, b deploy.Event) int { return b.At.Compare(a.At) })
	return out[:min(len(out), maxEvents)], nil
}
