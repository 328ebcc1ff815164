// Package teams holds the pages about teams: the list, the form that makes one, and one team with its members, tokens and audit log.
package teams

import (
	"slipway.dev/models"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
	"slipway.dev/views/tokens"
)

// ListView is the list of teams.
type ListView struct {
	Teams []models.Team
	Roles map[string]models.Role // the reader's, by team id
	First string
	Next  string
	Curl  components.CurlExample
}

// NewView is the form that makes a team.
type NewView struct {
	Form components.Form
	Curl components.CurlExample
}

// Header is what every page of one team is told.
type Header struct {
	Team    models.Team
	CanEdit bool // a maintainer
}

// MembersView is the team's members.
type MembersView struct {
	Header
	Members []models.Member // with User
	Me      string          // the reader's user id
	Query   string          // whom the maintainer looks for
	Found   []models.User   // who answers to that and is no member yet
	Form    components.Form // of adding a member
	Curl    components.CurlExample
}

// TokensView is the team's tokens.
type TokensView struct {
	Header
	Tokens tokens.View
}

// RegistriesView is the external registries that the team may use.
type RegistriesView struct {
	Header
	Registries []GrantedRegistry
	Curl       components.CurlExample
}

// GrantedRegistry is a registry and what the team may do there.
type GrantedRegistry struct {
	Registry models.Registry
	Access   []models.RegistryGrant
}

// state says in one word whether the last check passed.
func (g GrantedRegistry) state() string { return admin.RegistryState(g.Registry) }

// SettingsView is the form of a team's name, and that of its image repositories.
type SettingsView struct {
	Header
	Form       components.Form // of the name
	Images     components.Form // of the images
	Curl       components.CurlExample
	ImagesCurl components.CurlExample
}

// AuditView is the team's audit log.
type AuditView struct {
	Header
	Entries []models.AuditEntry
	Actions []components.FilterLink
	First   string
	Next    string
}

// URL is the team's page.
func URL(t models.Team) string { return "/teams/" + t.Slug }

// tabs are the team's pages; maintainers see more of them.
func (h Header) tabs(current string) []layout.Tab {
	at := URL(h.Team)
	list := []layout.Tab{
		{Label: "Members", Href: at, Current: current == "members"},
		{Label: "Variables", Href: at + "/variables", Current: current == "variables"},
		{Label: "Domains", Href: at + "/domains", Current: current == "domains"},
		{Label: "Previews", Href: "/previews?team=" + h.Team.Slug},
		{Label: "Images", Href: at + "/images", Current: current == "images"},
		{Label: "Registries", Href: at + "/registries", Current: current == "registries"},
		{Label: "Deliveries", Href: at + "/deliveries", Current: current == "deliveries"},
	}
	if h.CanEdit {
		list = append(list,
			layout.Tab{Label: "Connections", Href: at + "/connections", Current: current == "connections"},
			layout.Tab{Label: "Tokens", Href: at + "/tokens", Current: current == "tokens"},
			layout.Tab{Label: "Audit", Href: at + "/audit", Current: current == "audit"},
			layout.Tab{Label: "Settings", Href: at + "/settings", Current: current == "settings"})
	}
	return list
}

// Frame fills in the page's title, place and tabs.
func (h Header) Frame(p layout.Page, current string) layout.Page {
	p.Title, p.Nav, p.Crumbs, p.Tabs = h.Team.Name, "teams", []layout.Link{{Label: "Teams", Href: "/teams"}}, h.tabs(current)
	return p
}

// Roles are the roles to choose from, with what each may do.
var Roles = []components.Option{
	{Value: string(models.RoleViewer), Label: "Viewer", Sub: "reads everything but secrets"},
	{Value: string(models.RoleDeveloper), Label: "Developer", Sub: "builds, deploys, changes apps and variables"},
	{Value: string(models.RoleMaintainer), Label: "Maintainer", Sub: "members, repositories, environments, tokens"},
}
