package azure

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/services/deploy"
)

// The tags of all that this package makes. Nothing without tagTarget is touched.
const (
	tagTarget      = "slipway-target"
	tagRelease     = "slipway-release" // of a Container App: the last one that was started
	tagEnvironment = "slipway-environment"
	tagApp         = "slipway-app"
	tagTeam        = "slipway-team"
)

// releaseVariable names the release that a revision belongs to: revisions have no tags.
const releaseVariable = "SLIPWAY_RELEASE"

// containerName is that of the one container of a replica.
const containerName = "app"

// maxName is how long the name of a Container App may be.
const maxName = 32

func (t *target) tags(r deploy.Release) map[string]*string {
	return map[string]*string{tagTarget: to.Ptr(t.id), tagRelease: to.Ptr(r.ID), tagEnvironment: to.Ptr(r.EnvironmentID), tagApp: to.Ptr(r.App), tagTeam: to.Ptr(r.Team)}
}

// owns tells whether the tags are of something that this target made.
func (t *target) owns(tags map[string]*string) bool { return value(tags[tagTarget]) == t.id }

var hyphens = regexp.MustCompile(`-{2,}`)

// appName is the name of the Container App of an app in an environment: letters
// first, no two hyphens in a row, and nobody else's in the resource group.
func (t *target) appName(r deploy.Release) string {
	end := "-" + mark(t.id+"/"+r.EnvironmentID+"/"+r.App)
	name := hyphens.ReplaceAllString(strings.ToLower(r.App+"-"+r.Environment), "-")
	if name[0] < 'a' || name[0] > 'z' {
		name = "a" + name
	}
	return deploy.Cut(name, maxName-len(end)) + end
}

// suffixOf is what the name of a release's revision ends in.
func suffixOf(release string) string { return "r" + release[max(0, len(release)-12):] }

// revisionOf is the name of a release's revision in the Container App.
func revisionOf(app, release string) string { return app + "--" + suffixOf(release) }

// jobName is the name of the job that runs a release's command.
func jobName(release string) string { return "slipway-run-" + suffixOf(release) }

// secretOf is the name of the secret that holds a release's variable.
func secretOf(release, variable string) string { return suffixOf(release) + "-" + mark(variable) }

// secretNames is what secretOf makes: the suffix of the release, and the variable's mark.
var secretNames = regexp.MustCompile(`^(r[0-9a-f]{12})-[0-9a-f]{8}$`)

// registrySecret is the name of the secret with the password of a registry.
func registrySecret(server string) string { return "registry-" + mark(server) }

// releaseOf is the release that a revision belongs to; empty: none of Slipway's.
func releaseOf(r *aca.Revision) string {
	if r.Properties == nil || r.Properties.Template == nil {
		return ""
	}
	for _, c := range r.Properties.Template.Containers {
		for _, e := range c.Env {
			if value(e.Name) == releaseVariable {
				return value(e.Value)
			}
		}
	}
	return ""
}

// mark is a short name for a long one.
func mark(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}
