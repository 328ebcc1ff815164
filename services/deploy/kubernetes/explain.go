package kubernetes

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"slipway.dev/services/deploy"
)

// explain says in words why the API server did not do something with the object.
func (t *target) explain(ctx context.Context, stage string, err error, what string) error {
	if told := new(deploy.Failure); errors.As(err, &told) {
		return told
	}
	status := new(apierrors.StatusError)
	switch {
	case context.Cause(ctx) != nil && !errors.As(err, &status):
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			return deploy.Failf(deploy.StageTimeout, err, "The cluster at %s did not answer in time.", t.host)
		}
		return context.Cause(ctx)
	case !errors.As(err, &status):
		return t.unreachable(err)
	}
	text := deploy.Plain(status.ErrStatus.Message)
	switch {
	case apierrors.IsUnauthorized(err):
		return deploy.Failf(deploy.StageTarget, err, "The cluster at %s does not know the credential, or it has expired. Ask an admin to enter a new kubeconfig.", t.host)
	case apierrors.IsForbidden(err):
		return deploy.Failf(refusedStage(stage, text), err, "%s", refused(text))
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return deploy.Failf(stage, err, "The cluster refuses the %s: %s", what, deploy.Sentence(text))
	case apierrors.IsNotFound(err) && strings.Contains(text, "could not find the requested resource"):
		return deploy.Failf(deploy.StageTarget, err, "The cluster does not know objects such as the %s. It has to be Kubernetes %s or newer.", what, oldest)
	case apierrors.IsConflict(err), apierrors.IsTooManyRequests(err), apierrors.IsServerTimeout(err), apierrors.IsTimeout(err), apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err):
		return deploy.Failf(deploy.StageTarget, err, "The cluster could not take the %s now: %s Deploy again.", what, deploy.Sentence(text))
	}
	return fmt.Errorf("kubernetes: %s: %w", what, err)
}

// unreachable explains an error of a call that got no answer from the API server.
func (t *target) unreachable(err error) error {
	if strange := new(x509.UnknownAuthorityError); errors.As(err, strange) {
		return deploy.Failf(deploy.StageTarget, err, "Whoever answers at %s does not prove to be the cluster: its certificate is not signed by the authority in the kubeconfig.", t.host)
	}
	return deploy.Failf(deploy.StageTarget, err, "The cluster at %s does not answer. Check that it runs and can be reached from here, and deploy again.", t.host)
}

// The words of the API server's own refusals.
var (
	deniedWords = regexp.MustCompile(`cannot (\S+) resource "([^"]+)"(?: in API group "([^"]*)")?(?: in the namespace "([^"]+)")?`)
	quotaWords  = regexp.MustCompile(`exceeded quota: ([^,]+), requested: (.+), used: (.+), limited: (.+)$`)
	policyWords = regexp.MustCompile(`violates PodSecurity "([^"]+)": (.+)$`)
)

// refused says why the API server forbids something, from its own words.
func refused(text string) string {
	if m := deniedWords.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("The cluster does not let Slipway %s %s%s. Give its account the rights that docs/kubernetes.md lists, and deploy again.", m[1], named(m[2], m[3]), inNamespace(m[4]))
	}
	if m := quotaWords.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("The namespace's quota %s has no room: it allows %s, %s is used, and this needs %s more. A new version runs beside the old one for a while; raise the quota, or lower the app's scale.", m[1], m[4], m[3], m[2])
	}
	if m := policyWords.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("The namespace's pod security standard %q refuses the app: %s Build the image for it, or ask for a less strict one.", m[1], deploy.Sentence(m[2]))
	}
	if strings.Contains(text, "being terminated") {
		return "The environment's namespace is being deleted. Deploy again when it is gone."
	}
	return "The cluster forbids it: " + deploy.Sentence(text)
}

// refusedStage is where a refusal belongs: a missing right is the target's, all else the release's.
func refusedStage(stage, text string) string {
	if deniedWords.MatchString(text) {
		return deploy.StageTarget
	}
	return stage
}

// named is a resource as people who write rules name it.
func named(name, group string) string {
	if group == "" {
		return name
	}
	return name + "." + group
}

func inNamespace(name string) string {
	if name == "" {
		return " in all namespaces"
	}
	return " in the namespace " + name
}
