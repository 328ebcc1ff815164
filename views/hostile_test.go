package views_test

import (
	"strings"
	"testing"

	"github.com/a-h/templ"
	"slipway.dev/models"
	"slipway.dev/views/builds"
	"slipway.dev/views/components"
)

func TestWhatADockerfileAndALogHoldStaysText(t *testing.T) {
	t.Parallel()
	hostile := `"><script>alert(1)</script><img src=x onerror=alert(1)>` + "\x1b]8;;javascript:alert(1)\x07"
	b := sampleBuilds()[1]
	b.Dockerfile, b.Warnings = hostile, []string{"Line 1: " + hostile}
	b.Steps = []models.BuildStep{{ID: hostile, Name: hostile, Line: 1, State: models.StepFailed, Inputs: []string{hostile}}, {ID: "x", Name: hostile, Inputs: []string{hostile}}}
	changes := &models.BuildChanges{
		Since: &b, Commits: []models.ChangeCommit{{ID: "abc", Subject: hostile, Author: hostile}}, CommitsNote: hostile,
		Miss: &models.CacheMiss{StepID: hostile, StepName: hostile, Reason: hostile}, Duration: models.Difference{Now: 1000, Before: 5000},
		Steps: []models.StepChange{{ID: hostile, Name: hostile, Difference: models.Difference{Now: 9000, Before: 1}}},
	}
	log := components.LogView{ID: "log", Title: "Log", Lines: components.Lines(1, []string{hostile}), Raw: "/raw",
		Window: components.LogWindow{Page: "/build", Lines: "/parts", Step: hostile, Name: hostile, Total: 9, Earlier: true, Later: true},
		Search: &components.LogSearch{Text: hostile, Total: 2, Next: 2, Hits: []components.LogHit{{Number: 1, Lines: components.Lines(1, []string{hostile})}, {Number: 2}}}}
	for name, page := range map[string]*strings.Builder{
		"dockerfile": drawn(t, builds.Dockerfile(testPage("x"), builds.DockerfileView{Build: b, File: models.BuildDockerfile{Path: hostile, Text: hostile, Findings: []models.Finding{{Line: 1, Rule: hostile, Message: hostile, URL: "javascript:alert(1)"}}}})),
		"build":      drawn(t, builds.Page(testPage("x"), builds.PageView{Build: b, Changes: changes, Log: log})),
	} {
		text := page.String()
		for _, bad := range []string{"<script>alert", "<img", "href=\"javascript:", "onerror=alert(1)>\""} {
			if strings.Contains(text, bad) {
				t.Errorf("%s holds %q", name, bad)
			}
		}
		if !strings.Contains(text, "&lt;script&gt;") {
			t.Errorf("%s does not show what was planted", name)
		}
	}
}

// drawn draws the page into memory.
func drawn(t *testing.T, page templ.Component) *strings.Builder {
	t.Helper()
	var out strings.Builder
	if err := page.Render(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return &out
}
