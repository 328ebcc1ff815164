// Package deployments holds the pages about deployments: what would change and the button that does it, and one
// deployment with its phases, its instances and its log.
package deployments

import (
	"fmt"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// NewView is what a deployment would change.
type NewView struct {
	App          models.App
	Environments []components.FilterLink
	Environment  *models.Environment // nil: the team has none
	Choices      []Choice
	Plan         *Plan   // nil where Form.Err says why there is none
	Origin       *Origin // where the image is promoted from; nil: it is not
	Form         components.Form
	CanDeploy    bool
	CanOverride  bool // deploy during a freeze
	Curl         components.CurlExample
}

// Choice is a build whose image can be deployed.
type Choice struct {
	Build   models.Build
	Href    string
	Current bool
	Serving bool // it serves there now
}

// Plan says what changes.
type Plan struct {
	Image, Digest string // what people call it, and its digest
	Tag           string // that named it when the page was made; empty: it was chosen otherwise
	Build         *models.Build
	Current       *models.Deployment
	RollbackTo    *models.Deployment
	Repository    *models.Repository // of the commits
	Commits       []models.ChangeCommit
	More, Back    bool
	CommitsNote   string
	Settings      []Difference
	Variables     []Change
	Secrets       []Change
	Size, Before  int64
	Cost          Cost
	URL           string
	Checks        []Check
	Ready         bool
	Open          bool // no rule of the environment keeps it out
	Frozen        bool // and a freeze is among those that do
	NeedsApproval bool
	ConfigHash    string
}

// Change is a variable or a secret that differs: added, removed or changed.
type Change struct {
	Name, Kind string
	Origin     models.VariableLevel // where the new value is set; empty where that is not said
}

// said is the change in words.
func (c Change) said() string {
	if c.Origin == "" {
		return c.Kind
	}
	return c.Kind + ", from the " + string(c.Origin)
}

// Difference is a setting that differs from what runs.
type Difference struct{ Name, Before, After string }

// Check is something that was looked at before.
type Check struct {
	Name    string
	OK      bool
	Message string
	Gate    bool // a rule of the environment
}

// PageView is one deployment.
type PageView struct {
	Deployment models.Deployment // with App, Environment, Build, Phases and Instances
	Reason     string            // why it waits
	Log        components.LogView
	CanDeploy  bool
	CanDrift   bool               // others may change what runs
	Tells      bool               // its target tells what it made, or what its provider says happened
	CanDecide  bool               // approve or reject it
	Bad        *models.BadImage   // its image is marked; nil: not
	Earlier    *models.Deployment // what a failed one can go back to, or the one before
	Curl       components.CurlExample
	LogCurl    components.CurlExample
	ShiftCurl  components.CurlExample // of Send everyone now
	Answers    string                 // how both versions have answered since visitors began to move; empty: nobody knows
}

// URL is the deployment's page.
func URL(d models.Deployment) string { return "/deployments/" + d.ID }

// phaseNames are the phases as people call them.
var phaseNames = map[string]string{
	"check": "Look whether it can work", "copy": "Copy the image to the target's registry", "pull": "Get the image", "pause": "Stop the old version", "resume": "Start the old version again", "command": "Run the command before the switch", "start": "Start the new version", "health": "Wait until it is healthy", "shift": "Move visitors to it in steps", "switch": "Send requests to it",
	"drain": "Let the old version finish its requests", "stop": "Stop the old version",
}

func phaseName(p models.DeploymentPhase) string {
	if name, ok := phaseNames[p.Name]; ok {
		return name
	}
	return p.Name
}

// transcript is the health check's story, of the last attempt.
func transcript(d models.Deployment) []string {
	for i := len(d.Phases) - 1; i >= 0; i-- {
		if d.Phases[i].Name == "health" {
			return d.Phases[i].Detail
		}
	}
	return nil
}

// checked says how the health is checked.
func checked(c models.DeploymentConfig) string {
	switch c.Health {
	case models.HealthTCP:
		return fmt.Sprintf("TCP port %d accepts connections", c.Port)
	case models.HealthImage:
		return "the image's HEALTHCHECK"
	}
	path := c.HealthPath
	if path == "" {
		path = "/"
	}
	return fmt.Sprintf("GET %s on port %d", path, c.Port)
}

// badText says who marked the image.
func badText(b models.BadImage) string {
	text := b.MarkedByName + " marked this image as bad, so nobody deploys it"
	if b.Reason != "" {
		text += ": " + strings.TrimRight(b.Reason, ". ")
	}
	return text + "."
}

// did says what the deployment repeats.
func did(d models.Deployment) string {
	return map[models.DeploymentAction]string{models.ActionRollback: "a roll back", models.ActionRestart: "a restart", models.ActionStart: "a start after a stop"}[d.Action]
}

func mark(kind string) string {
	return map[string]string{"added": "+", "removed": "−", "changed": "~"}[kind]
}

func markClass(kind string) string {
	return map[string]string{"added": "add", "removed": "del"}[kind]
}

func outcomeOf(ok bool) string {
	if ok {
		return "succeeded"
	}
	return "failed"
}

// sizes says how large the image is, and how that differs.
func sizes(p Plan) string {
	if p.Size == 0 {
		return "not known"
	}
	text := components.Bytes(p.Size) + " compressed"
	switch {
	case p.Before == 0 || p.Before == p.Size:
		return text
	case p.Size > p.Before:
		return text + ", " + components.Bytes(p.Size-p.Before) + " more than now"
	}
	return text + ", " + components.Bytes(p.Before-p.Size) + " less than now"
}

// host is the address without its scheme, as people read it.
func host(url string) string {
	_, rest, ok := strings.Cut(url, "://")
	if !ok {
		return url
	}
	return rest
}

func phaseClass(p models.DeploymentPhase) string {
	c := components.Tone(p.State)
	if p.State == models.StepRunning {
		c += " spins"
	}
	return c
}

// called is what the button calls the image: short, for the digest stands beside it.
func called(p Plan) string {
	if p.Tag != "" && p.Build == nil {
		return p.Tag
	}
	return p.Image
}

// resolved says of the tag that was chosen which image it was.
func resolved(d models.Deployment) string {
	what := "named " + components.ShortDigest(d.ImageDigest)
	if d.RollbackOf != nil {
		return what + " when it was first deployed"
	}
	return what + " when it was clicked; it may name another image by now"
}

// once tells whether the deployment succeeded, so that what it was can be run again.
func (v PageView) once() bool {
	return v.Deployment.State == models.DeploymentSucceeded || v.Deployment.State == models.DeploymentRolledBack
}

// againAllowed tells whether one may roll back to the deployment.
func (v PageView) againAllowed() bool { return v.CanDeploy && v.once() && v.Bad == nil }
