package web

import (
	"fmt"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
)

// stages are the environments of the app's team, from left to right, as the app sees them.
func stages(b *deploy.Board, app models.App) []apps.Stage {
	var list []apps.Stage
	for _, e := range b.Stages(app.TeamID) {
		cell := b.Cell(e.ID, app.ID)
		s := apps.Stage{Environment: e, Serving: cell.Active, Latest: cell.Latest, State: stageState(cell)}
		if s.Latest != nil && s.Latest.State.Ended() && s.Latest.State != models.DeploymentFailed {
			s.Latest = nil // canceled ones and those that served before are history
		}
		if n := len(list); n > 0 {
			s.Behind, s.Promote = behind(app, list[n-1], s)
		}
		list = append(list, s)
	}
	return list
}

// stageState is how an app is in an environment, in one word; empty where nothing runs or ran.
func stageState(c deploy.Cell) string {
	switch {
	case c.Latest != nil && !c.Latest.State.Ended():
		return "deploying"
	case c.Active == nil && c.Latest != nil:
		return string(c.Latest.State)
	case c.Active == nil:
		return ""
	case c.Active.Stopped:
		return "stopped"
	}
	return string(deploy.HealthOf(c.Active).State)
}

// behind says how far a stage is behind the one before it, and where to promote what runs there.
func behind(app models.App, before, here apps.Stage) (words, promote string) {
	if before.Serving == nil {
		return "", ""
	}
	if here.Serving != nil && here.Serving.ImageDigest == before.Serving.ImageDigest {
		return "same image", ""
	}
	promote = fmt.Sprintf("/apps/%s/deploy?environment=%s&image=%s", app.ID, here.Environment.ID, before.Serving.ImageDigest)
	if here.Serving == nil || here.Serving.Build == nil || before.Serving.Build == nil {
		return "", promote
	}
	n := before.Serving.Build.Number - here.Serving.Build.Number
	if n <= 0 {
		return "ahead", promote
	}
	return components.Count(n, "build", "builds") + " behind", promote
}
