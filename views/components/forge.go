package components

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"slipway.dev/models"
)

// forgeURL is the repository's page at its forge, where a browser can open it; empty otherwise.
func forgeURL(r *models.Repository) string {
	if r == nil || !strings.HasPrefix(r.CloneURL, "https://") {
		return ""
	}
	return strings.TrimSuffix(strings.TrimSuffix(r.CloneURL, "/"), ".git")
}

// CommitURL is the commit's page at the repository's forge; empty where there is none that a browser can open.
func CommitURL(r *models.Repository, commit string) string {
	if base := forgeURL(r); base != "" && commit != "" {
		return base + "/commit/" + commit
	}
	return ""
}

// pullForms are how forges write the number of a pull or merge request into the subject of what it brought.
var pullForms = []*regexp.Regexp{
	regexp.MustCompile(`\(#(\d{1,9})\)\s*$`),               // a squashed one of GitHub or Gitea
	regexp.MustCompile(`^Merge pull request #(\d{1,9})\b`), // a merged one of GitHub
	regexp.MustCompile(`^Merge pull request '.*' \(#(\d{1,9})\)`),
	regexp.MustCompile(`\(!(\d{1,9})\)\s*$`), // of GitLab
}

// PullOf is the number of the pull or merge request that the subject of a commit names, 0 where it names none, and the
// request's page; empty where that is not known.
func PullOf(r *models.Repository, subject string) (number int, page string) {
	for _, form := range pullForms {
		found := form.FindStringSubmatch(subject)
		if found == nil {
			continue
		}
		number, err := strconv.Atoi(found[1])
		if err != nil || number == 0 {
			return 0, ""
		}
		base, path := forgeURL(r), pullPath(r)
		if base == "" || path == "" {
			return number, ""
		}
		return number, base + path + strconv.Itoa(number)
	}
	return 0, ""
}

// pullPath is where the forge of the repository has its requests; empty where the kind of forge is not known.
func pullPath(r *models.Repository) string {
	kind := models.ForgeKind("")
	if r != nil && r.Connection != nil {
		kind = r.Connection.Kind
	} else if u, err := url.Parse(forgeURL(r)); err == nil {
		kind = map[string]models.ForgeKind{"github.com": models.ForgeGitHub, "gitlab.com": models.ForgeGitLab, "codeberg.org": models.ForgeGitea}[u.Hostname()]
	}
	return map[models.ForgeKind]string{models.ForgeGitHub: "/pull/", models.ForgeGitLab: "/-/merge_requests/", models.ForgeGitea: "/pulls/"}[kind]
}
