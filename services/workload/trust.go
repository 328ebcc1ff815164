package workload

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"slipway.dev/models"
)

// trustedEvents are what may start a trusted run. All of them come from somebody who
// may write to the repository; a pull request's do not, whatever its target is.
var trustedEvents = []string{"push", "workflow_dispatch", "schedule", "release"}

// refuse says in a sentence why the workflow does not trust the run; empty where it does.
func refuse(w *models.Workflow, defaultBranch string, x *models.Exchange) string {
	switch {
	case x.Issuer != w.Issuer || x.GitHubID != w.GitHubID:
		return fmt.Sprintf("The run is of the repository %s with the number %d; trusted is %s with the number %d.", x.Repository, x.GitHubID, w.Repository, w.GitHubID)
	case !slices.Contains(trustedEvents, x.Event):
		return fmt.Sprintf("The run was started by the event %q. Only %s are trusted: pull requests may bring code of anyone.", x.Event, strings.Join(trustedEvents, ", "))
	case !refAllowed(w.Refs, defaultBranch, x.Ref):
		return fmt.Sprintf("The run is of %s. Trusted are only: %s.", x.Ref, refNames(w.Refs, defaultBranch))
	case !sameFile(w, x):
		return fmt.Sprintf("The job is described by %s. Trusted is only %s of the repository itself, as it is at the run's own ref.", x.Workflow, w.Path)
	case w.Environment != "" && w.Environment != x.Environment:
		return fmt.Sprintf("The job runs in the environment %q of GitHub; trusted is only %q.", x.Environment, w.Environment)
	}
	return ""
}

// sameFile tells whether the job's own description (job_workflow_ref, such as
// owner/name/.github/workflows/build.yml@refs/heads/main) is the trusted file
// at the ref that was allowed.
func sameFile(w *models.Workflow, x *models.Exchange) bool {
	file, ref, ok := strings.Cut(x.Workflow, "@")
	if !ok || ref != x.Ref || len(file) <= len(x.Repository) {
		return false
	}
	repository, path := file[:len(x.Repository)], file[len(x.Repository):]
	return strings.EqualFold(repository, x.Repository) && path == "/"+w.Path
}

// refAllowed tells whether one of the globs allows the ref. A glob that begins
// with refs/ is about the whole ref, any other one about a branch. Without
// globs it is the default branch alone.
func refAllowed(globs []string, defaultBranch, ref string) bool {
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	if !isBranch && !strings.HasPrefix(ref, "refs/tags/") {
		return false
	}
	if len(globs) == 0 {
		return isBranch && defaultBranch != "" && branch == defaultBranch
	}
	return slices.ContainsFunc(globs, func(glob string) bool {
		name := branch
		if strings.HasPrefix(glob, "refs/") {
			name = ref
		} else if !isBranch {
			return false
		}
		ok, err := doublestar.Match(glob, name)
		return err == nil && ok
	})
}

func refNames(globs []string, defaultBranch string) string {
	if len(globs) == 0 {
		return "the default branch, " + defaultBranch
	}
	return strings.Join(globs, ", ")
}
