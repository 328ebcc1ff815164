package apps

import (
	"strconv"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// stageClass is the tone of an environment's card; a dashed one waits for its first deployment.
func stageClass(s Stage) string {
	if s.Serving == nil && s.Latest == nil {
		return "vacant"
	}
	return components.Tone(s.State)
}

// since is when the deployment began to serve.
func since(d models.Deployment) time.Time {
	if d.FinishedAt != nil {
		return *d.FinishedAt
	}
	return d.CreatedAt
}

// attempt says what became of a deployment that does not serve.
func attempt(d models.Deployment) string {
	switch d.State {
	case models.DeploymentPending:
		return "waits to be deployed"
	case models.DeploymentRunning:
		if d.Shifting() {
			return "has " + Share(d)
		}
		return "is being deployed"
	case models.DeploymentFailed:
		return "failed; what ran before still serves. It failed"
	case models.DeploymentCanceled:
		return "was canceled"
	}
	return "was deployed"
}

// Share says how many visitors a deployment has while they move to it in steps.
func Share(d models.Deployment) string { return strconv.Itoa(d.Shift.Percent) + "% of visitors" }

func spinClass(state string) string {
	if components.StateIcon(state) == "run" {
		return "spins"
	}
	return ""
}

// by names who did something, after its time.
func by(name string) string {
	if name == "" {
		return ""
	}
	return " by " + name
}

// nameHint says what the name is for, and when it stays.
func nameHint(a models.App) string {
	if a.BuildCount > 0 {
		return "The app has builds, whose images carry its name: it stays."
	}
	return models.NameHelp + " It becomes part of the names of images and of addresses."
}

// shortURL is a clone URL without what every one has.
func shortURL(url string) string {
	_, rest, found := strings.Cut(url, "://")
	if !found {
		rest = url
	}
	return strings.TrimSuffix(rest, ".git")
}
