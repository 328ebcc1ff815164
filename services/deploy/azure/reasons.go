package azure

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// The words of Azure's system log (https://learn.microsoft.com/azure/container-apps/troubleshooting).
var (
	exitWords  = regexp.MustCompile(`was terminated with exit code '(-?\d*)'(?: and reason '([^']*)')?`)
	codeWords  = regexp.MustCompile(`(?i)exit ?code:? '?(\d+)`)
	probeWords = regexp.MustCompile(`(?i)^(?:Probe of )?(start ?up|readiness)(?: probe)? failed(?: with|:)?\s*(.*)$`)
	probeCode  = regexp.MustCompile(`status ?code: ?(\d+)`)
)

// createFailure is the reason of a container that could not be made.
const createFailure = "ContainerCreateFailure"

// imageTrouble tells whether the words are those of an image that can't be pulled.
func imageTrouble(text string) bool {
	for _, word := range []string{"ImagePull", "ErrImage", "InvalidImageName", "Failed to pull image", "MANIFEST_UNKNOWN", "manifest unknown", "UNAUTHORIZED", "unable to pull image", "Unable to pull image"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return strings.Contains(text, ".image'") && strings.Contains(text, "invalid or missing")
}

// unpulled says why Azure could not get the image.
func (t *target) unpulled(r deploy.Release, text string) *deploy.Failure {
	cause := errors.New(text)
	host := serverOf(r.Image.Repository)
	name, _, _ := strings.Cut(host, ":")
	lower := strings.ToLower(text)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(lower, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("no match for platform", "no matching manifest", "no child with platform", "does not match the specified platform"):
		return deploy.Failf(deploy.StageImage, cause, "The image is made for another kind of processor: Azure Container Apps runs linux/amd64. Build it for that platform.")
	case has("manifest_unknown", "manifest unknown", "not found", "name_unknown"):
		return deploy.Failf(deploy.StageImage, cause, "The image %s is not in the registry any more, or Azure may not see it. Build it again, or choose another one.", r.Image.Ref())
	case has("managed identity", "unable to pull image using"), has("unauthorized", "denied", "authentication required", "no basic auth") && t.byIdentity(r.Image.Repository):
		return deploy.Failf(deploy.StageImage, cause, "The registry %s does not let the managed identity %s pull. Give it the role AcrPull on the registry.", host, t.settings.identity)
	case has("unauthorized", "denied", "authentication required", "no basic auth"):
		return deploy.Failf(deploy.StageImage, cause, "The registry %s refuses the login that Azure got for %s. Check the login of Slipway's registry, or give the target a registry of its own.", host, r.Image.Repository)
	case has("toomanyrequests", "pull rate limit"):
		return deploy.Failf(deploy.StageImage, cause, "The registry %s gives Azure no more images for now: its limit of pulls is reached. Give the target a registry of its own.", host)
	case local(name):
		return deploy.Failf(deploy.StageImage, cause, "Azure can't pull from %s, which is a name of this machine only. Give the target a registry that Azure reaches.", host)
	case has("x509", "certificate"):
		return deploy.Failf(deploy.StageImage, cause, "Azure does not trust the certificate of the registry %s.", host)
	case has("no such host", "i/o timeout", "connection refused", "dial tcp"):
		return deploy.Failf(deploy.StageImage, cause, "Azure does not reach the registry %s. Give the target a registry that it reaches.", host)
	}
	return deploy.Failf(deploy.StageImage, cause, "Azure can't pull %s: %s", r.Image.Ref(), azurelogin.Sentence(text))
}

// local tells whether the registry's name means another machine to Azure.
func local(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || strings.HasPrefix(name, "127.")
}

// refusedTemplate explains a Container App that Azure does not take. It looks for the image already then.
func (t *target) refusedTemplate(ctx context.Context, r deploy.Release, err error) error {
	if _, text := azurelogin.Words(err); imageTrouble(deploy.Plain(text)) {
		return t.unpulled(r, deploy.Plain(text))
	}
	return t.explain(ctx, deploy.StageStart, err)
}

// stopped says why a container that ended did so. Who names it, such as The container.
func stopped(stage, who string, code int, known bool, reason, memory string) *deploy.Failure {
	cause := fmt.Errorf("exit code %d (%s)", code, reason)
	f := deploy.Failf(stage, cause, "%s ended with exit code %d", who, code)
	if known {
		f.ExitCode = &code
	}
	switch {
	case strings.Contains(reason, "OOM"):
		f.OOM = true
		f.Message = fmt.Sprintf("%s used more memory than it may (it gets %s), and the system ended it", who, memory)
	case code == 137:
		f.Message = fmt.Sprintf("%s was ended by the system (exit code 137), most often because it used more memory than it may (it gets %s)", who, memory)
	case !known:
		f.Message = who + " ended, and Azure does not say with which exit code"
	}
	return f
}

// exit reads the end of a container out of the system log's words.
func exit(text string) (code int, known bool, reason string, ok bool) {
	m := exitWords.FindStringSubmatch(text)
	if m == nil {
		return 0, false, "", false
	}
	code, err := strconv.Atoi(m[1])
	return code, err == nil, m[2], true
}

// probed puts Azure's words of a probe into those of Slipway's transcripts.
func probed(r deploy.Release, text string) (asked, answered string, ok bool) {
	m := probeWords.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}
	asked = fmt.Sprintf("GET :%d%s", r.Port, r.HealthPath)
	if startsUp := strings.HasPrefix(strings.ToLower(m[1]), "start"); startsUp || readiness(r).TCPSocket != nil {
		asked = fmt.Sprintf("TCP port %d", r.Port)
	}
	lower := strings.ToLower(m[2])
	code := 0
	if c := probeCode.FindStringSubmatch(lower); c != nil {
		code, _ = strconv.Atoi(c[1])
	}
	switch {
	case code >= 100:
		answered = fmt.Sprintf("HTTP %d", code)
	case strings.Contains(lower, "timeout"), strings.Contains(lower, "deadline exceeded"):
		answered = "no answer within 3s"
	case strings.Contains(lower, "refused"), strings.Contains(lower, "eof"), strings.Contains(lower, "reset"):
		answered = "connection refused"
	default:
		answered = "no connection" // Azure's own startup probe says: status code: 1
	}
	return asked, answered, true
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
