package google

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/api/logging/v2"
	"slipway.dev/services/deploy"
)

// The logs of a revision or a job, by the ends of their names.
const (
	logOut    = "run.googleapis.com%2Fstdout"
	logErr    = "run.googleapis.com%2Fstderr"
	logSystem = "run.googleapis.com%2Fvarlog%2Fsystem"
)

const (
	oldestFirst = "timestamp asc"
	newestFirst = "timestamp desc"

	pageEntries = 1000
	maxEntries  = 20_000   // that one look takes
	keepLines   = 30       // of an app that failed
	maxLine     = 16 << 10 // bytes of one line that are kept
)

// ofRelease is a filter for the entries of the release's revision, whose name ends
// in its id (https://cloud.google.com/logging/docs/view/logging-query-language).
func (t *target) ofRelease(release string) string {
	return t.ofReleases([]string{release})
}

func (t *target) ofReleases(all []string) string {
	var ends []string
	for _, r := range all {
		ends = append(ends, short(r))
	}
	return fmt.Sprintf(`resource.type="cloud_run_revision" AND resource.labels.location="%s" AND resource.labels.revision_name=~"-(%s)$"`, t.settings.region, strings.Join(ends, "|"))
}

// ofJob is a filter for the entries of the job of the release's command.
func (t *target) ofJob(release string) string {
	return fmt.Sprintf(`resource.type="cloud_run_job" AND resource.labels.location="%s" AND resource.labels.job_name="%s"`, t.settings.region, jobOf(release))
}

// logName is a filter for one of the logs.
func (t *target) logName(names ...string) string {
	var parts []string
	for _, n := range names {
		parts = append(parts, fmt.Sprintf(`logName="projects/%s/logs/%s"`, t.settings.Project, n))
	}
	return "(" + strings.Join(parts, " OR ") + ")"
}

// printed is a filter for what apps write.
func (t *target) printed() string { return t.logName(logOut, logErr) }

var errEnough = errors.New("enough entries")

