// Package previews holds the pages about previews of pull requests: the list, one preview, and what an app's previews are.
package previews

import (
	"fmt"
	"strconv"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
)

// ListView is the list of previews.
type ListView struct {
	Previews []models.Preview
	Filters  []components.FilterLink // by state
	Usages   []models.PreviewUsage   // of the reader's teams
	Team     string                  // slug of the one that the list is about; empty: all
	First    string
	Next     string
	Curl     components.CurlExample
}

// AppView is an app's previews, and what they are.
type AppView struct {
	apps.Header
	Previews     []models.Preview
	Filters      []components.FilterLink
	Usage        models.PreviewUsage
	Settings     models.PreviewSettings
	Form         components.Form
	Targets      []models.Target      // that the team may use
	Environments []models.Environment // of the team
	First        string
	Next         string
	Curl         components.CurlExample
}

// PageView is one preview.
type PageView struct {
	Preview models.Preview // with App, Team, Environment, Deployment
	Comment models.ForgeComment
	Told    bool // there is a comment, written or not
	CanAct  bool
	Curl    components.CurlExample
}

// URL is the preview's page.
func URL(p models.Preview) string { return "/previews/" + p.ID }

// urlOfTeam narrows the list to a team.
func urlOfTeam(slug string) string { return "/previews?team=" + slug }

// Name is what people call the preview, such as "checkout #12".
func Name(p models.Preview) string {
	if p.App == nil {
		return p.Name()
	}
	return p.App.Name + " " + p.Name()
}

// ends says why the preview ended.
func ends(p models.Preview) string {
	return map[models.PreviewEnd]string{
		models.PreviewClosed: "The pull request was closed.", models.PreviewExpired: "Nothing was pushed for its whole time.",
		models.PreviewRemoved: "It was removed by hand.", models.PreviewOff: "Previews of the app were switched off.",
	}[p.EndReason]
}

// noteOf is the state that a note about the preview is coloured by; empty: there is nothing to note.
func noteOf(p models.Preview) string {
	switch {
	case p.State == models.PreviewQueued:
		return "queued"
	case p.Note != "":
		return "failed"
	case p.Status() == "failed" && p.DeploymentID != "":
		return "failed"
	case p.State == models.PreviewEnding:
		return "removing"
	case p.State == models.PreviewEnded:
		return "ended"
	case p.HeadState == models.BuildWaiting:
		return "waiting"
	}
	return ""
}

// failure is what a failed deployment says.
func failure(p models.Preview) string {
	if p.Deployment != nil && p.Deployment.Error != nil {
		return p.Deployment.Error.Message
	}
	return "The newest deployment did not succeed."
}

// usageWords says how many previews a team has of how many.
func usageWords(u models.PreviewUsage) string {
	words := components.Count(u.Live, "preview", "previews")
	if u.Limit > 0 {
		words = fmt.Sprintf("%d of %s", u.Live, components.Count(u.Limit, "preview", "previews"))
	}
	if u.Queued > 0 {
		words += ", " + strconv.Itoa(u.Queued) + " waiting"
	}
	return words
}

// open tells whether the preview answers at its address.
func open(p models.Preview) bool {
	return p.State == models.PreviewLive && p.URL != "" && p.ServingID != "" && !p.Stopped
}

// left says how long the preview has, as people say it.
func left(until, now time.Time) string {
	switch d := until.Sub(now); {
	case d <= 0:
		return "in a moment"
	case d < time.Hour:
		return "within the hour"
	case d < 48*time.Hour:
		return "in " + components.Count(int(d/time.Hour), "hour", "hours")
	default:
		return "in " + components.Count(int(d/(24*time.Hour)), "day", "days")
	}
}

func (v AppView) targets() []components.Option {
	options := []components.Option{{Label: "Choose a target"}}
	for _, t := range v.Targets {
		options = append(options, components.Option{Value: t.ID, Label: t.Name})
	}
	return options
}

func (v AppView) templates() []components.Option {
	options := []components.Option{{Label: "None"}}
	for _, e := range v.Environments {
		options = append(options, components.Option{Value: e.ID, Label: e.Name})
	}
	return options
}

// alone is the header without the dialog that starts a build: the page has a form of its own.
func (v AppView) alone() apps.Header {
	h := v.Header
	h.CanBuild = h.CanBuild && !h.CanDelete
	return h
}

// template is the name of the environment that previews take their variables from.
func (v AppView) template() string {
	for _, e := range v.Environments {
		if e.ID == v.Settings.TemplateID {
			return e.Name
		}
	}
	return "none"
}

// target is the name of the target that previews run on.
func (v AppView) target() string {
	for _, t := range v.Targets {
		if t.ID == v.Settings.TargetID {
			return t.Name
		}
	}
	return "none"
}

// atMost is the app's own limit as it stands in the field.
func (v AppView) atMost() string {
	if v.Settings.AtMost == 0 {
		return ""
	}
	return strconv.Itoa(v.Settings.AtMost)
}

// unbuilt tells whether no pull request is built, so that there is nothing to preview.
func (v AppView) unbuilt() bool {
	return v.App.Builder == models.BuilderActions || v.App.Triggers.PullRequests != models.PullRequestsSame && v.App.Triggers.PullRequests != models.PullRequestsForks
}
