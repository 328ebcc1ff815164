// Package environments holds the pages about environments: the board of what runs where, one environment with its
// variables and history, and the form that makes one.
package environments

import (
	"strconv"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// PageView is one environment.
type PageView struct {
	Environment models.Environment // with Team and Target
	Cells       []AppCell
	Variables   VariablesView
	History     []models.Deployment
	First, Next string
	Err         *models.Error // of what was refused
	Delete      components.Form
	CanChange   bool           // variables, deployments
	CanDelete   bool           // and everything else about the environment itself
	KeepsData   bool           // its target keeps volumes
	Rules       []string       // what has to hold before a deployment
	From        string         // the name of the environment to its left; empty: there is none
	Addresses   []AppAddresses // where visitors find the apps
	Cost        Cost           // of what runs
	Curl        components.CurlExample
}

// AppCell is what one app runs in the environment.
type AppCell struct {
	App models.App
	Cell
	Scale models.Scale       // from the next deployment on
	Auto  *models.AutoDeploy // nil: people deploy
}

// waits tells whether what serves has another scale than the next deployment will.
func (c AppCell) waits() bool {
	return c.Serving != nil && !c.Serving.Stopped && c.Serving.Config.Scale.OrOne() != c.Scale
}

// cpu is the limit in processors, as the form has it; empty: none.
func (c AppCell) cpu() string {
	if c.Scale.CPU == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(c.Scale.CPU)/1000, 'f', -1, 64)
}

// memory is the limit in MiB, as the form has it; empty: none.
func (c AppCell) memory() string {
	if c.Scale.Memory == 0 {
		return ""
	}
	return strconv.FormatInt(c.Scale.Memory>>20, 10)
}

// positive writes a number, as the form has it; empty: none.
func positive(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// NewView is the form that makes an environment.
type NewView struct {
	Form  components.Form
	Teams []TeamTargets
	Curl  components.CurlExample
}

// TeamTargets is a team that the reader maintains, with the targets that it may use.
type TeamTargets struct {
	Team    models.Team
	Targets []models.Target
}

// URL is the environment's page.
func URL(e models.Environment) string { return "/environments/" + e.ID }

// teamOptions are the teams to choose from.
func (v NewView) teamOptions() []components.Option {
	var list []components.Option
	for _, t := range v.Teams {
		list = append(list, components.Option{Value: t.Team.ID, Label: t.Team.Name})
	}
	return list
}

// targetOptions are the targets of all those teams, each once.
func (v NewView) targetOptions() []components.Option {
	var list []components.Option
	seen := map[string]bool{}
	for _, t := range v.Teams {
		for _, target := range t.Targets {
			if !seen[target.ID] {
				seen[target.ID] = true
				list = append(list, components.Option{Value: target.ID, Label: target.Name, Sub: kindTitle(target.Kind)})
			}
		}
	}
	return list
}

func (v NewView) firstTarget() string {
	if all := v.targetOptions(); len(all) > 0 {
		return all[0].Value
	}
	return ""
}

func kindTitle(kind string) string {
	switch kind {
	case "docker":
		return "Containers on a Docker Engine, behind Slipway's own proxy"
	case "docker-ssh":
		return "Containers on a machine that is reached over SSH, behind Slipway's own proxy"
	}
	return kind
}

// canRollBack tells whether the deployment can run again.
func canRollBack(d models.Deployment) bool {
	return !d.Active && (d.State == models.DeploymentSucceeded || d.State == models.DeploymentRolledBack)
}

// deploymentURL is the deployment's page.
func deploymentURL(d models.Deployment) string { return "/deployments/" + d.ID }

func deployHref(a models.App, e models.Environment) string {
	return "/apps/" + a.ID + "/deploy?environment=" + e.ID
}
