package admin

import (
	"slices"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// TargetsView is the list of targets.
type TargetsView struct {
	Targets  []TargetRow
	Removals []models.TargetRemoval // deleted ones that still have something at their providers
	Curl     components.CurlExample
}

// TargetRow is a target and how it is now.
type TargetRow struct {
	Target  models.Target
	State   string // reachable or unreachable
	Message string
}

// TargetKindsView is the choice of a kind for a new target.
type TargetKindsView struct {
	Kinds []TargetKind
	Curl  components.CurlExample
}

// TargetKind is a way to run containers.
type TargetKind struct {
	Name, Title, Help string
}

func (v TargetKindsView) links() []components.KindLink {
	out := make([]components.KindLink, len(v.Kinds))
	for i, k := range v.Kinds {
		out[i] = components.KindLink{Href: "/admin/targets/new?kind=" + k.Name, Title: k.Title, Help: k.Help}
	}
	return out
}

// TargetView is the form of one target.
type TargetView struct {
	Target    models.Target // without an id: a new one
	KindTitle string
	KindHelp  string
	Fields    []TargetField
	Prices    []TargetField       // of the provider, for this target
	Choices   []components.Option // the registries that it may pull from
	Keeps     bool                // it may have something for itself at its provider
	Teams     []models.Team
	Granted   []string // ids of teams
	State     string
	Message   string
	CloudInit string // user data that makes a new machine its host; empty where the kind has none
	Form      components.Form
	Federates bool // the kind's cloud can trust the portal without keys
}

// TargetField is a setting that the target's kind has.
type TargetField struct {
	Name, Label, Help, Example string
	Group                      string // heading that it and those after it stand below
	Secret, Required           bool
	Lines                      int  // of a text that has several
	Check                      bool // a box to check
	Made                       bool // by Slipway, for copying
	Registry                   bool // one of the registries
}

// TargetDeleteView says what goes with a target.
type TargetDeleteView struct {
	Target    models.Target
	Resources []KeptResource
	Unknown   string // why it is not known what goes
	Curl      components.CurlExample
}

// KeptResource is one thing that goes at the provider.
type KeptResource struct {
	Kind, Name string
	Link       string // into the provider's console; empty: none
}

// fieldGroup is the settings below one heading.
type fieldGroup struct {
	Title  string // empty: they come first, without one
	Fields []TargetField
}

// groups are the settings in the order of the form.
func (v TargetView) groups() []fieldGroup {
	var all []fieldGroup
	for _, f := range v.Fields {
		if len(all) == 0 || f.Group != "" {
			all = append(all, fieldGroup{Title: f.Group})
		}
		last := &all[len(all)-1]
		last.Fields = append(last.Fields, f)
	}
	return all
}

// pricesOpen tells whether the prices are shown at once: where one was entered, or is wrong.
func (v TargetView) pricesOpen() bool {
	return slices.ContainsFunc(v.Prices, func(f TargetField) bool {
		return v.Form.Value(f.Name, v.Target.Settings[f.Name]) != "" || v.Form.Error(f.Name) != ""
	})
}

func (v TargetView) action() string {
	if v.Target.ID == "" {
		return "/admin/targets"
	}
	return "/admin/targets/" + v.Target.ID
}

// field is the input of a setting; a secret's value is never shown.
func (v TargetView) field(f TargetField) components.Field {
	out := components.Field{Rows: f.Lines, Name: f.Name, Label: f.Label, Hint: f.Help, Placeholder: f.Example, Required: f.Required, Optional: !f.Required, Mono: true, Value: v.Target.Settings[f.Name]}
	if f.Secret && v.Target.ID != "" && out.Rows > 0 {
		out.Placeholder = "The stored one stays while this is empty."
	}
	if f.Secret {
		out.Type = "password"
		out.Required = f.Required && v.Target.ID == ""
	}
	return out
}

func (v TargetView) grantedTo(t models.Team) bool {
	if len(v.Form.Values) > 0 {
		return slices.Contains(v.Form.Values["team_ids"], t.ID)
	}
	return slices.Contains(v.Granted, t.ID)
}
