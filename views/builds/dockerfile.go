package builds

import (
	"slipway.dev/models"
	"slipway.dev/views/components"
)

// DockerfileView is the Dockerfile that a build used, with what became of its lines.
type DockerfileView struct {
	Build models.Build // with App and Steps
	File  models.BuildDockerfile
	Curl  components.CurlExample
}

// maxFileLines is how many lines of a Dockerfile are shown.
const maxFileLines = 2000

// fileLine is a line of the Dockerfile with what the checks say and the steps that begin in it.
type fileLine struct {
	checkedLine
	steps []models.BuildStep
}

// lines puts the file, its steps, its failure and its findings together.
func (v DockerfileView) lines() []fileLine {
	checked := checkedLines(&v.File, v.Build.Error)
	all := make([]fileLine, 0, len(checked))
	for _, l := range checked[:min(len(checked), maxFileLines)] {
		all = append(all, fileLine{checkedLine: l})
	}
	for _, s := range v.Build.Steps {
		if s.Line > 0 && s.Line <= len(all) {
			all[s.Line-1].steps = append(all[s.Line-1].steps, s)
		}
	}
	return all
}

// cut tells whether the file is longer than what is shown.
func (v DockerfileView) cut() bool { return len(checkedLines(&v.File, nil)) > maxFileLines }
