package google

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"google.golang.org/api/run/v2"
	"slipway.dev/services/deploy"
)

// The labels of all that this package makes. Nothing without labelTarget is touched.
const (
	labelTarget      = "slipway-target"
	labelRelease     = "slipway-release"
	labelApp         = "slipway-app"
	labelEnvironment = "slipway-environment"
	labelTeam        = "slipway-team"
	labelInstances   = "slipway-instances" // how many a release was asked for
)

// maxService leaves room: a service's name and a tag may have 46 characters together.
const maxService = 32

// placeLabels are those of an app's service; the releases' own have more.
func (t *target) placeLabels(r deploy.Release) map[string]string {
	return map[string]string{labelTarget: t.ID, labelTeam: r.Team, labelApp: r.App, labelEnvironment: r.Environment}
}

func (t *target) labels(r deploy.Release) map[string]string {
	out := t.placeLabels(r)
	out[labelRelease] = r.ID
	return out
}

// serviceOf is the name of the app's service in its environment: readable, and no other app's.
func serviceOf(r deploy.Release) string {
	name := strings.ToLower(r.App + "-" + r.Environment)
	if name[0] < 'a' {
		name = "a" + name // a letter has to be first
	}
	sum := sha256.Sum256([]byte(r.EnvironmentID + "/" + r.App))
	end := "-" + hex.EncodeToString(sum[:4])
	return deploy.Cut(name, maxService-len(end)) + end
}

// short is the end of a release's id, by which its things are named.
func short(release string) string { return release[max(0, len(release)-12):] }

// revisionOf is the name of the release's revision, which has to begin with its service's.
func revisionOf(service, release string) string { return service + "-" + short(release) }

// tagOf is the release's tag in its service's traffic: a letter has to be first.
func tagOf(release string) string { return "r" + short(release) }

// jobOf is the name of the job of the release's command, and what the names of its secrets begin with.
func jobOf(release string) string { return "slipway-" + short(release) }

// path is the resource name of a service.
func (t *target) path(service string) string {
	return t.settings.location() + "/services/" + service
}

// last is the last part of a resource name.
func last(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// mine tells whether the labels are those of something that this target made.
func (t *target) mine(labels map[string]string) bool {
	return t.ID != "" && labels[labelTarget] == t.ID
}

// entryOf returns the release's entry in the service's traffic, or nil.
func entryOf(s *run.GoogleCloudRunV2Service, release string) *run.GoogleCloudRunV2TrafficTarget {
	for _, e := range s.Traffic {
		if e.Tag == tagOf(release) {
			return e
		}
	}
	return nil
}
