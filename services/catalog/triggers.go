package catalog

import (
	"slices"
	"strings"
	"unicode"

	"github.com/bmatcuk/doublestar/v4"
	"slipway.dev/models"
)

// The bounds of an app's patterns.
const (
	maxPatterns = 50
	maxPattern  = 200
)

// UpdateTriggers is what may change of what builds an app by itself; what is absent stays as it is.
type UpdateTriggers struct {
	Push         *bool                      `json:"push,omitempty" doc:"Build what is pushed."`
	Branches     *[]string                  `json:"branches,omitempty" doc:"Patterns such as main, release/* or !release/old; none: the default branch. Of pull requests, the branch that they go into."`
	Tags         *[]string                  `json:"tags,omitempty" doc:"Patterns such as v*; none: no tag is built."`
	Paths        *[]string                  `json:"paths,omitempty" doc:"Patterns such as services/api/** or !**/*.md; none: every change counts."`
	SkipMarkers  *bool                      `json:"skip_markers,omitempty" doc:"Leave out commits with [skip ci], [ci skip] or [skip slipway] in their message."`
	PullRequests *models.PullRequestTrigger `json:"pull_requests,omitempty" enum:"off,same,forks" doc:"forks: each commit of a fork's waits for approval and gets no secrets."`
}

func (in *UpdateTriggers) apply(t *models.Triggers) {
	if in == nil {
		return
	}
	if in.Push != nil {
		t.Push = *in.Push
	}
	if in.SkipMarkers != nil {
		t.SkipMarkers = *in.SkipMarkers
	}
	if in.PullRequests != nil {
		t.PullRequests = *in.PullRequests
	}
	for from, to := range map[*[]string]*[]string{in.Branches: &t.Branches, in.Tags: &t.Tags, in.Paths: &t.Paths} {
		if from != nil {
			*to = patterns(*from)
		}
	}
}

// patterns leaves out empty lines and what stands twice.
func patterns(list []string) []string {
	out := []string{}
	for _, p := range list {
		if p = strings.TrimSpace(p); p != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

func checkTriggers(t *models.Triggers, wrong faults) {
	for field, list := range map[string][]string{"branches": t.Branches, "tags": t.Tags, "paths": t.Paths} {
		if len(list) > maxPatterns {
			wrong.add(field, "Use at most %d patterns.", maxPatterns)
		}
		for _, p := range list {
			if !validPattern(p) {
				wrong.add(field, "%q is not a pattern. Use names with * and **, such as release/* or services/api/**, and ! in front to exclude.", p)
			}
		}
	}
	if !slices.Contains([]models.PullRequestTrigger{models.PullRequestsOff, models.PullRequestsSame, models.PullRequestsForks}, t.PullRequests) {
		wrong.add("pull_requests", "Choose off, same or forks.")
	}
}

func validPattern(text string) bool {
	p := strings.TrimPrefix(text, "!")
	return p != "" && len(p) <= maxPattern && !strings.HasPrefix(p, "/") && !strings.ContainsFunc(p, unicode.IsControl) && doublestar.ValidatePattern(p)
}
