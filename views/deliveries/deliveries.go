// Package deliveries holds the pages about webhooks that arrived: a team's list, and one with its payload.
package deliveries

import (
	"maps"
	"slices"

	"slipway.dev/models"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
	"slipway.dev/views/teams"
)

// ListView is a team's deliveries.
type ListView struct {
	teams.Header
	Deliveries []models.Delivery // newest first, with Connection and Outcomes
	Filters    []components.FilterLink
	Of         string // what the list is narrowed to, such as "the repository shop"
	All        string // the address of the list that is not
	First      string
	Next       string
	Curl       components.CurlExample
}

// PageView is one delivery.
type PageView struct {
	Delivery     models.Delivery // with Connection and Outcomes
	Payload      string
	Cut          bool // there is more of the payload
	CanRedeliver bool
	Curl         components.CurlExample
}

// URL is the delivery's page.
func URL(d models.Delivery) string { return "/deliveries/" + d.ID }

// Title is what people call the delivery.
func Title(d models.Delivery) string {
	if d.Summary != "" {
		return d.Summary
	}
	return d.Event
}

// Crumbs lead from a delivery to its team's list.
func Crumbs(t models.Team) []layout.Link {
	return []layout.Link{{Label: "Teams", Href: "/teams"}, {Label: t.Name, Href: teams.URL(t)}, {Label: "Deliveries", Href: teams.URL(t) + "/deliveries"}}
}

// became is what a row says of the delivery: its message, or the first outcomes.
func became(d models.Delivery) []string {
	var out []string
	if d.Message != "" {
		out = append(out, d.Message)
	}
	for _, o := range d.Outcomes {
		if len(out) == 3 {
			return append(out, "and more")
		}
		out = append(out, of(o)+o.Message)
	}
	return out
}

func of(o models.DeliveryOutcome) string {
	if o.App == "" {
		return o.Repository + ": "
	}
	return o.App + ": "
}

// tone is the state that colours an outcome.
func tone(k models.OutcomeKind) string { return string(k) }

func headerNames(d models.Delivery) []string { return slices.Sorted(maps.Keys(d.Headers)) }
