package aws

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	secrettypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"slipway.dev/services/deploy"
)

// The tags of all that this package makes. Nothing without tagTarget is touched.
const (
	tagTarget      = "slipway:target"
	tagRelease     = "slipway:release"
	tagEnvironment = "slipway:environment"
	tagApp         = "slipway:app"
	tagTeam        = "slipway:team"
	tagPort        = "slipway:port"
	tagLogs        = "slipway:logs" // the log group

	containerName = "app"
)

// tag is a key and its value, of whichever service.
type tag struct{ key, value string }

// tagsOf are those of a release's resources.
func (t *target) tagsOf(r deploy.Release) []tag {
	return append(t.placeTags(r), tag{tagRelease, r.ID}, tag{tagPort, strconv.Itoa(r.Port)}, tag{tagLogs, logGroup(r)})
}

// placeTags are those of what the releases of an app in an environment share.
func (t *target) placeTags(r deploy.Release) []tag {
	return []tag{{tagTarget, t.id}, {tagEnvironment, r.EnvironmentID}, {tagApp, r.App}, {tagTeam, r.Team}}
}

func ecsTags(all []tag) (out []types.Tag) {
	for _, one := range all {
		out = append(out, types.Tag{Key: ptr(one.key), Value: ptr(one.value)})
	}
	return out
}

func elbTags(all []tag) (out []elbtypes.Tag) {
	for _, one := range all {
		out = append(out, elbtypes.Tag{Key: ptr(one.key), Value: ptr(one.value)})
	}
	return out
}

func secretTags(all []tag) (out []secrettypes.Tag) {
	for _, one := range all {
		out = append(out, secrettypes.Tag{Key: ptr(one.key), Value: ptr(one.value)})
	}
	return out
}

func tagMap(all []tag) map[string]string {
	out := map[string]string{}
	for _, one := range all {
		out[one.key] = one.value
	}
	return out
}

// read turns ECS's tags into a map.
func read(all []types.Tag) map[string]string {
	out := map[string]string{}
	for _, one := range all {
		out[deref(one.Key)] = deref(one.Value)
	}
	return out
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// mark is what the names of a release's resources begin with, so that they are
// found by its id alone. It is also its target group's name, which may have 32 characters.
func mark(release string) string { return "slipway-" + release[max(0, len(release)-12):] }

// nameOf is the name of a release's service and the family of its task definition.
func nameOf(r deploy.Release) string {
	return mark(r.ID) + "-" + deploy.Cut(r.Team, 40) + "-" + deploy.Cut(r.App, 40) + "-" + deploy.Cut(r.Environment, 40)
}

// secretName is where the release's secrets are.
func (t *target) secretName(release string) string { return "slipway/" + t.id + "/" + release }

// logGroup is where an app's lines are, of all its releases in the environment.
// Its end tells environments of one name apart, of two portals in one account or one after the other.
func logGroup(r deploy.Release) string {
	return logPrefix + r.Team + "/" + r.Environment + "/" + r.App + "-" + digest(r.EnvironmentID)
}

// clusterName is the given cluster, or the one that Slipway makes.
func (t *target) clusterName() string {
	return orElse(t.settings.cluster, "slipway-"+t.id[max(0, len(t.id)-12):])
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

// last is the part of an ARN behind its last slash.
func last(arn string) string {
	_, name, _ := cutLast(arn, "/")
	return name
}

// family is a task definition's, of its ARN.
func family(arn string) string {
	name, _, _ := strings.Cut(last(arn), ":")
	return name
}

// console is a page of AWS's console.
func (t *target) console(format string, args ...any) string {
	host := t.settings.region + ".console.aws.amazon.com"
	switch {
	case strings.HasPrefix(t.settings.region, "cn-"):
		host = t.settings.region + ".console.amazonaws.cn"
	case strings.HasPrefix(t.settings.region, "us-gov-"):
		host = t.settings.region + ".console.amazonaws-us-gov.com"
	}
	return "https://" + host + "/" + fmt.Sprintf(format, args...)
}
