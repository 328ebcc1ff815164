package images

import (
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// SettingsView is who may pull from a repository and which of its tags never move.
type SettingsView struct {
	Name     string
	Pull     models.AnonymousPull // what the repository says
	Own      []string             // its own patterns; nil: as the team says
	Team     models.Team
	Form     components.Form
	Curl     components.CurlExample
	CanEdit  bool // a maintainer
	Public   bool
	Patterns []string // what holds
}

// TagView is which images a tag named, and when.
type TagView struct {
	models.TagHistory
	Pattern string // that keeps the tag where it is; empty: it may move
	CanMove bool   // a developer
	First   string
	Err     *models.Error
	Curl    components.CurlExample
}

// AddTagView is the form that gives an image one more name.
type AddTagView struct {
	Repository string
	Digest     string
	Patterns   []string // of tags that stay once they are made
	Form       components.Form
	Curl       components.CurlExample
}

// What stands behind a repository's name in the addresses of its pages. A part of a name never is a hyphen alone.
const apart = "/-/"

// at is the first page of a repository of the embedded registry.
func at(name string) string { return HomeURL(models.ImageRepository{Name: name}) }

// SettingsURL is the page of the repository's settings.
func SettingsURL(name string) string { return at(name) + apart + "settings" }

// TagURL is the page of the tag's history.
func TagURL(name, tag string) string { return at(name) + apart + "tags/" + tag }

// AddTagURL is the page that gives the image one more name.
func AddTagURL(name, digest string) string {
	return at(name) + apart + "tag?digest=" + digest
}

// pull is what the repository says of pulls without a login, as its form has it.
func (v SettingsView) pull() string {
	if v.Pull == models.AnonymousAsTeam {
		return "team"
	}
	return string(v.Pull)
}

func (v SettingsView) pullOptions() []components.Option {
	team := "now: only those who signed in"
	if v.Team.AnonymousPull {
		team = "now: anybody"
	}
	return []components.Option{
		{Value: "team", Label: "As " + v.Team.Name + " says", Sub: team},
		{Value: "no", Label: "Only with a login", Sub: "members of the team, its tokens, its builds and deployments"},
		{Value: "yes", Label: "Anybody", Sub: "the whole world that reaches this portal, without a login"},
	}
}

func (v SettingsView) tagsFrom() string {
	if v.Own == nil {
		return "team"
	}
	return "own"
}

func (v SettingsView) tagsOptions() []components.Option {
	team := "now: " + strings.Join(v.Team.ImmutableTags, " ")
	if len(v.Team.ImmutableTags) == 0 {
		team = "now: every tag may move"
	}
	return []components.Option{
		{Value: "team", Label: "As " + v.Team.Name + " says", Sub: team},
		{Value: "own", Label: "Patterns of its own", Sub: "those below, and not the team's"},
	}
}

// PatternsField is the field of immutable tags, one pattern on each line.
func PatternsField(patterns []string) components.Field {
	return components.Field{Name: "immutable_tags", Label: "Immutable tags", Value: strings.Join(patterns, "\n"), Mono: true, Rows: 4, Optional: true,
		Placeholder: "v*\nrelease-*", Hint: "One pattern on each line; * stands for anything. Such a tag can be made, and then neither moves nor is deleted."}
}

// movedTo says what the move did.
func movedTo(m models.TagMove) string {
	switch {
	case m.Digest == "":
		return "was deleted"
	case m.Previous == "":
		return "was made"
	}
	return "came from"
}
