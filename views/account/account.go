// Package account holds the page about the person who is signed in: who they are here, their sessions, their password.
package account

import (
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// View is the person's own page.
type View struct {
	User        models.User
	Issuer      string // its name
	Sessions    []models.Session
	Current     string // the id of this browser's session
	HasPassword bool   // the password is kept here
	Password    components.Form
	Curl        components.CurlExample
}

// Device says in a few words what browser a session is of.
func Device(userAgent string) string {
	browser := first(userAgent, [][2]string{
		{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"},
	})
	system := first(userAgent, [][2]string{
		{"Windows", "Windows"}, {"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Mac OS", "macOS"}, {"Linux", "Linux"},
	})
	switch {
	case browser == "" && system == "":
		return "Unknown browser"
	case system == "":
		return browser
	case browser == "":
		return "Browser on " + system
	}
	return browser + " on " + system
}

// first returns the word of the first mark that the text holds.
func first(text string, marks [][2]string) string {
	for _, m := range marks {
		if strings.Contains(text, m[0]) {
			return m[1]
		}
	}
	return ""
}
