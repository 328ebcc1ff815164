// Package tokens holds the page about a person's tokens, and the parts with
// which a team's page shows its own.
package tokens

import (
	"strconv"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// View is the list of tokens, the form that makes one, and the text of one just made.
type View struct {
	Tokens []models.Token
	First  string
	Next   string
	Scopes []models.Scope // that the person may give
	Form   components.Form
	Made   *models.Token // the token that was just made
	Secret string        // its text, shown this once
	Host   string        // of the registry
	Curl   components.CurlExample
	Action string // where the form goes
	Team   bool   // a team's tokens
}

// days are the lives to choose from.
var days = []components.Option{{Value: "7", Label: "7 days"}, {Value: "30", Label: "30 days"}, {Value: "90", Label: "90 days"}, {Value: "180", Label: "180 days"}, {Value: "366", Label: "1 year"}}

var roles = []components.Option{
	{Value: string(models.RoleDeveloper), Label: "Developer"},
	{Value: string(models.RoleViewer), Label: "Viewer"},
	{Value: string(models.RoleMaintainer), Label: "Maintainer"},
}

// meaning says what a scope lets a token do.
var meaning = map[models.Scope]string{
	models.ScopeRead:          "read everything that you see",
	models.ScopeWrite:         "build, deploy and change things",
	models.ScopeAdmin:         "administer the portal",
	models.ScopeRegistryRead:  "pull images",
	models.ScopeRegistryWrite: "push images",
}

func scopeField(s models.Scope) string { return "scope-" + string(s) }

// state is the token's state as a badge.
func state(t models.Token) string {
	if t.ExpiresAt != nil && t.ExpiresAt.Before(time.Now()) {
		return "expired"
	}
	return "active"
}

func scopes(t models.Token) string {
	names := make([]string, len(t.Scopes))
	for i, s := range t.Scopes {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// expiry says when the token ends.
func expiry(t models.Token) string {
	if t.ExpiresAt == nil {
		return "never expires"
	}
	left := int(time.Until(*t.ExpiresAt).Hours() / 24)
	switch {
	case left < 0:
		return "expired"
	case left == 0:
		return "expires today"
	}
	return "expires in " + strconv.Itoa(left) + " d"
}

// checked tells whether the scope is ticked: read and pull are at first.
func checked(form components.Form, s models.Scope) bool {
	if len(form.Values) > 0 {
		for _, v := range form.Values["scopes"] {
			if v == string(s) {
				return true
			}
		}
		return false
	}
	return s == models.ScopeRead || s == models.ScopeRegistryRead
}
