package builds

import (
	"regexp"
	"strings"
)

// quotaUsed is how the embedded registry refuses a push beyond a team's quota, whichever client tells it.
var quotaUsed = regexp.MustCompile(`team [a-z0-9-]{1,40} has used [0-9.]+ of [0-9.]+ [kMGT]?B; delete images or ask an admin`)

// OverQuota returns what people are told where the text of a refused push says
// that the team's quota is used up, and nothing where it says something else.
func OverQuota(text string) string {
	found := quotaUsed.FindString(text)
	if found == "" {
		return ""
	}
	used, _, _ := strings.Cut(found, ";")
	return "The image was not pushed: " + used + " for images. Delete images of the team, also for good under Deleted, or ask an admin for a larger quota; then retry the build."
}
