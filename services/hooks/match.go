package hooks

import (
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"slipway.dev/models"
)

// matches tells whether a name is wanted by the patterns: by one of those without !, where there are such, and by none
// of those with it.
func matches(patterns []string, name string) bool {
	wanted, asked := false, false
	for _, p := range patterns {
		if excluded, not := strings.CutPrefix(p, "!"); not {
			if ok, err := doublestar.Match(excluded, name); ok && err == nil {
				return false
			}
			continue
		}
		asked = true
		ok, err := doublestar.Match(p, name)
		wanted = wanted || ok && err == nil
	}
	return wanted || !asked
}

// anyMatches tells whether one of the names is wanted.
func anyMatches(patterns, names []string) bool {
	for _, name := range names {
		if matches(patterns, name) {
			return true
		}
	}
	return false
}

// wantsBranch tells whether the app is built from the branch: those of its patterns, or else the default branch.
func wantsBranch(t models.Triggers, branch, defaultBranch string) bool {
	if len(t.Branches) == 0 {
		return branch == defaultBranch
	}
	return matches(t.Branches, branch)
}

// refusal says why the event, by its ref alone, builds nothing of an app with the triggers; empty where it may.
func refusal(t models.Triggers, e *event, defaultBranch string) string {
	if e.kind == eventPull {
		return refusalOfPull(t, e.pull, defaultBranch)
	}
	switch {
	case !t.Push:
		return "pushes don't build this app"
	case e.push.kind == models.RefTag && (len(t.Tags) == 0 || !matches(t.Tags, e.push.name)):
		return "tag not wanted"
	case e.push.kind == models.RefBranch && !wantsBranch(t, e.push.name, defaultBranch):
		return "branch not wanted"
	}
	return ""
}

func refusalOfPull(t models.Triggers, p pull, defaultBranch string) string {
	switch {
	case t.PullRequests != models.PullRequestsSame && t.PullRequests != models.PullRequestsForks:
		return "pull requests don't build this app"
	case p.Fork && t.PullRequests != models.PullRequestsForks:
		return "from a fork"
	case !wantsBranch(t, p.target, defaultBranch):
		return "it goes into a branch that is not wanted"
	}
	return ""
}

// skipMarkers in the message of the head commit keep it from being built.
var skipMarkers = []string{"[skip ci]", "[ci skip]", "[skip slipway]"}

// marker is the skip marker that the message holds, or empty.
func marker(message string) string {
	message = strings.ToLower(message)
	for _, m := range skipMarkers {
		if strings.Contains(message, m) {
			return m
		}
	}
	return ""
}
