package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/handlers/sse"
	"slipway.dev/models"
	"slipway.dev/services/logs"
	"slipway.dev/services/observe"
	"slipway.dev/views/components"
	views "slipway.dev/views/observe"
)

const (
	// placeEvery is how often a page about what instances take reads itself again, in seconds: as often as they are measured.
	placeEvery = 15
	// placeLines is how many lines of a place's log stand in the page at first, moreLines how many a further part has.
	placeLines = 200
	moreLines  = 500
)

// Places is the pages about an app in an environment: what its instances take, and what they printed.
type Places struct {
	*Base
	Observe *observe.Service
	Streams *sse.Streams
}

func place(c echo.Context) observe.Place {
	return observe.Place{EnvironmentID: c.Param("id"), AppID: c.Param("app")}
}

// mayChange tells whether the caller may change how the team's apps run.
func mayChange(c echo.Context, teamID string) bool {
	return models.PrincipalFrom(c.Request().Context()).RoleIn(teamID).AtLeast(models.RoleDeveloper)
}

// Usage shows how the place's instances are and what they take.
func (h *Places) Usage(c echo.Context) error {
	u, err := h.Observe.Usage(c.Request().Context(), place(c))
	if err != nil {
		return err
	}
	frame := views.Frame(u.Environment, u.App, u.Serving, "instances", mayChange(c, u.Environment.TeamID))
	frame.Live, frame.Every, frame.Reload = []string{"environment:" + u.Environment.ID}, placeEvery, placeEvery
	if u.Serving != nil {
		frame.Live = append(frame.Live, "deployment:"+u.Serving.ID)
	}
	p := h.page(c, frame)
	v := views.UsageView{
		Environment: u.Environment, App: u.App,
		Curl: p.Curl("GET", "/api/v1"+views.URL(u.Environment.ID, u.App.ID)+"/usage", "").For("Read the numbers"),
	}
	if u.Mean {
		v.Means = means(u)
	} else {
		v.Charts = together(u)
	}
	for _, i := range u.Instances {
		one := views.Instance{Instance: i.Instance, Deployment: *i.Deployment, Gone: i.Gone}
		if !u.Mean {
			one.Charts = charts(u, i.Limits(), []observe.InstanceUsage{i}, nil)
		}
		v.Instances = append(v.Instances, one)
	}
	for _, s := range u.Switches {
		v.Switches = append(v.Switches, views.Switch{At: s.At, Deployment: *s.Deployment})
	}
	return Render(c, http.StatusOK, views.Usage(p, v))
}

// together are the charts of all instances, with the moments at which another deployment began to serve.
func together(u *observe.Usage) []views.Chart {
	var limits models.Scale
	if u.Serving != nil {
		scale := u.Serving.Config.Scale.OrOne()
		limits = models.Scale{CPU: scale.CPU * int64(scale.Replicas), Memory: scale.Memory * int64(scale.Replicas)}
	}
	var marks []views.Mark
	for _, s := range u.Switches {
		marks = append(marks, views.Mark{At: s.At, Said: s.Deployment.Title() + " began to serve"})
	}
	return charts(u, limits, u.Instances, marks)
}

// means are the charts of an instance of each deployment, where all of one are told the same: how many ran, and so what
// all took together, is not known.
func means(u *observe.Usage) (all []views.Mean) {
	seen := map[string]bool{}
	for _, i := range u.Instances {
		if !seen[i.DeploymentID] {
			all = append(all, views.Mean{Deployment: *i.Deployment, Charts: charts(u, i.Limits(), []observe.InstanceUsage{i}, nil)})
		}
		seen[i.DeploymentID] = true
	}
	return all
}

// charts are the charts of the instances' processors and memory.
func charts(u *observe.Usage, limits models.Scale, of []observe.InstanceUsage, marks []views.Mark) []views.Chart {
	var cpu, memory [][]views.Value
	for _, i := range of {
		var c, m []views.Value
		for _, s := range i.Samples {
			c, m = append(c, views.Value{At: s.At, N: s.CPU}), append(m, views.Value{At: s.At, N: s.Memory})
		}
		cpu, memory = append(cpu, c), append(memory, m)
	}
	return []views.Chart{
		views.NewChart(views.ChartInput{Title: "CPU", Unit: views.CPU, From: u.From, Until: u.Until, Series: cpu, Limit: limits.CPU, Marks: marks}),
		views.NewChart(views.ChartInput{Title: "Memory", Unit: views.Memory, From: u.From, Until: u.Until, Series: memory, Limit: limits.Memory, Marks: marks}),
	}
}

