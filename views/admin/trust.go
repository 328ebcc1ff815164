package admin

import (
	"fmt"

	"slipway.dev/views/components"
)

// TrustView is how a cloud is made to trust a target without keys.
type TrustView struct {
	TargetID, Target, KindTitle string // without an id: the target is to be made, of the kind KindName
	KindName                    string
	Cloud                       string // such as Google Cloud
	Issuer, Audience            string
	Subject, Releases           string
	Inputs                      []TrustInput
	Parts                       []TrustPart
	Settings                    []TrustSetting
	Notes                       []string
	Findings                    []TrustFinding // of a check that was just made
	Form                        components.Form
	Curl, CheckCurl             components.CurlExample
}

// TrustInput is something that the commands are made with.
type TrustInput struct {
	Name, Label, Help, Example string
	Required, Check            bool
	Value                      string
}

// TrustPart is a piece of the set-up to copy.
type TrustPart struct{ Title, Help, Language, Text string }

// instead tells whether the piece does all that the others do, in another way.
func (p TrustPart) instead() bool { return p.Language == "hcl" }

// TrustSetting is a setting of the target that goes with the set-up.
type TrustSetting struct{ Name, Value string }

// TrustFinding is one thing that a check looked at.
type TrustFinding struct{ Title, State, Text string }

// action is where the form of the inputs goes.
func (v TrustView) action() string {
	if v.TargetID == "" {
		return "/admin/targets/trust"
	}
	return "/admin/targets/" + v.TargetID + "/trust"
}

// back is the form of the target.
func (v TrustView) back() string {
	if v.TargetID == "" {
		return "/admin/targets/new?kind=" + v.KindName
	}
	return "/admin/targets/" + v.TargetID
}

func (v TrustView) field(in TrustInput) components.Field {
	return components.Field{Name: in.Name, Label: in.Label, Hint: in.Help, Placeholder: in.Example, Required: in.Required, Optional: !in.Required, Mono: true, Value: in.Value}
}

// state is the state of a finding as components know it.
func (f TrustFinding) state() string {
	if f.State == "note" {
		return "unknown"
	}
	return f.State
}

// word is what the state of a finding is called.
func (f TrustFinding) word() string {
	switch f.State {
	case "passed":
		return "Works"
	case "failed":
		return "Missing"
	}
	return "Look"
}

func partID(i int) string { return fmt.Sprintf("part-%d", i+1) }

// trustURL is the page about a target's trust.
func (v TargetView) trustURL() string {
	if v.Target.ID == "" {
		return "/admin/targets/trust?kind=" + v.Target.Kind
	}
	return "/admin/targets/" + v.Target.ID + "/trust"
}
