package builds

import (
	"fmt"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// DockerfileView is the Dockerfile that a build used, with what became of its lines.
type DockerfileView struct {
	Build models.Build // with App and Steps
	Lines []string
	Cut   bool // the file is longer
	Curl  components.CurlExample
}

// fileLine is a line of the Dockerfile with the steps that begin in it.
type fileLine struct {
	number   int
	text     string
	steps    []models.BuildStep
	failed   bool
	warnings []string
}

// lines puts the file, its steps, its failure and the warnings about its lines together.
func (v DockerfileView) lines() []fileLine {
	all := make([]fileLine, 0, len(v.Lines))
	for i, text := range v.Lines {
		all = append(all, fileLine{number: i + 1, text: text})
	}
	for _, s := range v.Build.Steps {
		if s.Line > 0 && s.Line <= len(all) {
			all[s.Line-1].steps = append(all[s.Line-1].steps, s)
		}
	}
	if e := v.Build.Error; e != nil {
		for n := e.Line; n > 0 && n <= e.EndLine && n <= len(all); n++ {
			all[n-1].failed = true
		}
	}
	for _, w := range v.Build.Warnings {
		var n int
		if _, err := fmt.Sscanf(w, "Line %d: ", &n); err == nil && n > 0 && n <= len(all) {
			_, text, _ := strings.Cut(w, ": ")
			all[n-1].warnings = append(all[n-1].warnings, text)
		}
	}
	return all
}
