// Package connections holds the pages about a team's connections to forges: the list, the form that makes one, and one
// connection with what to paste at the forge.
package connections

import (
	"slipway.dev/models"
	"slipway.dev/views/components"
	"slipway.dev/views/teams"
)

// ListView is a team's connections.
type ListView struct {
	teams.Header
	Connections []models.Connection
	Kinds       []Kind
	First       string
	Next        string
	Curl        components.CurlExample
}

// NewView is the form that makes a connection; without a kind it asks for one.
type NewView struct {
	teams.Header
	Kinds []Kind
	Kind  *Kind
	Form  components.Form
	Curl  components.CurlExample
}

func (v NewView) links() []components.KindLink {
	out := make([]components.KindLink, len(v.Kinds))
	for i, k := range v.Kinds {
		out[i] = components.KindLink{Href: listURL(v.Team) + "/new?kind=" + string(k.Name), Title: k.Title, Help: k.Help}
	}
	return out
}

// PageView is one connection.
type PageView struct {
	Team         models.Team
	Connection   models.Connection
	Kind         Kind
	HookURL      string
	Secret       string // the new secret of its webhooks, this once
	Repositories []models.Repository
	Trouble      string    // why the forge could not be told of the last build, and what to do
	Findings     []Finding // of a check that was just made
	Form         components.Form
	Curl         components.CurlExample
	SecretCurl   components.CurlExample
	CheckCurl    components.CurlExample
}

// Finding is one thing that a check of the connection looked at.
type Finding struct{ Name, Verdict, Text string }

// calls tells whether Slipway calls the forge, so that there is something to check.
func (v PageView) calls() bool { return v.Connection.Credential != models.ConnectionNone }

// state is the state whose icon, word and colour the finding has.
func (f Finding) state() string {
	return map[string]string{"pass": "passed", "fail": "missing"}[f.Verdict]
}

// Kind is a kind of forge.
type Kind struct {
	Name        models.ForgeKind
	Title, Help string
	BaseURL     string // the one that most use
	Nowhere     bool   // has no address
	Credentials []Credential
	Steps       []string
}

// Credential is a way to call a forge, with its settings.
type Credential struct {
	Kind        models.ConnectionCredential
	Title, Help string
	Fields      []Field
}

// Field is one setting of a credential.
type Field struct {
	Name, Label, Help, Example string
	Secret, Long               bool
}

// URL is the connection's page.
func URL(c models.Connection) string { return "/connections/" + c.ID }

func listURL(t models.Team) string { return teams.URL(t) + "/connections" }

// titleOf is what people call the kind.
func titleOf(kinds []Kind, name models.ForgeKind) string {
	for _, k := range kinds {
		if k.Name == name {
			return k.Title
		}
	}
	return string(name)
}

// credentialWord says how Slipway calls the forge.
func credentialWord(c models.ConnectionCredential) string {
	switch c {
	case models.ConnectionToken:
		return "calls it with a token"
	case models.ConnectionApp:
		return "calls it as a GitHub App"
	}
	return "only listens"
}

// credentialSentence is credentialWord as a sentence.
func credentialSentence(c models.ConnectionCredential) string {
	if c == models.ConnectionApp {
		return "Slipway calls it as a GitHub App."
	}
	return "Slipway calls it with a token."
}

// options are the credentials to choose from.
func (k Kind) options() []components.Option {
	var out []components.Option
	for _, c := range k.Credentials {
		out = append(out, components.Option{Value: string(c.Kind), Label: c.Title, Sub: c.Help})
	}
	return out
}

// input is the input of a setting; a secret's value is never shown. It is not marked as needed, for it is so only where
// its credential is chosen.
func (f Field) input(c models.Connection) components.Field {
	out := components.Field{Name: f.Name, Label: f.Label, Hint: f.Help, Placeholder: f.Example, Mono: true, Value: c.Settings[f.Name], Rows: 4}
	if f.Secret {
		out.Type = "password"
		if c.ID != "" && len(f.Help) > 0 {
			out.Hint += " Leave it empty to keep the one that is stored."
		}
	}
	return out
}
