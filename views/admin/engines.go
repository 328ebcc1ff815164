package admin

import (
	"maps"
	"slices"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// EnginesView is the list of what builds run on.
type EnginesView struct {
	Engines []EngineRow
	Curl    components.CurlExample
}

// EngineRow is an engine and how it is now.
type EngineRow struct {
	Engine  models.BuildEngine
	Fixed   bool // of the configuration
	Running int64
}

// EngineView is the form of one engine.
type EngineView struct {
	EngineRow // without an id: a new one
	Form      components.Form
	Curl      components.CurlExample
}

func (v EngineView) action() string {
	if v.Engine.ID == "" {
		return "/admin/engines"
	}
	return "/admin/engines/" + v.Engine.ID
}

func (v EngineView) isNew() bool { return v.Engine.ID == "" }

// wrongKeys tells whether something is wrong with the certificates that were sent.
func (v EngineView) wrongKeys() bool {
	return v.Form.Error("ca") != "" || v.Form.Error("cert") != "" || v.Form.Error("key") != ""
}

func (r EngineRow) state() string {
	switch {
	case !r.Engine.Enabled:
		return "disabled"
	case r.Engine.Error != "":
		return "unreachable"
	case r.Engine.Version == "":
		return "unknown"
	}
	return "reachable"
}

// message is what the engine says of itself, or why it says nothing.
func (r EngineRow) message() string {
	if r.Engine.Error != "" {
		return r.Engine.Error
	}
	return r.Engine.Version
}

// load says how many builds run on the engine.
func (r EngineRow) load() string {
	text := components.Count(r.Running, "build runs", "builds run")
	if r.Engine.MaxBuilds > 0 {
		text += ", at most " + components.Thousands(r.Engine.MaxBuilds)
	}
	return text
}

// platforms are those that the engine builds for, the first being its own.
func (r EngineRow) platforms() string { return strings.Join(r.Engine.Platforms, ", ") }

// labels are what the engine's workers are labelled with.
func (r EngineRow) labels() []string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(r.Engine.Labels)) {
		all = append(all, k+"="+r.Engine.Labels[k])
	}
	return all
}
