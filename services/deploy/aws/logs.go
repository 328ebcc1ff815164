package aws

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/services/deploy"
)

const (
	maxLine   = 16 << 10 // bytes of one line that are kept
	keepLines = 30       // of a container that failed
	maxPage   = 10_000   // events that one call returns

	// settle is how long CloudWatch may take to show the last lines of a task that ended.
	settle = 2 * time.Second
)

// stream is the log of one task.
type stream struct {
	group, name string
	task        string // ARN
}

func streamOf(group string, release string, arn string) stream {
	return stream{group, mark(release) + "/" + containerName + "/" + last(arn), arn}
}

// Logs yields the lines of the release's tasks from CloudWatch, those of several
// in the order of their times. Where none runs they are those of the tasks that
// ended within the last hour. CloudWatch does not tell which lines are errors.
func (t *target) Logs(ctx context.Context, release string, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		c := t.as(deploy.Subject{})
		s, err := t.find(ctx, c, release)
		if errors.Is(err, errGone) {
			return
		}
		if err != nil {
			yield(deploy.LogLine{}, t.explain(ctx, deploy.StageTarget, err, "look for the release's service"))
			return
		}
		all, err := t.tasksOf(ctx, c, deref(s.ServiceName))
		if err != nil {
			yield(deploy.LogLine{}, t.explain(ctx, deploy.StageTarget, err, "look for the release's tasks"))
			return
		}
		all = slices.DeleteFunc(all, func(k types.Task) bool { return deref(k.StartedBy) == startedBy })
		if slices.ContainsFunc(all, serves) {
			all = slices.DeleteFunc(all, func(k types.Task) bool { return !serves(k) })
		}
		var found []deploy.Instance
		streams := map[string]stream{}
		for n, k := range all {
			id := last(deref(k.TaskArn))
			found = append(found, deploy.Instance{ID: id, Release: release, Replica: n + 1, Name: id})
			streams[id] = streamOf(read(s.Tags)[tagLogs], release, deref(k.TaskArn))
		}
		deploy.Together(ctx, found, o, func(ctx context.Context, i deploy.Instance, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
			return t.lines(ctx, c, streams[i.ID], i.Replica, o)
		})(yield)
	}
}

// lines yields those of one task. With follow it goes on until the task has ended
// and nothing more comes.
func (t *target) lines(ctx context.Context, c *clients, s stream, replica int, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		r := &reader{target: t, c: c, s: s, o: o, replica: replica}
		opened := o.Opened == nil
		var ended time.Time // since when nothing came of a task that ended
		began := time.Now()
		for p := new(pace); ; {
			n, err := r.page(ctx, yield)
			if err != nil || r.stopped {
				return
			}
			if !opened {
				o.Opened()
				opened = true
			}
			if n > 0 {
				p, ended = new(pace), time.Time{}
				continue
			}
			if !o.Follow {
				return
			}
			if p.wait(ctx) != nil {
				return
			}
			over, err := t.over(ctx, c, s.task, time.Since(began) < seenTime)
			switch {
			case err != nil && !passing(err):
				yield(deploy.LogLine{}, t.explain(ctx, deploy.StageTarget, err, "look at the task "+last(s.task)))
				return
			case over && ended.IsZero():
				ended = time.Now()
			case over && time.Since(ended) > settle:
				return
			}
		}
	}
}

// over tells whether the task has ended, or is forgotten. One that is young may not be known yet.
func (t *target) over(ctx context.Context, c *clients, arn string, young bool) (bool, error) {
	out, err := c.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: ptr(t.clusterName()), Tasks: []string{arn}})
	if err != nil {
		return missing(err), err
	}
	if len(out.Tasks) == 0 {
		return !young, nil
	}
	return deref(out.Tasks[0].LastStatus) == stopped, nil
}

// reader reads one stream, page for page.
type reader struct {
	*target
	c       *clients
	s       stream
	o       deploy.LogOptions
	replica int

	token   *string
	at      int64 // of the last event, in milliseconds
	same    int   // events of that millisecond before
	stopped bool  // the reader of the lines has enough
}

// page yields the next page, and returns how many events it had: none at the end of what there is.
func (r *reader) page(ctx context.Context, yield func(deploy.LogLine, error) bool) (int, error) {
	in := &cloudwatchlogs.GetLogEventsInput{LogGroupName: &r.s.group, LogStreamName: &r.s.name, NextToken: r.token, StartFromHead: ptr(true), Limit: ptr(int32(maxPage))}
	if r.token == nil && r.o.Tail > 0 {
		in.StartFromHead, in.Limit = ptr(false), ptr(int32(min(r.o.Tail, maxPage)))
	}
	if !r.o.After.IsZero() {
		in.StartTime = ptr(r.o.After.UnixMilli())
	}
	for {
		out, err := r.c.logs.GetLogEvents(ctx, in)
		if missing(err) || ctx.Err() != nil { // nothing was written yet, or nobody listens any more
			return 0, context.Cause(ctx)
		}
		if err != nil {
			err = r.explain(ctx, deploy.StageTarget, err, "read the log "+r.s.group)
			yield(deploy.LogLine{}, err)
			return 0, err
		}
		end := in.NextToken != nil && deref(in.NextToken) == deref(out.NextForwardToken)
		r.token, in.NextToken, in.StartFromHead = out.NextForwardToken, out.NextForwardToken, ptr(true)
		for _, e := range out.Events {
			if line, ok := r.line(e); ok && !yield(line, nil) {
				r.stopped = true
				return len(out.Events), nil
			}
		}
		if len(out.Events) > 0 || end || r.token == nil {
			return len(out.Events), nil
		}
	}
}

// line reads an event. CloudWatch counts milliseconds: those of one are told
// apart by microseconds, in their order, so that a reader can go on after any of them.
func (r *reader) line(e logtypes.OutputLogEvent) (deploy.LogLine, bool) {
	if e.Timestamp == nil {
		return deploy.LogLine{}, false
	}
	if *e.Timestamp != r.at {
		r.at, r.same = *e.Timestamp, 0
	} else {
		r.same++
	}
	text := strings.ToValidUTF8(deref(e.Message), "�")
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "")
	}
	at := time.UnixMilli(r.at).UTC().Add(time.Duration(min(r.same, 999)) * time.Microsecond)
	return deploy.LogLine{At: at, Replica: r.replica, Text: strings.TrimRight(text, "\r\n")}, at.After(r.o.After)
}

// lastLines returns what the task said last. What was written just before its end may take a moment to be seen.
func (t *target) lastLines(ctx context.Context, c *clients, group string, k types.Task) (lines []string) {
	release := read(k.Tags)[tagRelease]
	patience, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for p := new(pace); ; {
		for line, err := range t.lines(ctx, c, streamOf(group, release, deref(k.TaskArn)), 1, deploy.LogOptions{Tail: keepLines}) {
			if err != nil {
				return lines
			}
			lines = append(lines, deploy.Plain(line.Text))
		}
		if len(lines) > 0 || p.wait(patience) != nil {
			return lines
		}
	}
}
