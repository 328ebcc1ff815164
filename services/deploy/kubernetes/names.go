package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"

	"slipway.dev/services/deploy"
)

// The labels of all that this package makes. Nothing without labelTarget is touched.
const (
	labelTarget      = "slipway.target"
	labelDeployment  = "slipway.deployment" // the release that an object belongs to, or that a Service leads to
	labelEnvironment = "slipway.environment"
	labelApp         = "slipway.app"
	labelTeam        = "slipway.team"
	labelPart        = "slipway.part" // of a pod: app or command

	partApp     = "app"
	partCommand = "command"
)

// Lengths of names: a label's (RFC 1035 §2.3.4), and a Deployment's, which
// leaves room for what its pods and its other objects append.
const (
	maxLabel = 63
	maxApp   = 36
)

// labels are those of a release's objects.
func (t *target) labels(r deploy.Release) map[string]string {
	return map[string]string{
		labelTarget: t.id, labelDeployment: r.ID, labelEnvironment: r.EnvironmentID, labelApp: r.App, labelTeam: r.Team,
		"app.kubernetes.io/name": r.App, "app.kubernetes.io/managed-by": "slipway",
	}
}

// placeLabels are those of what the releases of an environment share.
func (t *target) placeLabels(r deploy.Release) map[string]string {
	return map[string]string{labelTarget: t.id, labelEnvironment: r.EnvironmentID, labelTeam: r.Team, "app.kubernetes.io/managed-by": "slipway"}
}

// selector chooses the pods of a release that serve.
func (t *target) selector(release string) map[string]string {
	return map[string]string{labelTarget: t.id, labelDeployment: release, labelPart: partApp}
}

// namespace is where the environment's objects are: readable, and no other environment's.
func (t *target) namespace(r deploy.Release) string {
	mark := "-" + mark(r.EnvironmentID)
	return deploy.Cut(t.settings.prefix+r.Team+"-"+r.Environment, maxLabel-len(mark)) + mark
}

// nameOf is the name of a release's Deployment.
func nameOf(r deploy.Release) string { return deploy.Cut(r.App, maxApp) + "-" + r.ID[len(r.ID)-12:] }

// serviceOf is the name of what leads to whichever release of the app serves. A Service's name begins with a letter
// (RFC 1035 §2.3.1) and an app's may not; no app's name has two hyphens.
func serviceOf(r deploy.Release) string {
	if r.App[0] >= '0' && r.App[0] <= '9' {
		return deploy.Cut("app--"+r.App, maxLabel)
	}
	return deploy.Cut(r.App, maxLabel)
}

// mark is a short name for a long one.
func mark(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}
