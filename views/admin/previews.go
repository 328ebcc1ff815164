package admin

import (
	"strconv"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// PreviewsView is how many previews each team has and may have.
type PreviewsView struct {
	Usages   []models.PreviewUsage
	Form     components.Form // that of FormTeam
	FormTeam string
	Curl     components.CurlExample
}

// field is the input of a team's limit.
func (v PreviewsView) field(u models.PreviewUsage) (components.Form, string) {
	if v.FormTeam == u.Team.Slug {
		return v.Form, v.Form.Value("previews", "")
	}
	if u.Team.PreviewLimit == 0 {
		return components.Form{}, ""
	}
	return components.Form{}, strconv.Itoa(u.Team.PreviewLimit)
}

// previewWords says what holds for the team.
func previewWords(u models.PreviewUsage) string {
	words := strconv.Itoa(u.Live) + " live, any number at once"
	if u.Limit > 0 {
		words = strconv.Itoa(u.Live) + " of " + strconv.Itoa(u.Limit) + " live"
	}
	if u.Queued > 0 {
		words += ", " + strconv.Itoa(u.Queued) + " waiting for a place"
	}
	return words
}
