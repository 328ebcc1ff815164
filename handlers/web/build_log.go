package web

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/sse"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/logs"
	"slipway.dev/views/components"
)

const (
	// pageLines is how many lines of a log stand in the page at first, partLines how many a further part has.
	pageLines = 100
	partLines = 500
	pageHits  = 20
	// lookAgain is how long a stream waits at most before it looks whether its build has ended: events may be lost.
	lookAgain = 2 * time.Second
)

// log is the part of the build's log that stands in the page. A page that is only read again for what changed around
// the log goes without its lines.
func (h *Builds) log(c echo.Context, b *models.Build) (components.LogView, error) {
	base := "/builds/" + b.ID
	v := components.LogView{
		ID: "log", Title: "Log", Raw: base + "/log.txt", Running: !b.State.Ended(), Waiting: "The log appears as soon as the build starts.",
		Window: components.LogWindow{Page: base, Lines: base + "/log/lines", Step: c.QueryParam("step")},
	}
	if c.Request().Header.Get("Slipway-Live") != "" {
		return v, nil
	}
	if i := slices.IndexFunc(b.Steps, func(s models.BuildStep) bool { return s.ID == v.Window.Step }); i >= 0 {
		v.Window.Name = b.Steps[i].Name
	}
	place, err := h.place(c, b)
	if err != nil {
		return v, err
	}
	if text := strings.TrimSpace(c.QueryParam("q")); text != "" {
		if v.Search, place, err = h.search(c, b.ID, text); err != nil {
			return v, err
		}
	}
	ended, err := h.part(c.Request().Context(), b.ID, place, &v)
	if err != nil {
		return v, err
	}
	if b.State.Ended() && len(v.Lines) == 0 {
		v.Waiting = "This build printed nothing."
		if v.Window.Step != "" {
			v.Waiting = "This step printed nothing."
		}
	}
	if !ended || !b.State.Ended() {
		v.Stream = base + "/log"
		if v.Window.Step != "" {
			v.Stream += "?step=" + url.QueryEscape(v.Window.Step)
		}
	}
	return v, nil
}

// part fills in the lines around a place and tells whether the log has ended.
func (h *Builds) part(ctx context.Context, id string, w logs.Window, v *components.LogView) (ended bool, err error) {
	part, err := h.Builds.LogWindow(ctx, id, w)
	if err != nil {
		return false, err
	}
	var liner components.Liner
	v.Lines = logLines(&liner, part.Lines)
	if v.Search != nil {
		for i, l := range part.Lines {
			v.Lines[i].Found = l.Holds(v.Search.Text)
		}
	}
	v.Window.Earlier, v.Window.Later, v.Window.Total = part.Earlier, part.Later, part.Total
	return part.Ended, nil
}

// lineOf is a query parameter that counts lines; anything else than a number is 0.
func lineOf(c echo.Context, name string) int64 {
	n, _ := strconv.ParseInt(c.QueryParam(name), 10, 64)
	return max(n, 0)
}

// asked is the part of the log that the address names, and whether it names one.
func asked(c echo.Context, lines int) (w logs.Window, ok bool) {
	w = logs.Window{Step: c.QueryParam("step"), Before: lines / 2, After: lines - lines/2}
	line, before, after := lineOf(c, "line"), lineOf(c, "before"), lineOf(c, "after")
	switch {
	case line > 0:
		w.At = line
	case before > 0:
		w.At, w.Before, w.After = before, lines, 0
	case after > 0:
		w.At, w.Before, w.After = after+1, 0, lines
	case c.QueryParam("end") != "":
		w.At, w.Before, w.After = logs.AtEnd, lines, 0
	default:
		return w, false
	}
	return w, true
}

