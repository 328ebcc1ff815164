package environments

import (
	"fmt"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
)

// BoardView is what runs where, team by team.
type BoardView struct {
	Teams       []TeamBoard
	Filter      Filter
	First, Next string
	CanMake     bool // the reader is a maintainer of a team
	Curl        components.CurlExample
	MakeCurl    components.CurlExample // makes an environment
}

// Filter is what the board is narrowed to.
type Filter struct {
	Text      string
	Team      string // slug
	Differs   bool
	Unhealthy bool
	Teams     []models.Team // to choose from
}

// Any tells whether something may be left out.
func (f Filter) Any() bool { return f.Text != "" || f.Team != "" || f.Differs || f.Unhealthy }

// TeamBoard is the board of one team.
type TeamBoard struct {
	Team      models.Team
	Columns   []Column
	Rows      []Row
	CanDeploy bool
	CanMove   bool // environments to the left and to the right
}

// Column is an environment on the board.
type Column struct {
	Environment models.Environment
	Index       int    // from the left, from 0
	Last        bool   // there is none to its right
	From        string // the name of the one to its left; empty: there is none
	Frozen      string // why nothing is deployed now; empty: it is
}

// Row is one app, with a cell for each environment.
type Row struct {
	App   models.App
	Cells []Cell
}

// Cell is an app in an environment.
type Cell struct {
	Environment models.Environment
	Serving     *models.Deployment
	Latest      *models.Deployment // an attempt that does not serve and that matters now
	State       string             // empty: nothing runs or ran
	Ready       int                // instances that are healthy, of what serves
	Wanted      int                // instances that should be
	Reason      string             // what is not well
	Phase       string             // of Latest while it goes on
	Held        string             // why good builds don't come by themselves; empty: they may
	Closed      bool               // visitors get the maintenance page
	Step        *Step              // how it differs from the place to its left; nil: nothing serves there
}

// ready says how many instances are.
func (c Cell) ready() string { return fmt.Sprintf("%d of %d ready", c.Ready, c.Wanted) }

// Step is how a place differs from the one to its left.
type Step struct {
	From    string   // the environment's name
	Words   string   // such as "3 commits behind staging"
	Compare string   // the address that compares both; empty: there are no two
	Config  []string // what of the configuration differs
	Promote string   // the address that shows what a promotion brings; empty: there is nothing to promote
}

func (s Step) configWords() string { return strings.Join(s.Config, ", ") }

// phaseWord is what a rollout does now.
func phaseWord(phase string, d models.Deployment) string {
	if d.Shifting() {
		return apps.Share(d)
	}
	words := map[string]string{"pull": "getting the image", "command": "running the command", "start": "starting", "health": "waiting until healthy", "switch": "switching over"}
	if word, ok := words[phase]; ok {
		return word
	}
	return phase
}

// attemptWord says what became of a deployment that does not serve.
func attemptWord(s models.DeploymentState) string {
	switch s {
	case models.DeploymentPending:
		return "is queued"
	case models.DeploymentRunning:
		return "is rolling out"
	case models.DeploymentFailed:
		return "failed"
	}
	return strings.ToLower(components.Word(s))
}

// since is when the deployment began to serve.
func since(d models.Deployment) time.Time {
	if d.FinishedAt != nil {
		return *d.FinishedAt
	}
	return d.CreatedAt
}

func promoteURL(e models.Environment) string { return URL(e) + "/promote" }

func newsURL(e models.Environment) string { return URL(e) + "/changes" }
