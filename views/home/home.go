// Package home holds the first page: what waits for the person, and what of theirs runs where.
package home

import (
	"slipway.dev/models"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
)

// View is the first page.
type View struct {
	Waiting []Wait
	Apps    []apps.ListItem
	More    bool // there are more apps than are shown
	Builds  []models.Build
	Way     []Step // the way to the first running app; empty once it was gone
	Curl    components.CurlExample
}

// Wait is something that needs the person.
type Wait struct {
	State string // failed, waiting
	Name  string // what it is about
	Text  string
	Href  string
	Verb  string // the button's word, such as "Review"
}

// Step is one step of the way to the first running app.
type Step struct {
	Title string
	Text  string
	Href  string
	Verb  string
	Done  bool
}

// current is the number of the first step that is not done.
func current(way []Step) int {
	for i, s := range way {
		if !s.Done {
			return i
		}
	}
	return len(way)
}

// by names who did something, after its time.
func by(name string) string {
	if name == "" {
		return ""
	}
	return " by " + name
}
