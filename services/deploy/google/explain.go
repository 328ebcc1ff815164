package google

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/api/googleapi"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/googlelogin"
)

// quotaWords are those of Google's refusals, where an answer has no details.
var quotaWords = regexp.MustCompile(`[Qq]uota (?:exceeded|limit)[^.]*`)

// explain says in words why Google did not do something with the thing.
func (t *target) explain(ctx context.Context, stage string, err error, what string) error {
	if told := new(deploy.Failure); errors.As(err, &told) {
		return told
	}
	answer := new(googleapi.Error)
	if !errors.As(err, &answer) {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return fmt.Errorf("google: %s: %w", what, err) // it does not answer: whoever called tries again
	}
	text := deploy.Plain(answer.Message)
	reason, about := details(answer)
	switch {
	case reason == "SERVICE_DISABLED":
		return deploy.Failf(deploy.StageTarget, err, "The API %s is off in the project %s. Switch it on (gcloud services enable %s), and try again in some minutes.", about["service"], t.settings.Project, about["service"])
	case answer.Code == http.StatusUnauthorized:
		return deploy.Failf(deploy.StageTarget, err, "Google does not know the credential of the target, or it has expired. Check its key or its workload identity provider.")
	case answer.Code == http.StatusForbidden:
		return deploy.Failf(deploy.StageTarget, err, "%s", t.denied(text, about["permission"], what))
	case answer.Code == http.StatusTooManyRequests:
		return deploy.Failf(stage, err, "%s", t.exhausted(text, reason, about, what))
	case answer.Code == http.StatusNotFound && strings.Contains(text, "ocation"):
		return deploy.Failf(deploy.StageTarget, err, "Google knows no Cloud Run in the region %s. Check the target's region.", t.settings.region)
	case quotaWords.MatchString(text):
		return deploy.Failf(stage, err, "%s", t.exhausted(text, reason, about, what))
	case answer.Code == http.StatusNotFound:
		return deploy.Failf(stage, err, "Google does not find the %s: %s", what, deploy.Sentence(text))
	case answer.Code == http.StatusConflict:
		return deploy.Failf(stage, err, "Others changed the %s at the same time: %s Deploy again.", what, deploy.Sentence(text))
	case answer.Code < http.StatusInternalServerError:
		return deploy.Failf(stage, err, "Google refuses the %s: %s", what, deploy.Sentence(text))
	}
	return fmt.Errorf("google: %s: status %d: %w", what, answer.Code, err)
}

// details are the reason of the answer's ErrorInfo and what it is about (https://cloud.google.com/apis/design/errors#error_info).
func details(answer *googleapi.Error) (string, map[string]string) {
	e := new(apierror.APIError)
	if !errors.As(answer, &e) { // of a call that no client library made
		var ok bool
		if e, ok = apierror.ParseError(answer, false); !ok {
			return "", nil
		}
	}
	return e.Reason(), e.Metadata()
}

// denied names the permission that is missing.
func (t *target) denied(text, permission, what string) string {
	permission = or(permission, googlelogin.Lacks(text))
	if permission == "iam.serviceaccounts.actAs" || permission == "iam.serviceAccounts.actAs" {
		return fmt.Sprintf("Slipway's account may not let apps run as %s: the permission iam.serviceAccounts.actAs is missing. Grant it roles/iam.serviceAccountUser on that account.", t.settings.runAs)
	}
	if permission == "" {
		return fmt.Sprintf("Google forbids the %s: %s docs/google-cloud.md lists what Slipway's account needs.", what, deploy.Sentence(text))
	}
	role := "the role that docs/google-cloud.md lists"
	if i := slices.IndexFunc(rights, func(r right) bool { return slices.Contains(r.permissions, permission) }); i >= 0 {
		role = rights[i].role
	}
	return fmt.Sprintf("Slipway's account lacks the permission %s in the project %s. Grant it %s.", permission, t.settings.Project, role)
}

// exhausted names the quota that has no room.
func (t *target) exhausted(text, reason string, about map[string]string, what string) string {
	of := about["quota_metric"]
	if about["quota_limit"] != "" {
		of = about["quota_limit"]
	}
	if reason == "RATE_LIMIT_EXCEEDED" {
		return fmt.Sprintf("Google was asked too often, also after some pauses (%s). Deploy again in a minute.", or(of, "no limit named"))
	}
	if of == "" {
		of = deploy.Sentence(text)
	} else {
		of = "it is " + of + "."
	}
	return fmt.Sprintf("A quota of the project %s has no room for the %s: %s Ask Google for more under IAM & Admin → Quotas, or lower the app's scale.", t.settings.Project, what, of)
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func status(err error) int {
	if answer := new(googleapi.Error); errors.As(err, &answer) {
		return answer.Code
	}
	return 0
}

func isGone(err error) bool { return status(err) == http.StatusNotFound }

// isConflict tells of a thing that exists already, or that others changed since it was read.
func isConflict(err error) bool {
	return status(err) == http.StatusConflict || status(err) == http.StatusPreconditionFailed
}

// isOff tells that the project does not use the API at all.
func isOff(err error) bool {
	answer := new(googleapi.Error)
	if !errors.As(err, &answer) {
		return false
	}
	reason, _ := details(answer)
	return reason == "SERVICE_DISABLED"
}
