// Package observe holds the pages about a place, an app in an environment: how its instances are and what they take,
// and what they printed.
package observe

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// URL is the page of the app in the environment.
func URL(environmentID, appID string) string {
	return "/environments/" + environmentID + "/apps/" + appID
}

// LogURL is the page of what is kept of its log; of one deployment where number is not 0.
func LogURL(environmentID, appID string, number int64) string {
	at := URL(environmentID, appID) + "/log"
	if number == 0 {
		return at
	}
	return at + "?deployment=" + strconv.FormatInt(number, 10)
}

// Frame is the page around a place. Current names the tab, as for Tabs; serving is what visitors get, nil: nothing, and
// change tells whether the reader may change how the app runs.
func Frame(e models.Environment, a models.App, serving *models.Deployment, current string, change bool) layout.Page {
	p := Settings(e, a, current, change)
	p.Meta = metaServing(e, a, serving)
	return p
}

// Settings is Frame for the pages that say nothing of what serves.
func Settings(e models.Environment, a models.App, current string, change bool) layout.Page {
	return layout.Page{
		Title: a.Name + " in " + e.Name, Nav: "environments", Meta: meta(e, a), Tabs: Tabs(e.ID, a.ID, current, change),
		Crumbs: []layout.Link{{Label: "Environments", Href: "/environments"}, {Label: e.Name, Href: "/environments/" + e.ID}},
	}
}

// Tabs are the pages of a place. Current is one of instances, log, addresses and settings, of which the last is for
// readers who may change something.
func Tabs(environmentID, appID, current string, change bool) []layout.Tab {
	base := URL(environmentID, appID)
	list := []layout.Tab{
		{Label: "Instances", Href: base, Current: current == "instances"},
		{Label: "Log", Href: base + "/log", Current: current == "log"},
		{Label: "Addresses", Href: "/environments/" + environmentID + "/visitors/" + appID, Current: current == "addresses"},
	}
	if change {
		list = append(list, layout.Tab{Label: "Settings", Href: base + "/runtime", Current: current == "settings"})
	}
	return list
}

// UsageView is how the instances of a place are and what they take.
type UsageView struct {
	Environment models.Environment
	App         models.App
	Charts      []Chart // of all instances together
	Means       []Mean  // in their place, where nothing is told of a single instance
	Instances   []Instance
	Switches    []Switch
	Curl        components.CurlExample
}

// Mean is what the instances of a deployment took in the mean.
type Mean struct {
	Deployment models.Deployment
	Charts     []Chart
}

// Instance is one instance with what it took.
type Instance struct {
	models.Instance
	Deployment models.Deployment
	Gone       bool
	Charts     []Chart // empty: nothing is told of it alone
}

// Switch is a moment at which another deployment began to serve.
type Switch struct {
	At         time.Time
	Deployment models.Deployment
}

// said is the version that began to serve, and when.
func (s Switch) said() string {
	return s.Deployment.Title() + " " + apps.Version(s.Deployment)
}

// LogView is a part of the log of a place.
type LogView struct {
	Environment models.Environment
	App         models.App
	Filter      LogFilter
	Deployments []models.Deployment // to choose from, newest first
	Lines       []Line
	Before      int64      // what is earlier; 0: nothing
	After       int64      // what is later
	Later       bool       // there is something later
	Came        *time.Time // so far the search has come; nil: to the end
	Live        bool       // what comes is added
	Err         *models.Error
	Curl        components.CurlExample
}

// LogFilter is what the form says, as it was typed.
type LogFilter struct{ Text, Deployment, Instance, Stream, Since, Until string }

// Line is a line of a place's log.
type Line struct {
	N          int64
	At         time.Time
	Deployment int64
	Replica    int
	Stream     string
	Text       string
}

// query is the filter as a part of an address, with the pairs added.
func (v LogView) query(path string, pairs ...string) string {
	q := url.Values{}
	for _, f := range []struct{ name, value string }{
		{"q", v.Filter.Text}, {"deployment", v.Filter.Deployment}, {"instance", v.Filter.Instance}, {"stream", v.Filter.Stream}, {"since", v.Filter.Since}, {"until", v.Filter.Until},
	} {
		if f.value != "" {
			q.Set(f.name, f.value)
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	if len(q) == 0 {
		return v.base() + path
	}
	return v.base() + path + "?" + q.Encode()
}

func (v LogView) base() string { return URL(v.Environment.ID, v.App.ID) + "/log" }

func (v LogView) filtered() bool { return v.Filter != LogFilter{} }

// earlier is what the link to earlier lines says.
func (v LogView) earlier() string {
	if v.Came != nil {
		return "Searched back to " + v.Came.UTC().Format("2 Jan 15:04:05") + ". Search older lines"
	}
	return "Earlier lines"
}

func (v LogView) count() string {
	return components.Count(len(v.Lines), "line", "lines") + " in sight"
}

// last is the number that the stream goes on after.
func (v LogView) last() string { return strconv.FormatInt(v.After, 10) }

// empty is what is said where there are no lines.
func (v LogView) empty() string {
	switch {
	case v.filtered() && v.Before > 0:
		return "Nothing found yet. There is more to look through."
	case v.filtered():
		return "No line that is kept matches."
	}
	return "Nothing has been printed here, or nothing is kept of it any more."
}

// Draw turns the lines into those of a page, the text that is looked for marked.
func Draw(lines []Line, wanted string) []components.Line {
	var liner components.Liner // each instance keeps its own colours
	out := make([]components.Line, 0, len(lines))
	for _, l := range lines {
		who := strconv.FormatInt(l.Deployment, 10) + "·" + strconv.Itoa(l.Replica)
		drawn := liner.Line(l.N, who, l.Text, false)
		drawn.HTML = `<span class="dim">` + l.At.UTC().Format("02 Jan 15:04:05.000") + " #" + who + "</span> " + mark(drawn.HTML, wanted)
		if l.Stream == "slipway" {
			drawn.Class = "fin"
		}
		out = append(out, drawn)
	}
	return out
}

// mark puts <mark> around the text that is looked for, in HTML of views/ansi: text with spans, of which the tags and
// the entities stay whole.
func mark(html, wanted string) string {
	wanted = strings.ToLower(strings.TrimSpace(wanted))
	if wanted == "" {
		return html
	}
	var out strings.Builder
	for html != "" {
		tag := strings.IndexByte(html, '<')
		if tag < 0 {
			tag = len(html)
		}
		markText(&out, html[:tag], wanted)
		html = html[tag:]
		end := strings.IndexByte(html, '>') + 1
		if end == 0 { // views/ansi writes no such thing
			end = len(html)
		}
		out.WriteString(html[:end])
		html = html[end:]
	}
	return out.String()
}

func markText(out *strings.Builder, escaped, wanted string) {
	text := unescape.Replace(escaped)
	for {
		lower := strings.ToLower(text)
		at := strings.Index(lower, wanted)
		if at < 0 || len(lower) != len(text) { // some letters change their length: then nothing is marked
			out.WriteString(escape.Replace(text))
			return
		}
		out.WriteString(escape.Replace(text[:at]) + "<mark>" + escape.Replace(text[at:at+len(wanted)]) + "</mark>")
		text = text[at+len(wanted):]
	}
}

// The entities that views/ansi writes.
var (
	escape   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")
	unescape = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&#34;", `"`, "&#39;", "'", "&amp;", "&")
)
