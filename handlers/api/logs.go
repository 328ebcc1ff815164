package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"slipway.dev/handlers/middleware"
	"slipway.dev/handlers/sse"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/logs"
)

// maxLineID is how long the id of a line can be.
const maxLineID = 60

// LogsIn is a call for a log.
type LogsIn struct {
	IDIn
	Accept      string `header:"Accept" doc:"text/event-stream follows the log as it grows; anything else answers what is there."`
	LastEventID string `header:"Last-Event-ID" doc:"Go on after the line of this number."`
	After       string `query:"after" maxLength:"60" doc:"The same for clients that can't send the header."`
	Format      string `query:"format" enum:"text,json" default:"text" doc:"json sends each line with its time, step and source."`
}

// LogLine is one line of a log in JSON.
type LogLine struct {
	N      int64       `json:"n" doc:"Its number, from 1."`
	Time   time.Time   `json:"time"`
	Step   string      `json:"step,omitempty" doc:"The id of the build's step."`
	Stream logs.Source `json:"stream" enum:"stdout,stderr,slipway"`
	Text   string      `json:"text" doc:"May hold ANSI colours."`
}

// source is a log that the API can show: a build's or a deployment's.
type source struct {
	check  sse.Check
	follow func(st *sse.Stream, after string) error // until the log's end
	write  func(ctx context.Context, to io.Writer) error
	end    func(ctx context.Context) string // what the end is called: the state of what the log is of
}

// logAnswer describes the two forms of a log.
func logAnswer(c *call) {
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	c.op.Description = "Whole as text/plain. With `Accept: text/event-stream` live: each line is an event whose id is the line's number (of a deployment's log, its time and number), so that " +
		"`Last-Event-ID` goes on after it; the event `end` tells the final state."
	c.op.Responses["200"] = &huma.Response{Description: "The log", Content: map[string]*huma.MediaType{"text/plain": text, "text/event-stream": text}}
}

// BuildLogsIn is a call for a build's log.
type BuildLogsIn struct {
	LogsIn
	Step string `query:"step" maxLength:"200" doc:"The id of a step: its lines alone."`
}

func (a *API) buildLogs(ctx context.Context, in *BuildLogsIn) (*huma.StreamResponse, error) {
	return a.log(ctx, source{
		check:  func(ctx context.Context) error { _, err := a.Builds.LogStream(ctx, in.ID); return err },
		follow: func(st *sse.Stream, after string) error { return a.followBuild(st, in, after) },
		write:  func(ctx context.Context, to io.Writer) error { return a.Builds.WriteLog(ctx, in.ID, in.Step, to) },
		end: func(ctx context.Context) string {
			b, err := a.Builds.Get(ctx, in.ID)
			if err != nil {
				return ""
			}
			return string(b.State)
		},
	})
}

func (a *API) followBuild(st *sse.Stream, in *BuildLogsIn, after string) error {
	n, err := strconv.ParseInt(orElse(after, "0"), 10, 64)
	if err != nil {
		return err
	}
	batches, err := a.Builds.FollowLog(st.Context(), in.ID, n)
	if err != nil {
		return err
	}
	for batch := range batches {
		if batch.Err != nil {
			return batch.Err
		}
		var b bytes.Buffer
		for _, l := range batch.Lines {
			if in.Step != "" && l.Step != in.Step {
				continue
			}
			in.append(&b, strconv.FormatInt(l.N, 10), LogLine(l))
		}
		if b.Len() == 0 {
			continue
		}
		if err := st.SendAll(b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func (a *API) deploymentLogs(ctx context.Context, in *LogsIn) (*huma.StreamResponse, error) {
	return a.log(ctx, source{
		check:  func(ctx context.Context) error { _, err := a.Deploy.Get(ctx, in.ID); return err },
		follow: func(st *sse.Stream, after string) error { return a.followDeployment(st, in, after) },
		write:  func(ctx context.Context, to io.Writer) error { return a.writeDeployment(ctx, in.ID, to) },
		end: func(ctx context.Context) string {
			d, err := a.Deploy.Get(ctx, in.ID)
			if err != nil {
				return ""
			}
			return string(d.State)
		},
	})
}

func (a *API) followDeployment(st *sse.Stream, in *LogsIn, after string) error {
	lines, err := a.Deploy.Logs(st.Context(), in.ID, after, true)
	if err != nil {
		return err
	}
	var failed error
	poured := st.Pour(func(yield func([]byte) bool) {
		for l, err := range lines {
			if failed = err; err != nil {
				return
			}
			var b bytes.Buffer
			in.append(&b, l.Cursor(), deployLine(l))
			if !yield(b.Bytes()) {
				return
			}
		}
	})
	return errors.Join(poured, failed)
}

func (a *API) writeDeployment(ctx context.Context, id string, to io.Writer) error {
	lines, err := a.Deploy.Logs(ctx, id, "", false)
	if err != nil {
		return err
	}
	for l, err := range lines {
		if err != nil {
			return err
		}
		if _, err := io.WriteString(to, l.Text+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func deployLine(l deploy.Line) LogLine {
	out := LogLine{N: l.N, Time: l.At.UTC(), Stream: logs.Stdout, Text: l.Text}
	if l.Stderr {
		out.Stream = logs.Stderr
	}
	return out
}

// log answers with a log, after it was allowed.
func (a *API) log(ctx context.Context, s source) (*huma.StreamResponse, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		if middleware.IsStream(humaecho.Unwrap(hc).Request()) {
			a.followLog(hc, s)
			return
		}
		hc.SetHeader("Content-Type", "text/plain; charset=utf-8")
		hc.SetStatus(http.StatusOK)
		if err := s.write(ctx, hc.BodyWriter()); err != nil { // what was sent can't be taken back: the client must see that it is not whole
			slog.WarnContext(ctx, "a log could not be sent whole", "error", err)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

func (a *API) followLog(hc huma.Context, s source) {
	c := humaecho.Unwrap(hc)
	after := sse.After(c.Request())
	if len(after) > maxLineID || strings.Trim(after, "0123456789-") != "" {
		a.refuse(hc, models.Errorf(models.Invalid, "Last-Event-ID must be the id of a line of this log."))
		return
	}
	st, err := a.streams.Open(c.Response(), c.Request(), s.check)
	if err != nil {
		a.refuse(hc, err)
		return
	}
	defer st.Close()
	if err := s.follow(st, after); err != nil {
		if told, ok := errors.AsType[*models.Error](err); ok {
			_ = st.Send("", "problem", told.Message) // the client is gone: nobody to tell
		}
		return
	}
	if st.Context().Err() == nil {
		_ = st.Send("", "end", s.end(st.Context())) // the client is gone: nobody to tell
	}
}

// append adds the line to b as an event.
func (in *LogsIn) append(b *bytes.Buffer, id string, l LogLine) {
	text := l.Text
	if in.Format == "json" {
		raw, _ := json.Marshal(l) // plain fields: can't fail
		text = string(raw)
	}
	sse.Append(b, id, "", text)
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
