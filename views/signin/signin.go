// Package signin holds the pages that strangers meet: sign in, the embedded
// provider's password form, the set-up of a new portal, and invites.
package signin

import (
	"slipway.dev/models"
	"slipway.dev/views/components"
)

// Way is an issuer that one can sign in with.
type Way struct {
	Name string
	Href string
	Here bool // accounts of this portal's own
}

// LoginView is the page with the ways to sign in.
type LoginView struct {
	Ways      []Way
	Err       *models.Error // why the last attempt did not work
	Host      string        // whose portal this is
	Out       bool          // somebody has just signed out
	Elsewhere string        // where the session at the issuer can be ended too, or empty
	NotSetUp  bool          // there is no admin yet
}

// PasswordView is the embedded provider's form.
type PasswordView struct {
	Action   string // empty: signing in can't go on from here
	Request  string
	UserName string
	Error    string
}

// SetupView is the page that creates the first admin.
type SetupView struct {
	Action string
	Form   components.Form
	Local  bool  // accounts can be kept here
	Ways   []Way // issuers whose account can become the admin's
}

// InviteView is the page where an invited person sets a password.
type InviteView struct {
	Action   string
	UserName string
	Name     string
	Form     components.Form
}

func icon(w Way) string {
	if w.Here {
		return "key"
	}
	return "globe"
}
