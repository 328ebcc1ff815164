// Package admin holds the pages of the site's admins: people, their sessions, the audit log.
package admin

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
)

// UsersView is the list of people.
type UsersView struct {
	Users     []models.User
	Query     string
	First     string
	Next      string
	CanInvite bool // accounts are kept here
	Curl      components.CurlExample
}

// InviteView is the form that lets a person in, and the link once it is made.
type InviteView struct {
	Form components.Form
	Made *models.User
	Link string // shown this once
}

// UserView is one person.
type UserView struct {
	User     models.User
	Issuer   string // its name
	Here     bool   // the password is kept here
	Sessions []models.Session
	Me       bool   // the reader
	Link     string // a new invite's, shown this once
	Err      *models.Error
}

// AuditView is the audit log of the whole site.
type AuditView struct {
	Entries []models.AuditEntry
	Subject string
	Actions []components.FilterLink
	First   string
	Next    string
}

// Tabs are the admin's pages.
func Tabs(current string) []layout.Tab {
	return []layout.Tab{
		{Label: "People", Href: "/admin/users", Current: current == "users"},
		{Label: "Queue", Href: "/admin/queue", Current: current == "queue"},
		{Label: "Engines", Href: "/admin/engines", Current: current == "engines"},
		{Label: "Targets", Href: "/admin/targets", Current: current == "targets"},
		{Label: "Previews", Href: "/admin/previews", Current: current == "previews"},
		{Label: "Domains", Href: "/admin/domains", Current: current == "domains"},
		{Label: "Images", Href: "/admin/images", Current: current == "images"},
		{Label: "Storage", Href: "/admin/registry", Current: current == "registry"},
		{Label: "Registries", Href: "/admin/registries", Current: current == "registries"},
		{Label: "Keys", Href: "/admin/keys", Current: current == "keys"},
		{Label: "Cache", Href: "/admin/cache", Current: current == "cache"},
		{Label: "Audit", Href: "/admin/audit", Current: current == "audit"},
	}
}

// URL is the person's page.
func URL(u models.User) string { return "/admin/users/" + u.ID }

// state is the person's state as a badge.
func state(u models.User) string {
	if u.DisabledAt != nil {
		return "disabled"
	}
	return "active"
}

// detail is what an entry says beside who did what.
func detail(e models.AuditEntry) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(e.Detail)) {
		if e.Detail[k] != "" {
			parts = append(parts, k+"="+e.Detail[k])
		}
	}
	return strings.Join(parts, " ")
}

// subject is what the entry is about, as people call it.
func subject(e models.AuditEntry) string {
	if e.Name != "" {
		return e.Name
	}
	return e.Subject
}

// hashes are what no table has room for: digests of images, and of configurations.
var hashes = regexp.MustCompile(`\b[0-9a-f]{40,}\b`)

// short cuts each hash of the text as everywhere else, to its first twelve digits.
func short(text string) string {
	return hashes.ReplaceAllStringFunc(text, func(hash string) string { return hash[:12] })
}
