package actions

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/logs"
)

// maxTries is how often a job's log is asked for: GitHub has it some seconds after the job's end.
const maxTries = 5

// logsDone tells whether the logs of all jobs that ended were taken.
func (f *following) logsDone() bool {
	return !slices.ContainsFunc(f.jobs.value.Jobs, f.wantsLog)
}

func (f *following) wantsLog(job *github.WorkflowJob) bool {
	return job.GetStatus() == "completed" && job.GetConclusion() != "skipped" && !slices.Contains(f.row.Logged, job.GetID()) && len(job.Steps) > 0
}

// takeLogs copies the logs of jobs that ended into the build's, each once
// whoever follows. GitHub gives no log of a job that still runs.
func (f *following) takeLogs(ctx context.Context) error {
	for _, job := range f.jobs.value.Jobs {
		if !f.wantsLog(job) {
			continue
		}
		if err := f.takeLog(ctx, job); err != nil {
			return err
		}
	}
	return nil
}

func (f *following) takeLog(ctx context.Context, job *github.WorkflowJob) error {
	var body io.ReadCloser
	err := f.ask(ctx, func(call context.Context) (err error) {
		body, err = f.download(call, ctx, job.GetID())
		return err
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		if f.tries[job.GetID()]++; f.tries[job.GetID()] < maxTries {
			return nil // it may be there at the next look
		}
		f.say(stepID(job, job.Steps[0].GetNumber()), "GitHub has no log of the job “%s” any more, or the connection may not read it.", job.GetName())
	} else {
		f.write(job, body)
		_ = body.Close()
	}
	logged := append(slices.Clone(f.row.Logged), job.GetID())
	if err := f.DB.WithContext(ctx).Model(&models.WorkflowRun{}).Where("build_id = ?", f.build.ID).Select("Logged").Updates(models.WorkflowRun{Logged: logged}).Error; err != nil {
		return fmt.Errorf("writing down that a job's log was taken: %w", err)
	}
	f.row.Logged = logged
	return nil
}

// download asks where the log is, within the call, and opens it there without a
// credential, to be read as long as the work lasts.
func (f *following) download(call, work context.Context, job int64) (io.ReadCloser, error) {
	at, res, err := f.client.Actions.GetWorkflowJobLogs(call, f.owner, f.name, job, 1)
	if err != nil {
		if res != nil && res.StatusCode < 500 {
			return nil, models.Errorf(models.NotFound, "There is no log of the job.")
		}
		return nil, err
	}
	ctx, cancel := context.WithTimeout(work, 5*callWithin)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		cancel()
		return nil, err
	}
	answer, err := f.Logs.Do(req)
	if err != nil {
		cancel()
		return nil, errors.New("the log can't be read from where GitHub keeps it") // the address is a credential
	}
	if answer.StatusCode != http.StatusOK {
		cancel()
		_ = answer.Body.Close()
		return nil, models.Errorf(models.NotFound, "There is no log of the job.")
	}
	return &closing{io.LimitReader(answer.Body, maxLog), func() error { cancel(); return answer.Body.Close() }}, nil
}

type closing struct {
	io.Reader
	close func() error
}

func (c *closing) Close() error { return c.close() }

// write gives each line of the job's log to the step that ran when it was
// written. GitHub's times go, its colours stay.
func (f *following) write(job *github.WorkflowJob, body io.Reader) {
	lines := bufio.NewReaderSize(body, 64<<10)
	at := job.GetStartedAt().Time
	for {
		raw, err := lines.ReadSlice('\n')
		if len(raw) > 0 {
			text, when := stamp(string(raw))
			if !when.IsZero() {
				at = when
			}
			if text, ok := plain(text); ok {
				f.emit(builds.Event{At: at, Step: stepAt(job, at), Stream: logs.Stdout, Output: []byte(text)})
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// stamp takes GitHub's time off a line: 2026-11-25T10:00:00.1234567Z and a blank.
func stamp(line string) (string, time.Time) {
	line = strings.TrimPrefix(line, "\uFEFF")
	first, rest, ok := strings.Cut(line, " ")
	if !ok || len(first) < len("2006-01-02T15:04:05Z") || len(first) > 40 {
		return line, time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, first)
	if err != nil {
		return line, time.Time{}
	}
	return rest, at
}

// plain turns the runner's marks into what a reader sees; lines that only fold others are left out.
func plain(line string) (string, bool) {
	mark, text, ok := strings.Cut(line, "]")
	if !ok || !strings.HasPrefix(mark, "##[") {
		return line, true
	}
	end := ""
	if strings.HasSuffix(text, "\n") {
		text, end = strings.TrimRight(text, "\r\n"), "\n"
	}
	switch strings.TrimPrefix(mark, "##[") {
	case "endgroup":
		return "", false
	case "error":
		return "\x1b[31mError: " + text + "\x1b[0m" + end, true
	case "warning":
		return "\x1b[33mWarning: " + text + "\x1b[0m" + end, true
	case "command":
		return "\x1b[34m" + text + "\x1b[0m" + end, true
	case "group", "section", "notice", "debug":
		return text + end, true
	}
	return line, true
}

// stepAt is the id of the job's step that ran at the time. GitHub says when a
// step began to the second.
func stepAt(job *github.WorkflowJob, at time.Time) string {
	id := ""
	for _, s := range job.Steps {
		if s.GetConclusion() == "skipped" {
			continue
		}
		if id == "" || s.StartedAt != nil && !s.GetStartedAt().Time.After(at) {
			id = stepID(job, s.GetNumber())
		}
	}
	return id
}
