package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// The codes by which the services say that there is no room for more.
var quotaCodes = []string{"LimitExceededException", "LimitExceeded", "ServiceQuotaExceededException", "AttributeLimitExceededException", "TooManyRules", "TooManyTargetGroups", "TooManyTargets", "TooManyUniqueTargetGroupsPerLoadBalancer", "TargetGroupAssociationLimit"}

// missing tells whether what was asked for is not there.
func missing(err error) bool {
	switch awslogin.Code(err) {
	case "ResourceNotFoundException", "ServiceNotFoundException", "ServiceNotActiveException", "ClusterNotFoundException", "TargetGroupNotFound", "RuleNotFound", "ListenerNotFound", "LoadBalancerNotFound", "NoSuchEntity":
		return true
	}
	return false
}

// passing tells whether the error may be gone in a moment: no answer, too many calls, a fault of AWS.
func passing(err error) bool {
	if told := new(deploy.Failure); err == nil || errors.As(err, &told) {
		return false
	}
	return unanswered(err) || awslogin.Throttled(err)
}

// unanswered tells whether AWS did not answer, or by a fault of its own alone.
func unanswered(err error) bool { return awslogin.Code(err) == "" || awslogin.Faulty(err) }

// explain says in words why AWS did not do something, such as "make the service".
// What may be gone in a moment stays an ordinary error.
func (t *target) explain(ctx context.Context, stage string, err error, what string) error {
	if told := new(deploy.Failure); err == nil || errors.As(err, &told) {
		return err
	}
	switch {
	case context.Cause(ctx) != nil && awslogin.Code(err) == "":
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			return deploy.Failf(deploy.StageTimeout, err, "AWS did not %s in time. Try again.", what)
		}
		return context.Cause(ctx)
	case unanswered(err):
		return fmt.Errorf("aws: %s: %w", what, err)
	}
	return t.refused(stage, err, what)
}

// refused says why AWS refuses.
func (t *target) refused(stage string, err error, what string) *deploy.Failure {
	text := awslogin.Text(err)
	switch {
	case awslogin.Denied(err):
		return deploy.Failf(deploy.StageTarget, err, "%s", t.forbidden(what, text))
	case awslogin.Expired(err):
		return deploy.Failf(deploy.StageTarget, err, "The AWS credential has expired, and a new one too. Look whether the clock of this machine is right, or enter another access key.")
	case awslogin.Unknown(err):
		return deploy.Failf(deploy.StageTarget, err, "AWS does not know the credential (%s). Look whether the access key is active, its secret is right, the region %s is enabled, and the clock of this machine is right.", awslogin.Code(err), t.settings.region)
	case awslogin.Throttled(err):
		return deploy.Failf(deploy.StageTarget, err, "AWS takes no more calls of the account at the moment, so that Slipway can't %s. Wait a minute, and try again.", what)
	case slices.Contains(quotaCodes, awslogin.Code(err)), strings.Contains(text, "limit exceeded"), strings.Contains(text, "reached the limit"), strings.Contains(text, "limit on the number"):
		return deploy.Failf(stage, err, "A quota of the account is used up, so that Slipway can't %s: %s Remove what is not used any more, or ask for more under Service Quotas in AWS's console.", what, deploy.Sentence(text))
	case strings.Contains(text, "service linked role"):
		return deploy.Failf(deploy.StageTarget, err, "ECS has no role of its own in this account yet. Make it once: aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com. Then try again.")
	case strings.Contains(text, "Capacity is unavailable"):
		return deploy.Failf(stage, err, "AWS has no capacity on Fargate left in these zones now. Try again later, or add subnets of other zones to the target's settings.")
	}
	return deploy.Failf(stage, err, "AWS refuses to %s (%s): %s", what, awslogin.Code(err), deploy.Sentence(text))
}

// forbidden names the permission that is missing.
func (t *target) forbidden(what, text string) string {
	permission, on, named := awslogin.Lacks(text)
	if !named {
		return fmt.Sprintf("AWS does not let Slipway %s. Give its credential the permissions that docs/aws.md lists: %s", what, deploy.Sentence(text))
	}
	if on == "*" {
		on = ""
	} else if on != "" {
		on = " on " + on
	}
	why := "Add it to the policy of its credential"
	if strings.Contains(text, "explicit deny") {
		why = "A policy denies it explicitly, such as one of the organization: ask its admin"
	}
	return fmt.Sprintf("AWS does not let Slipway %s: the permission %s%s is missing. %s; docs/aws.md lists all.", what, permission, on, why)
}

// reached turns an error without an answer into words, for a person who waits for it.
func (t *target) reached(err error) error {
	if told := new(deploy.Failure); err == nil || errors.As(err, &told) || !unanswered(err) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return deploy.Failf(deploy.StageTarget, err, "AWS does not answer in %s. Look whether this machine reaches it, and whether the region is right.", t.settings.region)
}
