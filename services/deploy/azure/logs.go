package azure

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/services/deploy"
)

const (
	maxLine   = 16 << 10 // bytes of one line that are kept
	maxTail   = 300      // lines of the past that Azure gives
	keepLines = 30       // of a container that failed
)

// The kinds of things that have log streams.
const (
	apps = "containerApps"
	jobs = "jobs"
)

// place is an app or a job, whose log streams have one token.
type place struct{ kind, name string }

// streamToken lets one read the log streams of an app or a job.
type streamToken struct {
	text  string
	until time.Time
}

// jobVersion is the version of the API in which jobs have log streams, as apps
// have (it is the one that az containerapp job logs show asks for).
const jobVersion = "2023-11-02-preview"

// Logs yields the lines of the release's replicas, those of several in the order
// of their times. Azure gives the last 300 of each, and does not tell which are errors.
// Where it is not followed, those of replicas that are gone are among them, as far as
// the environment's Log Analytics workspace has them.
func (t *target) Logs(ctx context.Context, release string, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		living, err := t.living(ctx, release)
		if err != nil {
			yield(deploy.LogLine{}, err)
			return
		}
		if o.Follow {
			deploy.Together(ctx, living, o, t.across)(yield)
			return
		}
		var lines []deploy.LogLine
		for line, err := range deploy.Together(ctx, living, o, t.lines) {
			if err != nil {
				yield(deploy.LogLine{}, err)
				return
			}
			lines = append(lines, line)
		}
		lines, err = t.withFormer(ctx, release, living, lines, o)
		if err != nil {
			yield(deploy.LogLine{}, err)
			return
		}
		for _, line := range lines {
			if !yield(line, nil) {
				return
			}
		}
	}
}

// living are the release's replicas, in the order in which they were made.
func (t *target) living(ctx context.Context, release string) (found []deploy.Instance, err error) {
	app, err := t.appOf(ctx, release)
	if err != nil || app == "" {
		return nil, err
	}
	rev, err := t.revision(ctx, app, release)
	var all []*aca.Replica
	if err == nil {
		all, err = t.replicasOf(ctx, app, *rev.Name)
	}
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err)
	}
	for n, replica := range all {
		found = append(found, instance(app, rev, replica, release, n+1))
	}
	return found, nil
}

// across follows one replica over the restarts of its container, and over the
// end that Azure makes to every stream after a while.
func (t *target) across(ctx context.Context, i deploy.Instance, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		for {
			for line, err := range t.lines(ctx, i, o) {
				if err == nil {
					o.After = line.At
				}
				if !yield(line, err) || err != nil {
					return
				}
			}
			o.Tail, o.Opened = 0, nil
			if t.pause(ctx) != nil {
				return
			}
			if _, _, err := t.endpoint(ctx, i); err != nil {
				return
			}
		}
	}
}

// endpoint returns where the log of the replica's container is read.
func (t *target) endpoint(ctx context.Context, i deploy.Instance) (place, string, error) {
	parts := strings.Split(i.ID, "/")
	if len(parts) != 3 {
		return place{}, "", errNoReplica
	}
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	found, err := t.replicas.GetReplica(call, t.settings.Group, parts[0], parts[1], parts[2], nil)
	if err != nil {
		return place{}, "", err
	}
	return place{apps, parts[0]}, endpointOf(&found.Replica), nil
}

var errNoReplica = errors.New("azure: it has no replica")

func endpointOf(r *aca.Replica) string {
	if r.Properties == nil {
		return ""
	}
	for _, c := range r.Properties.Containers {
		if value(c.Name) == containerName {
			return value(c.LogStreamEndpoint)
		}
	}
	return ""
}

// lines yields the lines of one replica's container.
func (t *target) lines(ctx context.Context, i deploy.Instance, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		of, endpoint, err := t.endpoint(ctx, i)
		if missing(err) || errors.Is(err, errNoReplica) {
			return // it is gone
		}
		if err != nil {
			yield(deploy.LogLine{}, t.explain(ctx, deploy.StageTarget, err))
			return
		}
		for line, err := range t.read(ctx, of, endpoint, o) {
			line.Replica = i.Replica
			if !yield(line, err) {
				return
			}
		}
	}
}