// entries asks Cloud Logging; at most the first so many where most is not 0.
func (t *target) entries(ctx context.Context, a *api, filter, order string, most int) (out []*logging.LogEntry, err error) {
	ask := &logging.ListLogEntriesRequest{ResourceNames: []string{"projects/" + t.settings.Project}, Filter: filter, OrderBy: order, PageSize: pageEntries}
	if most == 0 {
		most = maxEntries
	}
	ask.PageSize = int64(min(most, pageEntries))
	err = a.logs.Entries.List(ask).Pages(ctx, func(p *logging.ListLogEntriesResponse) error {
		if out = append(out, p.Entries...); len(out) >= most {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, t.explain(ctx, deploy.StageTarget, err, "log")
	}
	return out[:min(len(out), most)], nil
}

// line reads an entry.
func line(e *logging.LogEntry) deploy.LogLine {
	at, err := time.Parse(time.RFC3339Nano, e.Timestamp)
	if err != nil {
		at = time.Time{}
	}
	text := e.TextPayload
	if text == "" && len(e.JsonPayload) > 0 { // an app that logs in JSON
		text = string(e.JsonPayload)
		var with struct{ Message string }
		if json.Unmarshal(e.JsonPayload, &with) == nil && with.Message != "" {
			text = with.Message
		}
	}
	text = strings.TrimRight(strings.ToValidUTF8(text[:min(len(text), maxLine)], "�"), "\r\n")
	return deploy.LogLine{At: at.UTC(), Replica: 1, Stderr: strings.HasSuffix(e.LogName, logErr), Text: text}
}

// lastLines returns what was written last.
func (t *target) lastLines(ctx context.Context, a *api, of string) (lines []string) {
	found, err := t.entries(ctx, a, of+" AND "+t.printed(), newestFirst, keepLines)
	if err != nil {
		return nil
	}
	slices.Reverse(found)
	for _, e := range found {
		lines = append(lines, deploy.Plain(line(e).Text))
	}
	return lines
}

// listener reads a log again and again while something is under way. That it
// can't be read ends nothing: it is said once.
type listener struct {
	every time.Duration
	next  time.Time
	told  bool
}

// listen reads, where it is time again or now.
func (l *listener) listen(now bool, say func(string), read func() error) {
	if !now && time.Now().Before(l.next) {
		return
	}
	l.next = time.Now().Add(l.every)
	err := read()
	if f := new(deploy.Failure); errors.As(err, &f) && !l.told {
		l.told = true
		say("What is said in Cloud Logging is not known: " + f.Message)
	}
}

// Logs yields the lines of the release's instances from Cloud Logging, where they
// arrive some seconds after they were written, and are kept after the release has
// gone. Instances have numbers in the order in which their lines come.
func (t *target) Logs(ctx context.Context, release string, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		a, err := t.whole()
		if err != nil {
			yield(deploy.LogLine{}, err)
			return
		}
		r := &reading{target: t, a: a, after: o.After, seen: map[string]time.Time{}, numbers: map[string]int{}}
		n, err := t.count(ctx, a, release)
		if err != nil {
			yield(deploy.LogLine{}, err)
			return
		}
		var news *follower
		if o.Follow && n > 0 {
			news = t.follow(a, release)
			defer t.leaveFeed(news)
		}
		for range n {
			if o.Opened != nil {
				o.Opened() // whatever is written from here on is found by its time
			}
		}
		if r.past(ctx, release, o.Tail, yield) && news != nil {
			r.coming(ctx, news, yield)
		}
	}
}

// count is how many instances the release has; 0: it is gone.
func (t *target) count(ctx context.Context, a *api, release string) (int, error) {
	s, e, err := t.find(ctx, a, release)
	if err != nil || s == nil {
		return 0, err
	}
	made, err := t.revisions(ctx, a, last(s.Name))
	if err != nil {
		return 0, err
	}
	return max(1, len(instances(s, e, made[e.Revision]))), nil
}

// reading is one reader's way through a release's log.
type reading struct {
	*target
	a       *api
	after   time.Time            // only lines after it
	seen    map[string]time.Time // of the last lines, by the ids of their entries
	numbers map[string]int       // of instances, by their ids
}

// past yields the lines that there are, at most the last so many. It tells whether the reader wants more.
func (r *reading) past(ctx context.Context, release string, tail int, yield func(deploy.LogLine, error) bool) bool {
	filter, order := r.ofRelease(release)+" AND "+r.printed(), oldestFirst
	if !r.after.IsZero() {
		filter += ` AND timestamp>="` + r.after.Format(time.RFC3339Nano) + `"`
	}
	if tail > 0 {
		order = newestFirst
	}
	found, err := r.entries(ctx, r.a, filter, order, tail)
	if err != nil {
		if ctx.Err() == nil {
			yield(deploy.LogLine{}, err)
		}
		return false
	}
	if tail > 0 {
		slices.Reverse(found)
	}
	return r.pass(found, yield)
}

// coming yields what is written from now on, until the release is gone.
func (r *reading) coming(ctx context.Context, news *follower, yield func(deploy.LogLine, error) bool) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-news.woken:
		}
		found, gone, err := r.take(news)
		if err != nil {
			yield(deploy.LogLine{}, err)
			return
		}
		if !r.pass(found, yield) || gone {
			return
		}
	}
}

// pass yields those of the entries that were not yielded yet.
func (r *reading) pass(found []*logging.LogEntry, yield func(deploy.LogLine, error) bool) bool {
	old := time.Now().Add(-4 * lateness)
	for _, e := range found {
		l := line(e)
		if _, ok := r.seen[e.InsertId]; ok || !l.At.After(r.after) {
			continue
		}
		if l.At.After(old) { // an older one does not come again
			r.seen[e.InsertId] = l.At
		}
		l.Replica = r.number(e.Labels["instanceId"])
		if !yield(l, nil) {
			return false
		}
	}
	maps.DeleteFunc(r.seen, func(_ string, at time.Time) bool { return at.Before(old) })
	return true
}

func (r *reading) number(instance string) int {
	if r.numbers[instance] == 0 {
		r.numbers[instance] = len(r.numbers) + 1
	}
	return r.numbers[instance]
}
