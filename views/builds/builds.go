// Package builds holds the pages about builds: the list, one build with its timeline and log, and the form that starts
// one.
package builds

import (
	"fmt"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// ListView is a page of builds, of all apps or of one.
type ListView struct {
	Builds  []models.Build // newest first, each with App and Steps
	ShowApp bool           // name the app in each row
	Filters []components.FilterLink
	First   string // the address of the first page, where this is a later one
	Next    string // the address of the next page, or empty
	App     *models.App
	Curl    components.CurlExample
}

// PageView is one build.
type PageView struct {
	Build     models.Build // with App and Steps
	Reason    models.Wait  // why it waits, in one sentence
	Log       components.LogView
	CanBuild  bool // the person may cancel, build again and deploy
	Elsewhere bool // the image is in a registry that the team may not pull from here
	Deployed  []models.Deployment
	Changes   *models.BuildChanges    // since the last good build; nil where it is not compared
	File      *models.BuildDockerfile // nil: it was not read yet
	Told      *Told                   // nil: no forge is told
	BuildCurl components.CurlExample
	LogCurl   components.CurlExample

	ApproveCurl components.CurlExample
}

// Told is what a forge was told of the build, or is to be told.
type Told struct {
	models.ForgeReport
	Forge string // what people call the forge
	Word  string // the forge's word for the build's state
}

// words say how far the forge knows of the build.
func (t Told) words() string {
	switch {
	case t.GivenUp():
		return t.Forge + " can't be told: " + t.Error
	case t.Error != "":
		return t.Forge + " is told “" + t.Word + "” as soon as it can be: " + t.Error
	case t.NextAt != nil:
		return t.Forge + " is being told: " + t.Word
	}
	return t.Forge + " told: " + t.Sent
}

// NewView is the form that starts a build.
type NewView struct {
	App    models.App
	Form   components.Form
	Refs   []models.Ref // branches first, then tags
	Branch string       // the branch that is chosen at first
	Curl   components.CurlExample
}

// branchesOf are the names offered while typing.
func (v NewView) options() []components.Option {
	var options []components.Option
	for _, r := range v.Refs {
		label := r.Name
		if r.Kind == models.RefTag {
			label = "tag " + r.Name
		}
		options = append(options, components.Option{Value: r.Name, Label: label})
	}
	return options
}

// href is the build's page.
func href(b models.Build) string { return "/builds/" + b.ID }

// Subject is what people call the build: its commit's first line.
func Subject(b models.Build) string {
	if b.CommitSubject != "" {
		return b.CommitSubject
	}
	return "Build of " + b.Ref
}

// Origin says what asked for the build and who: "push by ada", "pull request #7 by bob"; of a click just the name.
func Origin(b models.Build) string {
	what := map[models.BuildTrigger]string{models.TriggerPush: "push", models.TriggerSchedule: "schedule", models.TriggerForge: "run at the forge"}[b.Trigger]
	if b.PullRequest.Number != 0 {
		what = fmt.Sprintf("pull request #%d", b.PullRequest.Number)
	}
	switch {
	case what == "":
		return b.CreatedByName
	case b.CreatedByName == "":
		return what
	}
	return what + " by " + b.CreatedByName
}

// sources pairs the lines of the Dockerfile that failed with their numbers.
type source struct {
	number int
	text   string
}

func sources(e *models.BuildError) []source {
	var lines []source
	for i, text := range e.Source {
		lines = append(lines, source{e.Line + i, text})
	}
	return lines
}

// done tells how many steps are over, for the heading of the timeline.
func done(steps []models.BuildStep) int {
	n := 0
	for _, s := range steps {
		if s.State != models.StepPending && s.State != models.StepRunning {
			n++
		}
	}
	return n
}

// cached tells how many steps came from the cache.
func cached(steps []models.BuildStep) int {
	n := 0
	for _, s := range steps {
		if s.Cached || s.State == models.StepCached {
			n++
		}
	}
	return n
}

// canceled says what became of a build that was canceled.
func canceled(b models.Build) string {
	if b.Error != nil {
		return b.Error.Message + " No tag was moved to an image of it."
	}
	return "The build was canceled. No tag was moved to an image of it."
}