// read yields the lines of a log stream.
func (t *target) read(ctx context.Context, of place, endpoint string, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		if endpoint == "" {
			if o.Opened != nil {
				o.Opened()
			}
			return // the container has not been made
		}
		tail := maxTail
		if o.Tail > 0 && o.After.IsZero() {
			tail = min(o.Tail, maxTail)
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		body, err := t.stream(ctx, of, endpoint, tail, o.Follow)
		if missing(err) {
			return
		}
		if err != nil {
			yield(deploy.LogLine{}, t.explain(ctx, deploy.StageTarget, err))
			return
		}
		defer body.Close()
		if o.Opened != nil {
			o.Opened()
		}
		for r := bufio.NewReaderSize(body, 2*maxLine); ; {
			line, ok, err := readLine(r)
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && ctx.Err() == nil {
					yield(deploy.LogLine{}, fmt.Errorf("azure: reading a log: %w", err))
				}
				return
			}
			if ok && line.At.After(o.After) && !yield(line, nil) {
				return
			}
		}
	}
}

// readLine reads one line: an object with a time and a text. What Azure says of
// the connection, and what is no such object, is none.
func readLine(r *bufio.Reader) (line deploy.LogLine, ok bool, err error) {
	text, more, err := r.ReadLine()
	if err != nil {
		return deploy.LogLine{}, false, err
	}
	text = []byte(string(text))
	for more && err == nil {
		_, more, err = r.ReadLine()
	}
	var l struct{ TimeStamp, Log string }
	if json.Unmarshal(text, &l) != nil || l.TimeStamp == "" {
		return deploy.LogLine{}, false, nil
	}
	if strings.HasPrefix(l.Log, "Connecting to the container '") || strings.HasPrefix(l.Log, "Successfully Connected to container: '") {
		return deploy.LogLine{}, false, nil
	}
	return deploy.LogLine{At: parseTime(l.TimeStamp), Text: cut(l.Log)}, true, nil
}

// cut is as much of a line as is kept, without its end.
func cut(text string) string {
	text = strings.TrimRight(strings.ToValidUTF8(text, "�"), "\r\n")
	return text[:min(len(text), maxLine)]
}

// stream opens a log stream. Its token is asked for anew where Azure does not take it any more.
func (t *target) stream(ctx context.Context, of place, endpoint string, tail int, follow bool) (io.ReadCloser, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" {
		return nil, fmt.Errorf("azure: the log stream of %s has no address of HTTPS", of.name)
	}
	q := u.Query()
	q.Set("follow", strconv.FormatBool(follow))
	q.Set("output", "json")
	q.Set("tailLines", strconv.Itoa(tail))
	u.RawQuery = q.Encode()
	for fresh := false; ; fresh = true {
		token, err := t.streamToken(ctx, of, fresh)
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := t.way.client.Do(req)
		if err != nil {
			return nil, err
		}
		if res.StatusCode == http.StatusOK {
			return res.Body, nil
		}
		res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized || fresh {
			return nil, streamError(res)
		}
	}
}

// streamToken returns the token of the place's log streams
// (https://learn.microsoft.com/rest/api/containerapps/container-apps/get-auth-token).
func (t *target) streamToken(ctx context.Context, of place, fresh bool) (string, error) {
	t.mu.Lock()
	have := t.tokens[of.kind+"/"+of.name]
	t.mu.Unlock()
	if !fresh && time.Until(have.until) > time.Minute {
		return have.text, nil
	}
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var answer aca.ContainerAppAuthToken
	if of.kind == apps {
		found, err := t.apps.GetAuthToken(call, t.settings.Group, of.name, nil)
		if err != nil {
			return "", err
		}
		answer = found.ContainerAppAuthToken
	} else if err := t.ask(call, http.MethodPost, t.settings.GroupID()+"/providers/Microsoft.App/jobs/"+of.name+"/getAuthToken", jobVersion, &answer); err != nil {
		return "", err
	}
	if answer.Properties == nil {
		return "", fmt.Errorf("azure: no token for the log stream of %s", of.name)
	}
	have = streamToken{text: value(answer.Properties.Token), until: value(answer.Properties.Expires)}
	t.mu.Lock()
	t.tokens[of.kind+"/"+of.name] = have
	t.mu.Unlock()
	return have.text, nil
}

// lastLines returns what the release's first replica said last.
func (t *target) lastLines(ctx context.Context, app, release string) (lines []string) {
	all, err := t.replicasOf(ctx, app, revisionOf(app, release))
	if err != nil || len(all) == 0 {
		return nil
	}
	for line, err := range t.read(ctx, place{apps, app}, endpointOf(all[0]), deploy.LogOptions{Tail: keepLines}) {
		if err != nil {
			break
		}
		lines = append(lines, deploy.Plain(line.Text))
	}
	return lines
}