// Log shows what is kept of what the place's instances printed.
func (h *Places) Log(c echo.Context) error {
	ctx := c.Request().Context()
	q, v, err := h.asked(c, placeLines)
	page := &observe.Page{}
	if err == nil {
		page, err = h.Observe.Read(ctx, q)
	}
	status := http.StatusOK
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		v.Err, status = form.Err, problem.Of(ctx, err).Status
		page = &observe.Page{}
	}
	h.fill(&v, page)
	e, app, recent, err := h.Observe.Place(ctx, q.Place)
	if err != nil {
		return err
	}
	v.Environment, v.App, v.Deployments = *e, *app, recent
	var serving *models.Deployment
	for i := range recent {
		if recent[i].Active {
			serving = &recent[i]
		}
	}
	v.Live = v.Err == nil && q.Before == 0 && q.After == 0 && q.Around == 0 && q.Until.IsZero()
	p := h.page(c, views.Frame(*e, *app, serving, "log", mayChange(c, e.TeamID)))
	v.Curl = p.Curl("GET", "/api/v1"+views.URL(e.ID, app.ID)+"/logs?q=error", "").For("Search the log")
	return Render(c, status, views.Log(p, v))
}

// fill takes the page of the log over.
func (h *Places) fill(v *views.LogView, page *observe.Page) {
	v.Lines = lineViews(page.Lines)
	v.Before, v.After, v.Later, v.Came = page.Before, page.After, page.Later, page.To
}

func lineViews(lines []observe.Line) []views.Line {
	out := make([]views.Line, 0, len(lines))
	for _, l := range lines {
		out = append(out, views.Line{N: l.N, At: l.At, Deployment: l.Deployment, Replica: l.Replica, Stream: string(l.Stream), Text: l.Text})
	}
	return out
}

// LogLines is another part of the log, for a page that shows some of it already.
func (h *Places) LogLines(c echo.Context) error {
	q, v, err := h.asked(c, moreLines)
	if err != nil {
		return err
	}
	page, err := h.Observe.Read(c.Request().Context(), q)
	if err != nil {
		return err
	}
	h.fill(&v, page)
	return Render(c, http.StatusOK, views.LogPart(v))
}

// LogStream sends the lines after the one that the browser has, as they are kept.
func (h *Places) LogStream(c echo.Context) error {
	q, v, err := h.asked(c, moreLines)
	if err != nil {
		return err
	}
	q.After, _ = strconv.ParseInt(sse.After(c.Request()), 10, 64) // anything else is the beginning
	check := func(ctx context.Context) error { _, _, _, err := h.Observe.Place(ctx, q.Place); return err }
	st, err := h.Streams.Open(c.Response(), c.Request(), check)
	if err != nil {
		return err
	}
	defer st.Close()
	pages, err := h.Observe.Follow(st.Context(), q)
	if err != nil {
		return err
	}
	for page, err := range pages {
		if err != nil {
			return nil // the browser asks again
		}
		if len(page.Lines) == 0 {
			continue
		}
		var html bytes.Buffer
		if err := components.LogLines(views.Draw(lineViews(page.Lines), v.Filter.Text)).Render(st.Context(), &html); err != nil {
			return nil
		}
		if st.Send(strconv.FormatInt(page.After, 10), "", html.String()) != nil {
			return nil
		}
	}
	_ = st.Send("", "end", "done") // the browser may be gone
	return nil
}

// LogText is all that is kept and matches, as text.
func (h *Places) LogText(c echo.Context) error {
	q, _, err := h.asked(c, 0)
	if err != nil {
		return err
	}
	lines, err := h.Observe.All(c.Request().Context(), q)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentType, "text/plain; charset=utf-8")
	c.Response().Header().Set(echo.HeaderContentDisposition, `attachment; filename="log.txt"`)
	for l, err := range lines {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c.Response(), "%s #%d·%d %s %s\n", l.At.UTC().Format(time.RFC3339Nano), l.Deployment, l.Replica, l.Stream, l.Text); err != nil {
			return nil // the reader is gone
		}
	}
	return nil
}

// asked is what the address asks for, and the view with what was typed.
func (h *Places) asked(c echo.Context, lines int) (q observe.Query, v views.LogView, err error) {
	v.Filter = views.LogFilter{
		Text: c.QueryParam("q"), Deployment: c.QueryParam("deployment"), Instance: c.QueryParam("instance"), Stream: c.QueryParam("stream"),
		Since: c.QueryParam("since"), Until: c.QueryParam("until"),
	}
	v.Environment.ID, v.App.ID = c.Param("id"), c.Param("app")
	q = observe.Query{Place: place(c), Limit: lines, Before: lineOf(c, "before"), After: lineOf(c, "after"), Around: lineOf(c, "line")}
	q.Filter = observe.Filter{Text: v.Filter.Text, Deployment: lineOf(c, "deployment"), Replica: int(min(lineOf(c, "instance"), 1_000)), Stream: logs.Source(v.Filter.Stream)}
	if q.Since, err = moment("since", v.Filter.Since); err != nil {
		return q, v, err
	}
	q.Until, err = moment("until", v.Filter.Until)
	return q, v, err
}

// moment reads a time of a form, which is in UTC.
func moment(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, models.InvalidField(field, "%q is not a time, such as 2026-03-04T05:06:07.", text)
}
