package models

import (
	"regexp"
	"strings"
)

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// ValidName tells whether s can be a team's slug, an app's or an environment's
// name: a DNS label of at most 40 characters (RFC 1123 §2.1), so that it fits
// into host names and image names.
func ValidName(s string) bool { return label.MatchString(s) && !strings.Contains(s, "--") }

// NameHelp says what ValidName asks for.
const NameHelp = "Use 1 to 40 lower-case letters, digits and single hyphens; begin and end with a letter or digit."
