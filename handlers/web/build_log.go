package web

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/sse"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/logs"
	"slipway.dev/views/components"
)

const (
	// pageLines is how many lines of a log stand in the page; the rest comes over the stream.
	pageLines = 100
	// lookAgain is how long a stream waits at most before it looks whether its build has ended: events may be lost.
	lookAgain = 2 * time.Second
)

// log is the build's log as far as it stands in the page. A page that is only read again for what changed around the
// log goes without its lines.
func (h *Builds) log(c echo.Context, b *models.Build) (components.LogView, error) {
	base := "/builds/" + b.ID
	v := components.LogView{
		ID: "log", Title: "Log", Raw: base + "/log.txt", Running: !b.State.Ended(), Waiting: "The log appears as soon as the build starts.",
	}
	if c.Request().Header.Get("Slipway-Live") != "" {
		return v, nil
	}
	after, _ := strconv.ParseInt(c.QueryParam("after"), 10, 64) // anything else is the beginning
	lines, ended, err := h.Builds.Log(c.Request().Context(), b.ID, after, pageLines)
	if err != nil {
		return v, err
	}
	var liner components.Liner
	v.Lines = logLines(&liner, lines)
	if b.State.Ended() && len(lines) == 0 {
		v.Waiting = "This build printed nothing."
	}
	if !ended || !b.State.Ended() {
		v.Stream = base + "/log"
	}
	if n := len(lines); n == pageLines {
		v.More = fmt.Sprintf("%s?after=%d", base, lines[n-1].N)
	}
	return v, nil
}

// logLines turns the lines of a stream into those of a page.
func logLines(liner *components.Liner, lines []logs.Line) []components.Line {
	out := make([]components.Line, 0, len(lines))
	for _, l := range lines {
		out = append(out, liner.Line(l.N, l.Step, l.Text, l.Stream == logs.Slipway))
	}
	return out
}

// RawLog is the whole log as text.
func (h *Builds) RawLog(c echo.Context) error {
	ctx := c.Request().Context()
	if _, err := h.Builds.Get(ctx, c.Param("id")); err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentType, "text/plain; charset=utf-8")
	return h.Builds.WriteLog(ctx, c.Param("id"), c.Response())
}

// Log streams the log's lines after the one that the browser has, tells when the build changed, and ends with the build.
func (h *Builds) Log(c echo.Context) error {
	id := c.Param("id")
	after, _ := strconv.ParseInt(sse.After(c.Request()), 10, 64) // anything else is the beginning
	st, err := h.Streams.Open(c.Response(), c.Request(), func(ctx context.Context) error {
		_, err := h.Builds.Get(ctx, id)
		return err
	})
	if err != nil {
		return err
	}
	defer st.Close()
	changes := h.Events.Subscribe(st.Context())
	batches, err := h.Builds.FollowLog(st.Context(), id, after)
	if err != nil {
		return err
	}
	f := follower{stream: st, builds: h.Builds, id: id}
	return f.run(batches, changes)
}

// follower sends one build's log and changes to one browser.
type follower struct {
	stream *sse.Stream
	builds *builds.Service
	id     string
	liner  components.Liner
}

// run sends until the log and the build have both ended. A browser that goes away is no error.
func (f *follower) run(batches <-chan logs.Batch, changes <-chan models.Event) error {
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		var err error
		select {
		case <-f.stream.Context().Done():
			return nil
		case batch, more := <-batches:
			if !more {
				batches = nil
			}
			err = f.send(batch)
		case e, more := <-changes:
			if !more {
				return nil
			}
			if e.Topic == builds.Topic(f.id) {
				err = f.stream.Send("", "change", e.Kind)
			}
		case <-again.C:
		}
		if err != nil {
			return nil
		}
		if batches == nil && f.over() {
			_ = f.stream.Send("", "end", "done") // the browser may be gone
			return nil
		}
	}
}

// over tells whether the build has ended.
func (f *follower) over() bool {
	b, err := f.builds.Get(f.stream.Context(), f.id)
	return err != nil || b.State.Ended()
}

func (f *follower) send(batch logs.Batch) error {
	if len(batch.Lines) == 0 {
		return nil
	}
	var html bytes.Buffer
	if err := components.LogLines(logLines(&f.liner, batch.Lines)).Render(f.stream.Context(), &html); err != nil {
		return err
	}
	last := batch.Lines[len(batch.Lines)-1].N
	return f.stream.Send(strconv.FormatInt(last, 10), "", html.String())
}