// place is the part that the page opens with: what the address asks for, the end of what runs, the last words of the
// step that failed, or else the beginning.
func (h *Builds) place(c echo.Context, b *models.Build) (logs.Window, error) {
	w, ok := asked(c, pageLines)
	if ok {
		return w, nil
	}
	failed := ""
	if b.State == models.BuildFailed && b.Error != nil {
		failed = b.Error.Step
	}
	switch {
	case !b.State.Ended(), w.Step != "" && w.Step == failed:
		w.At, w.Before, w.After = logs.AtEnd, pageLines, 0
	case w.Step == "" && failed != "":
		last, err := h.Builds.LastLogLine(c.Request().Context(), b.ID, failed)
		w.At, w.Before, w.After = last, pageLines*7/10, pageLines*3/10
		return w, err
	default:
		w.At, w.Before, w.After = 1, 0, pageLines
	}
	return w, nil
}

// search looks through the whole log and returns what it found, and the place of the hit in sight.
func (h *Builds) search(c echo.Context, id, text string) (*components.LogSearch, logs.Window, error) {
	w := logs.Window{Step: c.QueryParam("step"), At: max(lineOf(c, "line"), 1), Before: pageLines / 2, After: pageLines / 2}
	found, err := h.Builds.SearchLog(c.Request().Context(), id, logs.Search{Text: text, Step: w.Step, From: w.At, Limit: pageHits, Lines: 1})
	if err != nil {
		return nil, w, err
	}
	s := &components.LogSearch{Text: text, Total: found.Total, Index: min(found.Index, max(found.Total-1, 0)), Prev: found.Prev}
	for _, hit := range found.Shown {
		var liner components.Liner
		lines := slices.Concat(hit.Before, []logs.Line{hit.Line}, hit.After)
		s.Hits = append(s.Hits, components.LogHit{Number: hit.Line.N, Lines: logLines(&liner, lines)})
	}
	if len(s.Hits) > 0 {
		w.At = s.Hits[0].Number
	}
	if len(s.Hits) > 1 {
		s.Next = s.Hits[1].Number
	}
	return s, w, nil
}

// LogLines is another part of the log, for a page that shows some of it already.
func (h *Builds) LogLines(c echo.Context) error {
	id := c.Param("id")
	w, ok := asked(c, partLines)
	if !ok {
		return models.InvalidField("line", "Say which part of the log: line, before or after with the number of a line, or end=1.")
	}
	v := components.LogView{ID: "log", Window: components.LogWindow{Page: "/builds/" + id, Step: w.Step}}
	if _, err := h.part(c.Request().Context(), id, w, &v); err != nil {
		return err
	}
	return Render(c, http.StatusOK, components.LogPart(v))
}

// logLines turns the lines of a stream into those of a page.
func logLines(liner *components.Liner, lines []logs.Line) []components.Line {
	out := make([]components.Line, 0, len(lines))
	for _, l := range lines {
		out = append(out, liner.Line(l.N, l.Step, l.Text, l.Stream == logs.Slipway))
	}
	return out
}

// RawLog is the whole log as text, or that of one step.
func (h *Builds) RawLog(c echo.Context) error {
	ctx := c.Request().Context()
	if _, err := h.Builds.Get(ctx, c.Param("id")); err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentType, "text/plain; charset=utf-8")
	return h.Builds.WriteLog(ctx, c.Param("id"), c.QueryParam("step"), c.Response())
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
	f := follower{stream: st, builds: h.Builds, id: id, step: c.QueryParam("step")}
	return f.run(batches, changes)
}

// follower sends one build's log and changes to one browser.
type follower struct {
	stream *sse.Stream
	builds *builds.Service
	id     string
	step   string // whose lines alone are sent; empty: all
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
	lines := batch.Lines
	if f.step != "" {
		lines = slices.DeleteFunc(slices.Clone(lines), func(l logs.Line) bool { return l.Step != f.step })
	}
	if len(lines) == 0 {
		return nil
	}
	var html bytes.Buffer
	if err := components.LogLines(logLines(&f.liner, lines)).Render(f.stream.Context(), &html); err != nil {
		return err
	}
	last := batch.Lines[len(batch.Lines)-1].N
	return f.stream.Send(strconv.FormatInt(last, 10), "", html.String())
}
