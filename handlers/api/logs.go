package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"slipway.dev/handlers/middleware"
	"slipway.dev/handlers/sse"
	"slipway.dev/models"
	"slipway.dev/services/logs"
)

// LogsIn is a call for a log.
type LogsIn struct {
	IDIn
	Accept      string `header:"Accept" doc:"text/event-stream follows the log as it grows; anything else answers what is there."`
	LastEventID string `header:"Last-Event-ID" doc:"Go on after the line of this number."`
	After       string `query:"after" maxLength:"20" doc:"The same for clients that can't send the header."`
	Format      string `query:"format" enum:"text,json" default:"text" doc:"json sends each line with its time, step and source."`
}

// LogLine is one line of a log in JSON.
type LogLine = logs.Line

// source is a log that the API can show: a build's or a deployment's.
type source struct {
	check  sse.Check
	follow func(ctx context.Context, after int64) (<-chan logs.Batch, error)
	write  func(ctx context.Context, to io.Writer) error
	end    func(ctx context.Context) string // what the log's end is called: the state of what it is of
}

// logAnswer describes the two forms of a log.
func logAnswer(c *call) {
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	c.op.Description = "Whole as text/plain. With `Accept: text/event-stream` live: each line is an event whose id is the line's number, so that " +
		"`Last-Event-ID` goes on after it; the event `end` tells the final state."
	c.op.Responses["200"] = &huma.Response{Description: "The log", Content: map[string]*huma.MediaType{"text/plain": text, "text/event-stream": text}}
}

func (a *API) buildLogs(ctx context.Context, in *LogsIn) (*huma.StreamResponse, error) {
	return a.log(ctx, in, source{
		check: func(ctx context.Context) error { _, err := a.Builds.LogStream(ctx, in.ID); return err },
		follow: func(ctx context.Context, after int64) (<-chan logs.Batch, error) {
			return a.Builds.FollowLog(ctx, in.ID, after)
		},
		write: func(ctx context.Context, to io.Writer) error { return a.Builds.WriteLog(ctx, in.ID, to) },
		end: func(ctx context.Context) string {
			b, err := a.Builds.Get(ctx, in.ID)
			if err != nil {
				return ""
			}
			return string(b.State)
		},
	})
}

// log answers with a log, after it was allowed.
func (a *API) log(ctx context.Context, in *LogsIn, s source) (*huma.StreamResponse, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		if middleware.IsStream(humaecho.Unwrap(hc).Request()) {
			a.followLog(hc, in, s)
			return
		}
		hc.SetHeader("Content-Type", "text/plain; charset=utf-8")
		hc.SetStatus(http.StatusOK)
		_ = s.write(ctx, hc.BodyWriter()) // what was sent can't be taken back; the client sees a short body
	}}, nil
}

func (a *API) followLog(hc huma.Context, in *LogsIn, s source) {
	c := humaecho.Unwrap(hc)
	after, err := strconv.ParseInt(orElse(sse.After(c.Request()), "0"), 10, 64)
	if err != nil || after < 0 {
		a.refuse(hc, models.Errorf(models.Invalid, "Last-Event-ID must be the number of a line."))
		return
	}
	st, err := a.streams.Open(c.Response(), c.Request(), s.check)
	if err != nil {
		a.refuse(hc, err)
		return
	}
	defer st.Close()
	batches, err := s.follow(st.Context(), after)
	if err != nil {
		return
	}
	for batch := range batches {
		if batch.Err != nil || st.SendAll(lines(batch.Lines, in.Format)) != nil {
			return
		}
	}
	if st.Context().Err() == nil {
		_ = st.Send("", "end", s.end(st.Context())) // the client is gone: nobody to tell
	}
}

func lines(batch []logs.Line, format string) []byte {
	var b bytes.Buffer
	for _, l := range batch {
		text := l.Text
		if format == "json" {
			raw, _ := json.Marshal(l) // plain fields: can't fail
			text = string(raw)
		}
		sse.Append(&b, strconv.FormatInt(l.N, 10), "", text)
	}
	return b.Bytes()
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
