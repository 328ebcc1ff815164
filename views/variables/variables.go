// Package variables holds the pages about variables and secrets, of a team and of an environment: what counts there and
// where it comes from, their history, and all of them as text.
package variables

import (
	"net/url"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// Place is where variables are set: what every page about them is told.
type Place struct {
	Team        models.Team
	Environment *models.Environment // nil: the team's own
	App         *models.App         // nil: every app
	Apps        []models.App        // to choose from, in an environment
	CanChange   bool
	CanForget   bool
}

// Base is the address of the variables of the team or of the environment.
func (p Place) Base() string {
	if p.Environment != nil {
		return "/environments/" + p.Environment.ID + "/variables"
	}
	return "/teams/" + p.Team.Slug + "/variables"
}

// URL is an address below Base, about the same app.
func (p Place) URL(path string, more ...string) string {
	q := url.Values{}
	if p.App != nil {
		q.Set("app_id", p.App.ID)
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	if len(q) == 0 {
		return p.Base() + path
	}
	return p.Base() + path + "?" + q.Encode()
}

// Level is where the page's own variables are set.
func (p Place) Level() models.VariableLevel {
	switch {
	case p.Environment == nil:
		return models.LevelTeam
	case p.App == nil:
		return models.LevelEnvironment
	}
	return models.LevelApp
}

// Name is what people call the place.
func (p Place) Name() string {
	switch p.Level() {
	case models.LevelTeam:
		return p.Team.Name
	case models.LevelEnvironment:
		return p.Environment.Name
	}
	return p.App.Name + " in " + p.Environment.Name
}

// gets says who gets what is set there.
func (p Place) gets() string {
	switch p.Level() {
	case models.LevelTeam:
		return "Every app gets them, in every environment of " + p.Team.Name + ", where neither the environment nor the app says otherwise."
	case models.LevelEnvironment:
		return "Every app gets them in " + p.Environment.Name + ", unless the app has its own here."
	}
	return "Only " + p.App.Name + " gets what is set here, and only in " + p.Environment.Name + "."
}

// origin is what people call a level, seen from the place.
func (p Place) origin(l models.VariableLevel) string {
	switch l {
	case models.LevelTeam:
		return "team"
	case models.LevelEnvironment:
		return "environment"
	}
	return "app"
}

// originURL leads to where the variable is set, empty where that is the page itself.
func (p Place) originURL(v models.Variable) string {
	switch {
	case v.Level() == p.Level():
		return ""
	case v.Level() == models.LevelTeam:
		return "/teams/" + p.Team.Slug + "/variables"
	}
	return p.Base()
}

// appOptions are the levels of an environment.
func (p Place) appOptions() []components.Option {
	list := []components.Option{{Label: "Every app"}}
	for _, a := range p.Apps {
		list = append(list, components.Option{Value: a.ID, Label: a.Name})
	}
	return list
}

func (p Place) appID() string {
	if p.App == nil {
		return ""
	}
	return p.App.ID
}

// View is what counts in a place, and the form that changes it.
type View struct {
	Place
	Rows        []Row
	Query       string
	First, Next string
	Late        []Late
	Edit        Edit
	Err         *models.Error // of anything else that was refused
	Curl        []components.CurlExample
}

// Row is a variable that counts.
type Row struct {
	models.Variable
	Overrides []models.Variable
	Late      int // apps that run with another value
}

// Late is an app that runs with other values than are set.
type Late struct {
	App         models.App
	Environment models.Environment
	Digest      string // of the image that it runs
	Changes     []LateChange
}

// LateChange is one of them: added, removed or changed.
type LateChange struct{ Name, Kind string }

// DeployURL leads to the deployment that rolls the values out.
func (l Late) DeployURL() string {
	return "/apps/" + l.App.ID + "/deploy?environment=" + l.Environment.ID + "&image=" + url.QueryEscape(l.Digest)
}

// Said names what changes, a few of many.
func (l Late) Said() string {
	const most = 4
	var list []string
	for i, c := range l.Changes {
		if i == most {
			list = append(list, components.Count(len(l.Changes)-most, "more", "more"))
			break
		}
		list = append(list, c.Name+" "+c.Kind)
	}
	return strings.Join(list, ", ")
}

// Edit is the form of one variable.
type Edit struct {
	Form      components.Form
	Name      string           // empty: a new one
	Set       *models.Variable // as it is set in the place; nil: it is not
	Inherited *models.Variable // what counts there without that
}

func (e Edit) title(p Place) string {
	switch {
	case e.Set != nil:
		return "Change " + e.Name
	case e.Inherited != nil:
		return "Override " + e.Name
	}
	return "Add a variable"
}

// revision is that of what is looked at; empty: nothing is set.
func (e Edit) revision() string {
	if e.Set == nil {
		return ""
	}
	return e.Set.Revision
}

// shown is what the form begins with.
func (e Edit) shown() models.Variable {
	switch {
	case e.Set != nil:
		return *e.Set
	case e.Inherited != nil:
		return *e.Inherited
	}
	return models.Variable{}
}

func (e Edit) valueHint() string {
	if v := e.shown(); v.Secret {
		return "The value that is set is not shown. Type the new one."
	}
	return ""
}

func (e Edit) verb() string {
	if e.Set != nil {
		return "Save"
	}
	return "Set"
}

// HistoryView is who changed what, newest first.
type HistoryView struct {
	Place
	Name        string // of the one variable that it is about; empty: all
	Changes     []models.VariableChange
	First, Next string
	Err         *models.Error
	Curl        []components.CurlExample
}

// said is what a change did, as people say it.
func said(c models.VariableChange) string {
	switch {
	case c.UndoOf != nil && !c.After.Set:
		return "took back"
	case c.UndoOf != nil:
		return "put back"
	case !c.After.Set:
		return "deleted"
	case !c.Before.Set:
		return "added"
	}
	return "changed"
}

func icon(c models.VariableChange) string {
	switch {
	case c.UndoOf != nil:
		return "rollback"
	case !c.After.Set:
		return "trash"
	case !c.Before.Set:
		return "plus"
	}
	return "history"
}

// undoLabel says what putting back does.
func undoLabel(c models.VariableChange) string {
	if !c.Before.Set {
		return "Take back"
	}
	return "Put back"
}

// canUndo tells whether there is something to put back: what is gone can't go again.
func canUndo(c models.VariableChange) bool { return c.CanUndo() && (c.Before.Set || c.Now != "") }

// TextView is the variables of a place as the lines of a .env file.
type TextView struct {
	Place
	Form components.Form
	Text string
	Curl components.CurlExample
}

// PreviewView is what a text would change.
type PreviewView struct {
	Place
	Changes []Change
	Same    int
	Sealed  string // goes back to the portal when it is applied
}

// Change is one name that a text changes.
type Change struct {
	Name          string
	Kind          string // added, changed, removed
	Secret        bool
	Before, After string
}

// said is the change in words.
func (c Change) said() string {
	if c.Secret {
		return "secret, " + c.Kind
	}
	return c.Kind
}

// same says how many names stay.
func (v PreviewView) same() string {
	return components.Count(v.Same, "other name stays as it is.", "other names stay as they are.")
}

// mark is the sign of a change.
func mark(kind string) string {
	return map[string]string{"added": "+", "removed": "−", "changed": "~"}[kind]
}

// maxShown is how many characters of a value a list shows.
const maxShown = 160

// short cuts a value for a list.
func short(value string) string {
	runes := []rune(value[:min(len(value), 4*maxShown)])
	if len(runes) <= maxShown && len(value) <= 4*maxShown {
		return value
	}
	return string(runes[:min(len(runes), maxShown)]) + "…"
}
