package environments

import (
	"slices"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// PromoteView is all that can be promoted from one environment to another.
type PromoteView struct {
	From, Environment models.Environment
	Items             []PromoteItem
	Total             int
	First, Next       string
	Form              components.Form
	CanDeploy         bool
	CanOverride       bool // there is a freeze, and the reader may deploy all the same by saying why
	Curl              components.CurlExample
}

// PromoteItem is an app that can be promoted, with what that would bring.
type PromoteItem struct {
	App      models.App
	Now      *models.Deployment // what serves where it goes; nil: nothing
	Source   models.Deployment  // what serves where it comes from
	Details  string             // the address of the whole plan
	Words    []string           // such as "3 commits", "LOG_LEVEL added"
	Warnings []string           // checks that failed, and that don't keep it out
	Refused  string             // why it can't be promoted; empty: it can be
	Frozen   bool               // and a freeze is all that refuses it
	Ready    bool               // every check passed
	Hash     string             // of the configuration that was looked at
}

func (v PromoteView) title() string {
	return components.Count(v.Total, "app is", "apps are") + " ahead in " + v.From.Name
}

// ticked tells whether the box of the app was ticked, where the form was sent before.
func (v PromoteView) ticked(i PromoteItem) bool {
	sent, ok := v.Form.Values["app"]
	return !ok || slices.Contains(sent, i.App.ID)
}

// PromotedView is what became of a promotion.
type PromotedView struct {
	Results []PromotedApp
}

// PromotedApp is what became of one app.
type PromotedApp struct {
	App        models.App
	Deployment *models.Deployment // nil where it was refused
	Refused    string
}
