package azure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// explain says in words why Azure did not do something.
func (t *target) explain(ctx context.Context, stage string, err error) error {
	if told := new(deploy.Failure); errors.As(err, &told) {
		return told
	}
	answer := new(azcore.ResponseError)
	answered := errors.As(err, &answer)
	if cause := context.Cause(ctx); cause != nil && !answered {
		if errors.Is(cause, context.DeadlineExceeded) {
			return deploy.Failf(deploy.StageTimeout, err, "Azure did not answer in time.")
		}
		return cause
	}
	if told := azurelogin.Refused(err); told != nil {
		return told
	}
	if answered {
		return t.refused(stage, err, answer)
	}
	return t.unreachable(err)
}

// unreachable explains an error of a call that got no answer.
func (t *target) unreachable(err error) error {
	host := hostOf(t.arm.Endpoint())
	if strange := new(url.Error); errors.As(err, &strange) {
		if u, failed := url.Parse(strange.URL); failed == nil && u.Host != "" {
			host = u.Host
		}
	}
	if strings.Contains(err.Error(), "x509: ") {
		return deploy.Failf(deploy.StageTarget, err, "Whoever answers at %s does not prove to be Azure: its certificate is not trusted here.", host)
	}
	if why := new(net.DNSError); errors.As(err, &why) {
		return deploy.Failf(deploy.StageTarget, err, "%s has no address here. Check the target's settings and this machine's DNS.", host)
	}
	return deploy.Failf(deploy.StageTarget, err, "Azure at %s does not answer. Check that it can be reached from here, and deploy again.", host)
}

func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Host
	}
	return address
}

// passing tells whether the same call may well succeed in a while.
func passing(err error) bool {
	if status := azurelogin.Status(err); status != 0 {
		return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500
	}
	if signIn := new(azidentity.AuthenticationFailedError); errors.As(err, &signIn) {
		return signIn.RawResponse == nil || signIn.RawResponse.StatusCode >= 500
	}
	var broken net.Error
	strange := new(url.Error)
	return errors.As(err, &broken) || errors.As(err, &strange)
}

// The words of Azure's own refusals.
var (
	linkedWords  = regexp.MustCompile(`perform action\(s\) '([^']+)' on the linked scope\(s\) '([^']+)'`)
	neededRights = "docs/azure.md lists the rights that it needs."
)

// refused says why Azure refuses a call.
func (t *target) refused(stage string, err error, answer *azcore.ResponseError) error {
	code, message := azurelogin.Words(err)
	text := deploy.Plain(message)
	lower := strings.ToLower(text)
	action, scope, denied := azurelogin.Lacks(text)
	wait := ""
	if answer.RawResponse != nil {
		wait = answer.RawResponse.Header.Get("Retry-After")
	}
	switch {
	case linkedWords.MatchString(text):
		m := linkedWords.FindStringSubmatch(text)
		return deploy.Failf(deploy.StageTarget, err, "Azure does not let Slipway do %s on %s. Give its application a role with that action there; %s", m[1], m[2], neededRights)
	case denied:
		return deploy.Failf(deploy.StageTarget, err, "Azure does not let Slipway do %s%s. Give its application a role with that action; %s If it was given one just now, Azure takes some minutes to know.", action, on(scope), neededRights)
	case answer.StatusCode == http.StatusForbidden && code == "RequestDisallowedByPolicy":
		return deploy.Failf(stage, err, "A policy of the subscription forbids it: %s", azurelogin.Sentence(text))
	case answer.StatusCode == http.StatusForbidden:
		return deploy.Failf(deploy.StageTarget, err, "Azure forbids it (%s): %s", code, azurelogin.Sentence(text))
	case answer.StatusCode == http.StatusUnauthorized:
		return deploy.Failf(deploy.StageTarget, err, "Azure does not accept the token that Slipway signed in with (%s): %s Check the tenant in the target's settings, and the clock of this machine.", code, azurelogin.Sentence(text))
	case answer.StatusCode == http.StatusTooManyRequests:
		return deploy.Failf(deploy.StageTarget, err, "Azure takes no more calls from this subscription for now (%s)%s. Slipway has tried several times. Deploy again in a while.", code, later(wait))
	case code == "MissingSubscriptionRegistration":
		return deploy.Failf(deploy.StageTarget, err, "The subscription does not use Container Apps yet: its resource provider Microsoft.App is not registered. Run az provider register --namespace Microsoft.App, and deploy again.")
	case code == "SubscriptionNotFound", code == "InvalidSubscriptionId":
		return deploy.Failf(deploy.StageTarget, err, "Azure knows no subscription %s, or Slipway's application has no role in it. Check the target's settings.", t.settings.Subscription)
	case code == "ReadOnlyDisabledSubscription":
		return deploy.Failf(deploy.StageTarget, err, "The subscription is disabled, so that nothing can be changed in it. Ask its owner to enable it.")
	case code == "ResourceGroupNotFound":
		return deploy.Failf(deploy.StageTarget, err, "There is no resource group %s in the subscription. Make it (az group create), or correct the target's settings.", t.settings.Group)
	case code == "ScopeLocked":
		return deploy.Failf(stage, err, "A lock in Azure keeps it from being changed: %s", azurelogin.Sentence(text))
	case strings.Contains(code, "Quota"), strings.HasPrefix(code, "MaxNumber"), strings.Contains(lower, "quota"):
		return deploy.Failf(stage, err, "Azure has no more room for it in this subscription: %s Ask for a higher quota in the portal (Quotas), or lower the app's scale.", azurelogin.Sentence(text))
	case answer.StatusCode == http.StatusConflict, answer.StatusCode >= 500:
		return deploy.Failf(deploy.StageTarget, err, "Azure could not do it now (%s): %s Deploy again.", orStatus(code, answer.StatusCode), azurelogin.Sentence(text))
	}
	return deploy.Failf(stage, err, "Azure refuses it (%s): %s", orStatus(code, answer.StatusCode), azurelogin.Sentence(text))
}

func orStatus(code string, status int) string {
	if code == "" {
		return fmt.Sprintf("HTTP %d", status)
	}
	return code
}

func on(scope string) string {
	if scope == "" {
		return ""
	}
	return " on " + scope
}

func later(seconds string) string {
	if seconds == "" {
		return ""
	}
	return ", and wants to be left alone for " + seconds + " seconds"
}
