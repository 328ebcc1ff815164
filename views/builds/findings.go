package builds

import (
	"strconv"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// checkedLine is a line of a build's Dockerfile with what the checks say about it.
type checkedLine struct {
	number   int
	text     string
	hit      bool // the build failed there
	findings []models.Finding
}

// checkedLines pairs the lines with their findings. Those about the whole file stand under the first line.
func checkedLines(f *models.BuildDockerfile, failure *models.BuildError) []checkedLine {
	var lines []checkedLine
	for i, text := range strings.Split(strings.TrimRight(f.Text, "\n"), "\n") {
		n := i + 1
		hit := failure != nil && failure.Line > 0 && n >= failure.Line && n <= max(failure.EndLine, failure.Line)
		lines = append(lines, checkedLine{number: n, text: strings.TrimRight(text, "\r"), hit: hit})
	}
	for _, finding := range f.Findings {
		at := min(max(finding.Line, 1), len(lines)) - 1
		lines[at].findings = append(lines[at].findings, finding)
	}
	return lines
}

// foundSummary says how much the checks found.
func foundSummary(f *models.BuildDockerfile) string {
	if len(f.Findings) == 0 {
		return "the checks found nothing"
	}
	return components.Count(len(f.Findings), "note", "notes")
}

// lineID is where the page shows a line of the Dockerfile.
func lineID(n int) string { return "dockerfile-" + strconv.Itoa(n) }

// safeRule is the address of a rule's description, where it is a web page.
func safeRule(f models.Finding) string {
	if strings.HasPrefix(f.URL, "https://") {
		return f.URL
	}
	return ""
}
