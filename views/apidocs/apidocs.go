// Package apidocs holds the pages that describe the API: one for each noun,
// with every call, its fields and how to make it from a command line.
package apidocs

import (
	"strings"

	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// View is one page of the description.
type View struct {
	Groups  []Group
	Current Group
	BaseURL string
}

// Group is the calls about one noun.
type Group struct {
	Name  string // as in the path
	Title string
	Calls []Call
}

// Call is one operation.
type Call struct {
	ID          string
	Method      string
	Path        string
	Summary     string
	Description string
	Status      string  // of a good answer
	Params      []Field // in the path, the query and the header
	Body        []Field
	Answer      []Field
	Type        string // what is answered, such as Build
	List        bool   // a list of it is
	See         string // the id of the call that describes the type; empty: Answer does
	Curl        components.CurlExample
}

// Field is one value of a request or an answer.
type Field struct {
	Name     string
	Type     string
	In       string // path, query or header; empty in bodies
	Required bool
	Text     string
}

// href is the page of the group.
func (g Group) href() string { return "/api/docs/" + g.Name }

// answered says what is answered.
func (c Call) answered() string {
	if c.List {
		return "a list of "
	}
	return "a "
}

// kind says what the value is and whether it must be sent.
func (f Field) kind() string {
	kind := f.Type
	if f.In != "" {
		kind += ", " + f.In
	}
	if f.Required {
		kind += ", needed"
	}
	return kind
}

// paragraphs splits a description, which is written for Markdown.
func paragraphs(text string) []string {
	var out []string
	for p := range strings.SplitSeq(text, "\n\n") {
		if p != "" {
			out = append(out, strings.ReplaceAll(p, "`", ""))
		}
	}
	return out
}

// Tabs are the groups, for the head of the page.
func (v View) Tabs() []layout.Tab {
	tabs := make([]layout.Tab, len(v.Groups))
	for i, g := range v.Groups {
		tabs[i] = layout.Tab{Label: g.Title, Href: g.href(), Current: g.Name == v.Current.Name}
	}
	return tabs
}

// rules hold for all calls.
var rules = []struct{ name, text string }{
	{"Lists", "answer items and next: send next as ?cursor= for the page after it, and ?limit= up to 100."},
	{"Errors", "are application/problem+json (RFC 9457): detail says what happened and what to do, errors which field is wrong."},
	{"Repeating", "a POST that starts work is safe with an Idempotency-Key of your own: the same key and body get the first answer."},
	{"Not changed", "send an answer's ETag as If-None-Match; 304 says that you have it already."},
	{"Units", "times are RFC 3339 in UTC, sizes bytes, durations seconds."},
}
