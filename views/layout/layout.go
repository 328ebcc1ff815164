// Package layout holds what surrounds every page: the document, the sidebar, the head with title, tabs and actions.
//
// A page calls Shell, and inside it Head (the children are the actions) and Content (the children are the page):
//
//	@layout.Shell(p) {
//		@layout.Head(p) { <a class="btn primary" href="/tokens/new">New token</a> }
//		@layout.Content() { … }
//	}
//
// Pages for people who are not signed in call Plain instead.
package layout

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/a-h/templ"
	"slipway.dev/views/components"
)

// Assets finds the files that a page links to.
type Assets interface {
	URL(name string) string // where an asset is served; empty where there is none
	Sprite() string         // the icons, as one SVG element
}

// Page is what every page is told. The handler fills the first part for its page; web.page fills the second.
type Page struct {
	Title  string          // the heading
	Window string          // the window's title, where it says more than the heading
	State  string          // the state of what the page is about: a badge, the favicon, a mark in the window's title
	Lead   string          // one sentence under the heading
	Meta   templ.Component // facts under the heading, or nil
	Nav    string          // the sidebar's entry that is current: home, repositories, apps, builds, images, environments, teams, tokens, admin
	Crumbs []Link          // the way here, without this page
	Tabs   []Tab
	Live   []string // topics whose change redraws the page, such as "app:ID"
	Reload int      // seconds after which a page without scripts loads itself again; 0: never
	Every  int      // seconds after which a page reads itself again for what changed, as after a change of a topic; 0: never

	NoKeys  bool   // single keys are no shortcuts
	Theme   string // light, dark, or empty for the system's
	User    string // the name of who is signed in; empty: nobody
	Admin   bool
	Path    string // the path of the request, to come back to
	BaseURL string // how the portal is reached from outside, without a slash at its end
	Notice  string // what the action before this page did, such as "Token revoked"
	Undo    string // where a POST takes that back; empty: nowhere
	Assets  Assets
}

// Link is a name that leads somewhere.
type Link struct{ Label, Href string }

// Tab is one of a page's views. Count stands behind its label when not empty.
type Tab struct {
	Label, Href, Count string
	Current            bool
}

// Curl is the API twin of an action, with the portal's own address.
func (p Page) Curl(method, path, body string) components.CurlExample {
	return components.CurlExample{Method: method, URL: p.BaseURL + path, Body: body}
}

// WindowTitle is the title with the mark of the state, so that a tab in the background tells it. Views but the first
// are named, so that a browser's history tells them apart.
func (p Page) WindowTitle() string {
	title := p.Title
	if i := slices.IndexFunc(p.Tabs, func(t Tab) bool { return t.Current }); i > 0 {
		title = p.Tabs[i].Label + " · " + title
	}
	if p.Window != "" {
		title = p.Window
	}
	return components.TitleMark(p.State) + title + " · Slipway"
}

// liveURL is the event stream of the page's topics, empty for pages that stand still.
func (p Page) liveURL() string {
	if len(p.Live) == 0 {
		return ""
	}
	return "/live?topics=" + url.QueryEscape(strings.Join(p.Live, ","))
}

// status is what is said aloud when the page has changed.
func (p Page) status() string {
	if p.State == "" {
		return ""
	}
	return fmt.Sprintf("%s: %s", p.Title, components.Word(p.State))
}

// place is one entry of the sidebar.
type place struct{ id, icon, label, href string }

var (
	mainPlaces = []place{
		{"home", "home", "Home", "/"},
		{"repositories", "repo", "Repositories", "/repositories"},
		{"apps", "box", "Apps", "/apps"},
		{"builds", "play", "Builds", "/builds"},
		{"images", "layers", "Images", "/images"},
		{"environments", "server", "Environments", "/environments"},
	}
	yourPlaces = []place{
		{"teams", "users", "Teams", "/teams"},
		{"tokens", "key", "Tokens", "/tokens"},
		{"docs", "doc", "API docs", "/api/docs"},
	}
	adminPlaces = []place{{"admin", "gear", "Admin", "/admin"}}
)

// yours are the places below the main ones.
func (p Page) yours() []place {
	if p.Admin {
		return append(yourPlaces[:len(yourPlaces):len(yourPlaces)], adminPlaces...)
	}
	return yourPlaces
}

// keys are the shortcuts that the help lists.
var keys = []struct{ keys, does string }{
	{"⌘ K", "Search and jump (also Ctrl K, or /)"},
	{"g h", "Home"},
	{"g r", "Repositories"},
	{"g a", "Apps"},
	{"g b", "Builds"},
	{"g i", "Images"},
	{"g e", "Environments"},
	{"g t", "Teams"},
	{"f", "Follow a log"},
	{"w", "Wrap the lines of a log"},
	{"e", "Next error in a log"},
	{"?", "This help"},
}
