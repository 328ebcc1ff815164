package deployments

import (
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// ProviderView is what a deployment's target made at its provider, and what that says happened.
type ProviderView struct {
	Deployment models.Deployment
	Resources  []Resource
	NoList     string // why there is no list of what was made
	Events     []ProviderEvent
	NoEvents   string // why there are no events
	Curl       components.CurlExample
	EventsCurl components.CurlExample
}

// Resource is one thing that was made.
type Resource struct {
	Kind, Name string
	Link       string // into the provider's console; empty: none
}

// ProviderEvent is something that the provider says happened.
type ProviderEvent struct {
	At           time.Time
	Object, Text string
	Warning      bool
}

// ProviderURL is the page about what the deployment is at its provider.
func ProviderURL(d models.Deployment) string { return URL(d) + "/provider" }

// icon is what the event is marked with.
func (e ProviderEvent) icon() string {
	if e.Warning {
		return "warn"
	}
	return "history"
}

// word says in a word what the icon says.
func (e ProviderEvent) word() string {
	if e.Warning {
		return "Warning"
	}
	return "Event"
}
