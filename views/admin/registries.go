package admin

import (
	"slices"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// RegistriesView is the list of external registries.
type RegistriesView struct {
	Registries []models.Registry
	Curl       components.CurlExample
}

// RegistryKindsView is the choice of a kind.
type RegistryKindsView struct {
	Kinds []RegistryKind
	Curl  components.CurlExample
}

func (v RegistryKindsView) links() []components.KindLink {
	out := make([]components.KindLink, len(v.Kinds))
	for i, k := range v.Kinds {
		out[i] = components.KindLink{Href: "/admin/registries/new?kind=" + k.Name, Title: k.Title, Host: k.Host}
	}
	return out
}

// RegistryKind is a sort of registry.
type RegistryKind struct {
	Name, Title, Host string
}

// RegistryView is one registry: how it is, its form, its grants.
type RegistryView struct {
	Registry  models.Registry // without an id: a new one
	Kind      RegistryKind
	KindHelp  string
	Example   string // of a host
	Fields    []RegistryField
	Teams     []models.Team
	Uses      []RegistryUse
	Form      components.Form
	GrantForm components.Form
	Curl      components.CurlExample
	GrantCurl components.CurlExample
}

// RegistryField is a setting that the registry's kind has.
type RegistryField struct {
	Name, Label, Help, Example string
	Secret, Long, Switch       bool
}

// RegistryUse is an app whose images go to the registry.
type RegistryUse struct {
	AppID, App, Team, Repository string
}

func (v RegistryView) isNew() bool { return v.Registry.ID == "" }

func (v RegistryView) action() string {
	if v.isNew() {
		return "/admin/registries"
	}
	return registryURL(v.Registry)
}

func registryURL(r models.Registry) string { return "/admin/registries/" + r.ID }

// field is the input of a setting; a secret's value is never shown.
func (v RegistryView) field(f RegistryField) components.Field {
	out := components.Field{Name: f.Name, Label: f.Label, Hint: f.Help, Placeholder: f.Example, Optional: true, Mono: true, Value: v.Registry.Settings[f.Name], Rows: 4}
	if f.Secret {
		out.Type, out.Value = "password", ""
		if !v.isNew() {
			out.Hint = strings.TrimSpace(out.Hint + " Empty: the one that is there stays, as long as the host does.")
		}
	}
	return out
}

// opened tells whether the rarely needed fields are to be seen.
func (v RegistryView) opened() bool {
	return v.Registry.PlainHTTP || v.Registry.Realm != "" || v.Form.Error("realm") != "" || v.Form.Error("plain_http") != ""
}

var accesses = []components.Option{
	{Value: "", Label: "Only teams with a grant"},
	{Value: string(models.RegistryPull), Label: "Every team may pull"},
	{Value: string(models.RegistryPush), Label: "Every team may pull and push"},
}

var grants = []components.Option{
	{Value: string(models.RegistryPull), Label: "pull"},
	{Value: string(models.RegistryPush), Label: "pull and push"},
}

// teams are the teams to choose from.
func (v RegistryView) teams() []components.Option {
	out := make([]components.Option, 0, len(v.Teams))
	for _, t := range v.Teams {
		out = append(out, components.Option{Value: t.ID, Label: t.Name})
	}
	return out
}

// RegistryState says in one word how the last check ended: failed where a step
// failed, passed where at least the login or a pull did, else unknown.
func RegistryState(r models.Registry) string {
	has := func(result models.CheckResult) bool {
		return slices.ContainsFunc(r.Checks, func(c models.RegistryCheck) bool { return c.Result == result })
	}
	switch {
	case has(models.CheckFailed):
		return "failing"
	case has(models.CheckPassed):
		return "reachable"
	}
	return "unknown"
}

// summary is what the check found, in few words.
func summary(r models.Registry) string {
	var parts []string
	for _, c := range r.Checks {
		parts = append(parts, stepWord(c.Step)+" "+strings.ToLower(components.Word(c.Result)))
	}
	return strings.Join(parts, " · ")
}

// stepWord is a step of the check.
func stepWord(step string) string {
	if step == "" {
		return ""
	}
	return strings.ToUpper(step[:1]) + step[1:]
}

// AccessWord is what an access allows.
func AccessWord(a models.RegistryAccess) string {
	switch a {
	case models.RegistryPush:
		return "pull and push"
	case models.RegistryPull:
		return "pull"
	case models.RegistryNone:
	}
	return "nothing"
}

// Below are the repositories of a grant, as people write them.
func Below(host, prefix string) string {
	if prefix == "" {
		return host + "/…"
	}
	return host + "/" + prefix + ", " + host + "/" + prefix + "/…"
}

// granted counts the teams of a registry.
func granted(r models.Registry) string {
	switch r.AllTeams {
	case models.RegistryPush, models.RegistryPull:
		return "every team may " + AccessWord(r.AllTeams)
	case models.RegistryNone:
	}
	return components.Count(len(r.Grants), "grant", "grants")
}
