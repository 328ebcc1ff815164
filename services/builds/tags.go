package builds

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"slipway.dev/models"
)

var (
	notInTags = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)
	ourTags   = regexp.MustCompile(`^(build-[0-9]+|sha-[0-9a-f]+|pr-[0-9]+|[0-9a-f]{40}|[0-9a-f]{64})$`)
)

const maxTag = 128 // distribution specification 1.1, "Pulling manifests"

// numberTag is the tag that belongs to this build alone.
func numberTag(b *models.Build) string { return fmt.Sprintf("build-%d", b.Number) }

// refTag is the tag that follows the branch, git tag or pull request of the build; empty for a bare commit.
func refTag(b *models.Build) string {
	if b.RefKind == models.RefPullRequest {
		return fmt.Sprintf("pr-%d", b.PullRequest.Number)
	}
	if b.RefKind == "commit" {
		return ""
	}
	tag := strings.TrimLeft(notInTags.ReplaceAllString(b.Ref, "-"), ".-")
	if tag == "" || ourTags.MatchString(tag) {
		tag = "branch-" + tag
		if b.RefKind == string(models.RefTag) {
			tag = "tag-" + strings.TrimPrefix(tag, "branch-")
		}
	}
	return tag[:min(len(tag), maxTag)]
}

// commitTags name the commit, in short and in full. A pull request's image has none: the same commit may be built from a
// branch with other rights.
func commitTags(b *models.Build) []string {
	if b.RefKind == models.RefPullRequest {
		return nil
	}
	return []string{"sha-" + short(b.Commit), b.Commit}
}

// annotations say where the image comes from (OCI image specification 1.1, "Annotations").
func (r *run) annotations() map[string]string {
	b := r.build
	version := short(b.Commit)
	if b.RefKind == string(models.RefTag) {
		version = b.Ref
	}
	return map[string]string{
		"org.opencontainers.image.source":   b.App.Repository.CloneURL,
		"org.opencontainers.image.revision": b.Commit,
		"org.opencontainers.image.created":  b.StartedAt.UTC().Format(time.RFC3339),
		"org.opencontainers.image.version":  version,
		"org.opencontainers.image.ref.name": b.Ref,
		"org.opencontainers.image.title":    b.App.Name,
		"dev.slipway.build":                 b.ID,
	}
}
